"""A second application on the engine: it counts words."""

from exactstage.context import Context
from exactstage.log import Record
from exactstage.stage import Refused, Stage


class WordCount:
    """Counts how often each key was sent."""

    def __init__(self, counts: str) -> None:
        self._counts = counts

    def handle(self, record: Record, context: Context) -> None:
        """Count one more; the text ``bad`` is refused, and ``bug`` is a bug."""
        if record.value == b"bad" or record.key is None:
            raise Refused("bad_word", "this word is refused")
        if record.value == b"bug":
            context.put(record.key, b"half a decision")
            raise ZeroDivisionError
        count = b"%d" % (int(context.get(record.key) or b"0") + 1)
        context.put(record.key, count)
        context.emit(self._counts, record.key, count, type="count")

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """Answer that it could not be counted."""
        context.emit(self._counts, record.key, b"error", type="count")


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
