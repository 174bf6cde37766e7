"""A slow disk: a write that would have to wait for it comes again, and the event loop runs.

RocksDB stops writes while its files are too far behind. To wait inside such a write would stop the
whole process, threads included, since its Python package holds the interpreter's lock there. So the
write is refused, and who wrote waits: the committer makes no other round until it is done.
"""

import asyncio
import logging
from collections.abc import Callable

from .advice import setting
from .errors import FailStop
from .record import TopicPartition

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 30.0
"""For how long a write may wait. Then another worker should have the partitions."""

_RETRY_SECONDS = 0.01
_WARN_SECONDS = 1.0


class DiskBehind(Exception):
    """The disk has to write first what it was given before; nothing was done."""


async def when_disk_allows(at: TopicPartition, write: Callable[[], None]) -> None:
    """Call ``write`` until it does not raise ``DiskBehind``.

    Raises ``FailStop`` when that takes too long, and what ``write`` raises.
    """
    now = asyncio.get_running_loop().time
    began, is_logged = now(), False
    while True:
        try:
            write()
        except DiskBehind:
            seconds = now() - began
        else:
            return
        if seconds >= LIMIT_SECONDS:
            raise FailStop(
                f"the disk has taken nothing for the local copy of {at} for {seconds:.0f} s: is it "
                f"broken, or too slow? Nothing is lost, the journal has it. Give the worker "
                f"another {setting('STATE_DIR')}, or less to do"
            )
        if seconds >= _WARN_SECONDS and not is_logged:
            is_logged = True
            logger.warning(
                "the disk is behind: commits wait for the local copy of %s (%s)",
                at,
                setting("STATE_DIR"),
            )
        await asyncio.sleep(_RETRY_SECONDS)
