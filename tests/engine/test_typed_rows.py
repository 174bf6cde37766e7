"""Rows that are values of a class: stored and read as such, and refused with a clear message.

Of the same kind: bytes that are none (``test_journal``), and rows that a stage without typed rows
can't read when it is restored (``test_restoring``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from exactstage import Context, Record, RowRefused, Rows, Stage, TopicPartition, TypedContext
from exactstage.errors import JournalBroken
from exactstage.testing import StageTestbed


class Total(msgspec.Struct):
    """Points of one customer."""

    points: int
    since: str = ""


@dataclass
class Visits:
    """A dataclass will do."""

    pages: list[str] = field(default_factory=list)


def earn(record: Record, context: TypedContext[Total]) -> None:
    """Add the points of a record to its key's."""
    assert record.key is not None
    total = context.get(record.key) or Total(0)
    total.points += int(record.value or b"0")
    context.put(record.key, total)
    context.emit("totals", record.key, b"%d" % total.points, type="total")


def stage(logic: Any = earn, rows: Rows[Any] | None = None, row_format: int = 1) -> Stage:
    return Stage(
        "earn", logic, changelog="points-changelog", dead_letters="dead-points",
        public_inputs=("earned",), outputs=("totals",), row_format=row_format,
        rows=Rows(Total) if rows is None else rows,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_a_row_is_a_value_and_survives_a_crash(encoding: Any) -> None:
    async with StageTestbed(stage(rows=Rows(Total, encoding=encoding))) as bed:
        await bed.send("earned", b"ann", b"7")
        await bed.crash()
        await bed.send("earned", b"ann", b"5")
        assert [record.value for record in bed.records("totals")] == [b"7", b"12"]


async def test_the_journal_has_json_that_people_can_read() -> None:
    async with StageTestbed(stage(), partitions=1) as bed:
        await bed.send("earned", b"ann", b"7")
        rows = [r.value for r in bed.records("points-changelog") if r.key == b"ann"]
    assert rows == [b'{"points":7,"since":""}']


async def test_a_changed_value_is_stored_only_by_put() -> None:
    def forget(record: Record, context: TypedContext[Total]) -> None:
        assert record.key is not None
        total = context.get(record.key)
        if total is None:
            context.put(record.key, Total(1))
        else:
            total.points += 1
            context.emit("totals", record.key, b"%d" % total.points)

    async with StageTestbed(stage(forget)) as bed:
        for _ in range(3):
            await bed.send("earned", b"ann")
        assert [record.value for record in bed.records("totals")] == [b"2", b"2"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Total("many"), "type Total can't be stored as Total: Expected `int`, got `str`"),  # type: ignore[arg-type]
        (7, "type int can't be stored as Total: Expected `object`, got `int`"),
        (object(), "type object can't be stored as Total: Encoding objects of type"),
    ],
)
async def test_a_row_that_could_not_be_read_again_is_refused(row: Any, why: str) -> None:
    refused: list[str] = []

    def put(record: Record, context: TypedContext[Any]) -> None:
        assert record.key is not None
        try:
            context.put(record.key, row)
        except RowRefused as error:
            refused.append(str(error))
            raise

    async with StageTestbed(stage(put)) as bed:
        await bed.send("earned", b"ann")
        [letter] = bed.records("dead-points")
    assert refused[0].startswith(f"a row of {why}")
    assert dict(letter.headers)["__streams.errors.exception"] == b"RowRefused"


async def test_rows_of_another_shape_are_found_at_the_takeover_before_anything_is_decided() -> None:
    class Renamed(msgspec.Struct):
        """The same rows in a version that has renamed the field."""

        amount: int

    async with StageTestbed(stage(), partitions=1) as bed:
        await bed.send("earned", b"ann", b"7")
        with pytest.raises(JournalBroken) as failure:
            await bed.crash(stage(rows=Rows(Renamed)))
        assert str(failure.value).startswith(
            "points-changelog/0 has a row with the key b'ann' that is no Renamed (Object missing "
            "required field `amount`"
        )
        await bed.crash(stage())
        await bed.send("earned", b"ann", b"5")
        assert [record.value for record in bed.records("totals")] == [b"7", b"12"]


async def test_every_callback_sees_values() -> None:
    class Everything:
        """Uses all of them."""

        def __init__(self) -> None:
            self.restored_rows: list[Mapping[bytes, Visits]] = []

        def handle(self, record: Record, context: TypedContext[Visits]) -> None:
            """Note a page."""
            assert record.key is not None
            visits = context.get(record.key) or Visits()
            context.put(record.key, Visits([*visits.pages, (record.value or b"").decode()]))
            if record.value == b"wrong":
                raise ValueError(record.value)

        def on_error(self, record: Record, error: Exception, context: TypedContext[Visits]) -> None:
            """Answer with what is known."""
            assert record.key is not None
            assert context.rows[record.key] == context.get(record.key)
            context.emit("totals", record.key, b"failed")

        def restored(self, partition: int, rows: Mapping[bytes, Visits]) -> None:
            """Keep what came."""
            del partition
            self.restored_rows.append(rows)

        def tick(self, context: TypedContext[Visits], now_ms: int, limit: int) -> bool:
            """Delete what is read."""
            del now_ms, limit
            for key in [key for key, visits in context.rows.items() if "last" in visits.pages]:
                context.delete(key)
            return False

    logic = Everything()
    async with StageTestbed(stage(logic, Rows(Visits)), partitions=1) as bed:
        await bed.send("earned", b"ann", b"first")
        await bed.send("earned", b"ann", b"wrong")
        await bed.crash()
        assert logic.restored_rows[-1] == {b"ann": Visits(["first"])}
        await bed.send("earned", b"ann", b"last")
        await bed.advance(1)
        await bed.crash()
        assert logic.restored_rows[-1] == {}
        assert [record.value for record in bed.records("totals")] == [b"failed"]


def test_a_type_that_can_not_be_read_is_refused_when_the_stage_is_made() -> None:
    class Unknown:
        """Nothing that msgspec knows."""

        def __init__(self, *_: object) -> None: ...

    with pytest.raises(TypeError, match="Unknown"):
        Rows(Unknown)


def test_a_row_in_memory_that_is_of_another_type_ends_the_worker() -> None:
    """Only a bug or a foreign writer makes one after the takeover has read all of them."""
    context: TypedContext[Total] = TypedContext(
        Context(stage="earn", partition=3, public=frozenset(), emits=frozenset(), limits=None),  # type: ignore[arg-type]
        Rows(Total),
        "points-changelog",
    )
    context.untyped.rows[b"ann"] = b"no JSON"
    with pytest.raises(JournalBroken, match=rf"^{TopicPartition('points-changelog', 3)} has a row"):
        context.get(b"ann")
