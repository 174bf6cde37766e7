"""SIGTERM and Ctrl-C before a process begins its work, and after it: nothing else listens then.

In between the worker and the gateway handle them in order. The exit code is 0 at any time from the
moment on at which a command begins; before that it is the signal's (143 for a shell).
"""

import os
import signal
from types import FrameType

import click

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Let the signals end the process with exit code 0, since nothing was begun yet.

    Until the command ends that is called, or somebody else handles them.
    """
    before = {number: signal.signal(number, _end) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is _end:
                signal.signal(number, handler)

    click.get_current_context().call_on_close(restore)


def ignore() -> None:
    """Let the signals do nothing: the process is on its way out, and everything is done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
