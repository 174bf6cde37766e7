"""Loop errors: errors of the Kafka client's abandoned tasks go to the debug log.

aiokafka abandons tasks when a connection ends; asyncio would print a traceback for each. Nothing is
missed: the next request meets the same error.
"""

import asyncio
import logging
from typing import Any

from exactstage.kafka.connection import RETRIABLE

logger = logging.getLogger(__name__)


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Log such errors of ``loop`` at level debug; all others are shown as before."""
    loop.set_exception_handler(_handle)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(error := context.get("exception"), RETRIABLE):
        logger.debug("error of an abandoned task: %s: %r", context.get("message"), error)
    else:
        loop.default_exception_handler(context)
