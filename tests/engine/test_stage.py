"""A stage that can't work is refused when it is made, not when its records are gone."""

from typing import Any

import pytest

from exactstage import Context, MemoryLog, Record, partition_of
from exactstage.hosting import PlainHost
from exactstage.stage import Stage, by_name
from exactstage.testing import StageTestbed

from .wordcount import WordCount


class Awaiting(WordCount):
    """What who writes asyncio all day writes: nobody would await it, and no record be decided."""

    handle: Any


async def handle(*_: object) -> None:
    """Do nothing."""


def test_logic_that_is_async_is_refused() -> None:
    logic = Awaiting("counts")
    logic.handle = handle
    with pytest.raises(ValueError, match="count: handle of its logic is async"):
        Stage(name="count", logic=logic, changelog="log", dead_letters="dead")


def stage_of(name: str, **topics: Any) -> Stage:
    """Return a stage with a changelog and dead letters of its own."""
    own: dict[str, Any] = {"changelog": f"{name}-log", "dead_letters": f"{name}-dead"}
    return Stage(name=name, logic=WordCount("counts"), **own, **topics)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [stage_of("a", outputs=("counts",)), stage_of("b", outputs=("counts",))],
            "counts would be written by a and b",
        ),
        (
            [stage_of("a", public_inputs=("words",)), stage_of("b", public_inputs=("words",))],
            "words would be read by a and b",
        ),
        ([stage_of("a", internal_outputs=("to-b",))], r"a sends messages to \['to-b'\], which no"),
        (
            [stage_of("a", outputs=("to-b",)), stage_of("b", internal_inputs=("to-b",))],
            r"a publishes \['to-b'\], which a stage reads as messages",
        ),
        (
            [
                stage_of("a", internal_outputs=("x", "y")),
                stage_of("b", internal_inputs=("x", "y")),
            ],
            r"a sends messages to b by \['x', 'y'\]",
        ),
    ],
    ids=["two writers", "two readers", "no reader", "public messages", "two ways"],
)
def test_stages_whose_records_would_be_lost_are_refused(stages: list[Stage], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_name(stages)


async def test_stages_that_do_not_fit_are_refused_before_the_brokers_are_asked() -> None:
    """The log is closed, as where a topic is missing."""
    closed: list[bool] = []

    class Closing(MemoryLog):
        """Notes that it is closed."""

        async def close(self) -> None:
            closed.append(True)
            await super().close()

    stages = [stage_of(name, public_inputs=("words",), outputs=(name,)) for name in "ab"]
    with pytest.raises(ValueError, match="words would be read by a and b"):
        async with PlainHost("words", stages, Closing([], 1)):
            pass
    assert closed == [True]


async def test_the_source_of_a_message_is_not_that_of_the_next_record_or_of_a_timer() -> None:
    seen: list[tuple[str, bool]] = []

    class Looking:
        """Notes who sent what it handles."""

        def handle(self, record: Record, context: Context) -> None:
            seen.append((record.topic, context.source is not None))

        def tick(self, context: Context, now_ms: int, limit: int) -> bool:
            if context.partition == right:
                seen.append(("tick", context.source is not None))
            return False

    stage = Stage(
        name="look",
        logic=Looking(),
        changelog="log",
        dead_letters="dead",
        public_inputs=("words",),
        internal_inputs=("inbox",),
        forward_to="inbox",
    )
    async with StageTestbed(stage, partitions=2) as bed:
        right = partition_of(b"a", 2)
        await bed.send("words", b"a", b"", partition=1 - right)
        await bed.send("words", b"a", b"", partition=right)
        await bed.send("words", b"a", b"", partition=1 - right)
        seen = [entry for entry in seen if entry[0] != "tick"]
        await bed.advance(1)
    assert seen[:3] == [("words", True), ("words", False), ("words", True)]
    assert set(seen[3:]) == {("tick", False)}
