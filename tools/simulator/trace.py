"""The trace of a run: what happened, as lines of a story and as one hash of all of it."""

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b

from exactstage.checkpoint import RESERVED
from exactstage.log import Record, TopicPartition, Writer


class Trace:
    """Notes what happens. Two runs are the same if their hashes are."""

    def __init__(self, time: Callable[[], float], lines: int) -> None:
        self.lines: deque[str] = deque(maxlen=lines)
        """The last so many lines; none where only the hash is wanted."""
        self._time = time
        self._hash = blake2b(digest_size=16)
        self._keeps_lines = lines > 0

    @property
    def hash(self) -> str:
        """Sum over everything noted so far."""
        return self._hash.hexdigest()

    def note(self, what: str, text: str) -> None:
        """Note an event."""
        line = f"{self._time():12.6f} s  {what}: {text}"
        self._hash.update(line.encode(errors="replace"))
        if self._keeps_lines:
            self.lines.append(line)

    def appended(
        self, at: TopicPartition, writer: Writer | None, records: Sequence[Record]
    ) -> None:
        """Note what a partition has taken."""
        self._hash.update(
            b"%d %d %s %d" % (records[0].offset, at.partition, at.topic.encode(), len(records))
        )
        for record in records:
            self._hash.update((record.key or b"-") + b" " + (record.value or b"-"))
        if self._keeps_lines:
            owner = f"from {writer.producer_id}/{writer.epoch}" if writer else "from a client"
            self.note("append", f"{at} {owner}: " + "; ".join(_shown(r) for r in records))


def _shown(record: Record) -> str:
    key = (record.key or b"").decode(errors="replace")
    value = "-" if record.value is None else record.value.decode(errors="replace")
    if key[:1] == RESERVED.decode():
        key, value = f"checkpoint {key[1:]}", value.split("\n", maxsplit=1)[0]
    headers = dict(record.headers)
    position = headers.get("ce_id") or headers.get("src") or b""
    mark = f" [{position.decode(errors='replace')}]" if position else ""
    return f"{record.offset} {key}{mark} = {value[:220]}"
