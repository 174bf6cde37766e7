"""A second application on the engine: it counts words."""

from exactstage.journal import Journal, Rows
from exactstage.log import Record
from exactstage.stage import Refused, Stage


class WordCount:
    """Counts how often each key was sent."""

    def __init__(self, counts: str) -> None:
        self._counts = counts

    def handle(self, record: Record, journal: Journal) -> None:
        """Count one more; the text ``bad`` is refused, and ``bug`` is a bug."""
        if record.value == b"bad" or record.key is None:
            raise Refused("bad_word", "this word is refused")
        if record.value == b"bug":
            journal.put(record.key, b"half a decision")
            raise ZeroDivisionError
        count = b"%d" % (int(journal.get(record.key) or b"0") + 1)
        journal.put(record.key, count)
        journal.emit(self._counts, journal.partition, record.key, count, "count", record.timestamp)

    def on_error(self, record: Record, error: Exception, journal: Journal) -> None:
        """Answer that it could not be counted."""
        journal.emit(
            self._counts, journal.partition, record.key, b"error", "count", record.timestamp
        )

    def restored(self, partition: int, rows: Rows) -> None:
        """Nothing is kept beside the rows."""

    def released(self, partition: int) -> None:
        """Nothing is kept beside the rows."""

    def tick(self, journal: Journal, now_ms: int, limit: int) -> bool:
        """Time changes nothing."""
        return False


def word_count(app_id: str = "words", prefix: str = "") -> Stage:
    """Return the only stage of the application."""
    return Stage(
        name="count",
        logic=WordCount(f"{prefix}counts"),
        changelog=f"{app_id}-count-changelog",
        dead_letters=f"{prefix}dead-words",
        public_inputs=(f"{prefix}words",),
        internal_inputs=(f"{prefix}inbox",),
        outputs=(f"{prefix}counts",),
        forward_to=f"{prefix}inbox",
    )
