"""A log in memory whose inputs are read slowly: a backlog, as it is after a downtime."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from exactstage import MemoryLog, Record, TopicPartition
from exactstage.log import Reader


class SlowReads:
    """Lets the next worker on ``log`` read its inputs only while it is ``opened``."""

    def __init__(self, log: MemoryLog, patch: pytest.MonkeyPatch) -> None:
        self.opened = asyncio.Event()
        self.unread = 0
        """Records that the broker says it has beyond those that a fetch returns."""
        self.late_seconds = 0.0
        """How long ago the broker was asked last."""
        self._open = log.open_reader
        patch.setattr(log, "open_reader", self._open_reader)

    async def _open_reader(self, *, committed_only: bool, closing: bytes | None = None) -> Reader:
        reader = await self._open(committed_only=committed_only, closing=closing)
        # Takeovers read what is not committed too, and are not slow.
        return _SlowReader(reader, self) if committed_only else reader


class _SlowReader:
    def __init__(self, reader: Reader, reads: SlowReads) -> None:
        self._reader, self._reads = reader, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        await self._reads.opened.wait()
        return await self._reader.fetch(timeout_seconds=timeout_seconds)

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        unread = self._reads.unread
        return {at: end + unread for at, end in self._reader.seen_ends().items()}

    def end_asked(self, at: TopicPartition) -> float | None:
        now, late = asyncio.get_running_loop().time(), self._reads.late_seconds
        asked = self._reader.end_asked(at)
        return None if asked is None else min(asked, now) - late
