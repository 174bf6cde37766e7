"""Exactly-once stages on Kafka: journal first, group commit, fenced by producer epoch.

An application gives it stages: functions from a record to a decision, with rows of their own. The
engine reads their inputs, journals what they decide, publishes it exactly once, and restores it
after any crash::

    from exactstage import Context, Record, Stage

    def count(record: Record, context: Context) -> None:
        number = int(context.get(record.key) or b"0") + 1
        context.put(record.key, b"%d" % number)
        context.emit("counts", record.key, b"%d" % number, type="count")

    stage = Stage("count", count, changelog="words-count-changelog", dead_letters="dead-words",
                  public_inputs=("words",), outputs=("counts",))

What is exported here is its public API; ``exactstage.hosting`` runs stages in a Faust worker. How
it works is in docs/design.md, where each module belongs in docs/architecture.md.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context, OutputRefused, RowRefused, Rows
    from .engine import Engine
    from .errors import FailStop, Fenced, JournalBroken, NotOurs, PositionLost, RecordsLost
    from .limits import Limits
    from .log import Header, Log, Record, TopicPartition
    from .memory import MemoryLog
    from .partitioner import partition_of
    from .stage import Refused, Stage

_PLACES = {
    "Context": "context",
    "Engine": "engine",
    "FailStop": "errors",
    "Fenced": "errors",
    "Header": "log",
    "JournalBroken": "errors",
    "Limits": "limits",
    "Log": "log",
    "MemoryLog": "memory",
    "NotOurs": "errors",
    "OutputRefused": "context",
    "PositionLost": "errors",
    "Record": "log",
    "RecordsLost": "errors",
    "Refused": "stage",
    "RowRefused": "context",
    "Rows": "context",
    "Stage": "stage",
    "TopicPartition": "log",
    "partition_of": "partitioner",
}

__all__ = [
    "Context",
    "Engine",
    "FailStop",
    "Fenced",
    "Header",
    "JournalBroken",
    "Limits",
    "Log",
    "MemoryLog",
    "NotOurs",
    "OutputRefused",
    "PositionLost",
    "Record",
    "RecordsLost",
    "Refused",
    "RowRefused",
    "Rows",
    "Stage",
    "TopicPartition",
    "partition_of",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: a command's ``--help`` needs none."""
    from importlib import import_module  # noqa: PLC0415 - only where a name is asked for

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
