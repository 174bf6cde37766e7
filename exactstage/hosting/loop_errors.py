"""What tasks of the Kafka client met that nobody waits for any more.

aiokafka leaves such tasks behind when a connection ends; asyncio would print a traceback for each.
What matters of it comes another way: the next request meets the same.
"""

import asyncio
import logging
from typing import Any

from exactstage.kafka.connection import RETRIABLE

logger = logging.getLogger(__name__)


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Let ``loop`` pass over such errors; all others are shown as before."""
    loop.set_exception_handler(_handle)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(error := context.get("exception"), RETRIABLE):
        logger.debug("a task that nobody waits for: %s: %r", context.get("message"), error)
    else:
        loop.default_exception_handler(context)
