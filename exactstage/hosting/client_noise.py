"""The Kafka client's own lines and tracebacks: shown with level debug only.

aiokafka logs each attempt, and abandons tasks when a connection ends, for which asyncio would print
tracebacks. Nothing is missed: the engine meets the same errors, retries, and logs what matters.
"""

import asyncio
import logging
from typing import Any

from faust.utils.terminal import SpinnerHandler

from exactstage.kafka.connection import RETRIABLE

logger = logging.getLogger(__name__)

_CLIENT_LOGGERS = ("aiokafka", "kafka")


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Log errors of abandoned tasks of ``loop`` at level debug; all others are shown as before."""
    loop.set_exception_handler(_handle)


def quiet_client() -> None:
    """Hide aiokafka's own lines, unless its logger has a level or the log shows level debug."""
    if _shows_debug():
        return
    for name in _CLIENT_LOGGERS:
        client = logging.getLogger(name)
        if client.level == logging.NOTSET:
            client.setLevel(logging.CRITICAL)


def _shows_debug() -> bool:
    root = logging.getLogger()
    # Faust's progress display receives every line, and shows none.
    shown = [each.level for each in root.handlers if not isinstance(each, SpinnerHandler)]
    return root.level <= logging.DEBUG and any(level <= logging.DEBUG for level in shown)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(error := context.get("exception"), RETRIABLE):
        logger.debug("error of an abandoned task: %s: %r", context.get("message"), error)
    else:
        loop.default_exception_handler(context)
