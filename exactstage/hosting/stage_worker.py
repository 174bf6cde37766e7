"""The process of a Faust worker: which signal ends it, and that a second one has no effect."""

import signal

import faust

from .host import host_of

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StageWorker(faust.Worker):
    """Faust's worker for a ``Host``."""

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        host_of(self.app).orderly_end.begin(signal.name)
        super()._schedule_shutdown(signal)

    def _shutdown_loop(self) -> None:
        # The loop takes its own handlers away when it is closed.
        for number in _SIGNALS:
            self.loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        super()._shutdown_loop()
