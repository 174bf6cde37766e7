"""SIGTERM and Ctrl-C before a process begins its work, and after it.

In between the worker and the gateway have their own handlers. From the moment at which a command
begins the exit code is 0; before that it is the signal's (143 for a shell).
"""

import logging
import os
import signal
from types import FrameType

import click

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Let the signals end the process with exit code 0, since no work has begun yet.

    That holds until the called command ends, or other handlers replace these.
    """
    before = {number: signal.signal(number, _end) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is _end:
                signal.signal(number, handler)

    click.get_current_context().call_on_close(restore)


def ignore() -> None:
    """Ignore the signals: the process is ending, and all work is done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    logger.info("stopped: %s, before its work began", signal.Signals(number).name)
    os._exit(0)
