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

This module is for authors of stages. The other public modules are ``exactstage.hosting`` (run
stages), ``exactstage.testing`` (test them), ``exactstage.errors``, ``exactstage.log`` and
``exactstage.kafka`` (read and write topics without a stage), ``exactstage.inspection`` and
``exactstage.recovery`` (for operators' tools). Only what these export is public; all of it is in
their ``__all__``.
"""

from typing import TYPE_CHECKING

from ._doors import exports

if TYPE_CHECKING:
    from .context import Context, OutputRefused, RowRefused
    from .errors import FailStop, Fenced
    from .limits import Limits
    from .log import Header, Headers, Log, Record, TopicPartition
    from .memory import MemoryLog
    from .partitioner import partition_of
    from .stage import Refused, Stage, StageLogic, topics_of
    from .typed_rows import Rows, TypedContext

__all__ = [
    "Context",
    "FailStop",
    "Fenced",
    "Header",
    "Headers",
    "Limits",
    "Log",
    "MemoryLog",
    "OutputRefused",
    "Record",
    "Refused",
    "RowRefused",
    "Rows",
    "Stage",
    "StageLogic",
    "TopicPartition",
    "TypedContext",
    "partition_of",
    "topics_of",
]

__getattr__ = exports(
    __name__,
    {
        "context": ("Context", "OutputRefused", "RowRefused"),
        "errors": ("FailStop", "Fenced"),
        "limits": ("Limits",),
        "log": ("Header", "Headers", "Log", "Record", "TopicPartition"),
        "memory": ("MemoryLog",),
        "partitioner": ("partition_of",),
        "stage": ("Refused", "Stage", "StageLogic", "topics_of"),
        "typed_rows": ("Rows", "TypedContext"),
    },
)
