"""The engine as a library: its README, its exported names, stages as functions, the test bed.

Workers that are killed at each append, and several at once, are in ``test_exactly_once``.
"""

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from exactstage import (
    Context,
    FailStop,
    Fenced,
    MemoryLog,
    Record,
    Refused,
    Stage,
    TopicPartition,
    topics_of,
)
from exactstage.hosting import PlainHost
from exactstage.testing import LIMIT_SECONDS, StageTestbed

ROOT = Path(__file__).parents[2]
README = ROOT / "exactstage" / "README.md"
PAGE = ROOT / "docs" / "reference" / "engine.md"


def totals(record: Record, context: Context) -> None:
    """Add numbers up by key; what is no number is refused."""
    if record.key is None or record.value is None or not record.value.isdigit():
        raise Refused("not_a_number", "the value is no number")
    total = int(context.get(record.key) or b"0") + int(record.value)
    context.put(record.key, b"%d" % total)
    context.emit("totals", record.key, b"%d" % total, type="total")


def stage() -> Stage:
    return Stage(
        "totals", totals, changelog="app-totals-changelog", dead_letters="dead-numbers",
        public_inputs=("numbers",), outputs=("totals",),
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1])
async def test_each_example_of_the_readme_runs(number: int) -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    example = examples[number]
    assert "assert " in example, "it shows what comes out"
    found: dict[str, object] = {}
    exec(f"async def example():\n{textwrap.indent(example, '    ')}", found)  # noqa: S102 - the page itself
    await found["example"]()  # type: ignore[operator]


def test_the_tests_on_the_page_of_the_reference_pass(tmp_path: Path) -> None:
    """As a reader runs them: with pytest, beside the example that they test."""
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "test_words.py").write_text(examples[0])
    # A fixture's module is named in conftest.py.
    plugins, _, test = examples[1].partition("\n\n\n")
    (tmp_path / "conftest.py").write_text(plugins)
    (tmp_path / "test_word.py").write_text(f"from words import STAGE\n\n\n{test}")
    options = ("-q", "-p", "no:cacheprovider", "--asyncio-mode=auto")
    paths = f"--override-ini=pythonpath={ROOT}/examples {ROOT}"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, paths],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS * 20,
    )  # fmt: skip
    assert "3 passed" in ended.stdout, ended.stdout


async def test_a_stage_is_a_function_and_what_it_emits_has_defaults() -> None:
    async with StageTestbed(stage()) as bed:
        at = await bed.send("numbers", b"a", b"7")
        await bed.send("numbers", b"a", b"no number")
        await bed.send("numbers", b"a", b"3")
        first, second = bed.records("totals")
        [letter] = bed.records("dead-numbers")
    assert (first.value, second.value) == (b"7", b"10")
    assert (first.partition, first.key) == (at.partition, b"a")
    headers = dict(first.headers)
    assert headers["ce_type"] == b"total"
    assert headers["ce_time"] == b"2026-01-01T00:00:00.000Z", "that of the record"
    assert letter.value == b"no number"


async def test_a_crash_loses_and_doubles_nothing() -> None:
    async with StageTestbed(stage()) as bed:
        for number in range(1, 6):
            await bed.send("numbers", b"a", b"%d" % number, partition=0)
            await bed.crash()
        assert [record.value for record in bed.records("totals")] == [
            b"1",
            b"3",
            b"6",
            b"10",
            b"15",
        ]


async def test_time_moves_when_a_test_says_so() -> None:
    class Reminder:
        """Emits what was sent once a minute has passed."""

        def handle(self, record: Record, context: Context) -> None:
            """Keep the record."""
            assert record.key is not None
            context.put(record.key, b"%d" % (record.timestamp + 60_000))

        def tick(self, context: Context, now_ms: int, limit: int) -> bool:
            """Emit what is due."""
            due = [key for key, row in context.rows.items() if int(row) <= now_ms][:limit]
            for key in due:
                context.delete(key)
                context.emit("totals", key, b"due", type="reminder")
            return len(due) == limit

    reminders = Stage(
        "reminders", Reminder(), changelog="app-reminders-changelog", dead_letters="dead",
        public_inputs=("numbers",), outputs=("totals",),
    )  # fmt: skip
    async with StageTestbed(reminders) as bed:
        await bed.send("numbers", b"a", b"1")
        await bed.advance(59)
        assert not bed.records("totals")
        await bed.advance(1)
        [due] = bed.records("totals")
    assert dict(due.headers)["ce_time"] == b"2026-01-01T00:01:00.000Z"


async def test_what_would_end_a_worker_is_raised_in_the_test() -> None:
    bed = StageTestbed(stage())
    with pytest.raises(RuntimeError, match="it is not running"):
        await bed.send("numbers", b"a", b"1")
    with pytest.raises(FailStop, match="no room"):  # noqa: PT012 - it may come at the end too
        async with bed:
            bed.log.append = no_room  # type: ignore[method-assign, assignment]
            await bed.send("numbers", b"a", b"1")


async def no_room(*_: object) -> None:
    raise FailStop("no room")


async def test_leaving_a_host_that_can_not_publish_ends_with_the_reason() -> None:
    log, leaving = MemoryLog(topics_of([stage()]), 1), asyncio.Event()

    async def no_room_once_it_leaves(*_: object) -> None:
        await leaving.wait()
        await no_room()

    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(FailStop, match="no room"):  # noqa: PT012 - it comes at the end
            async with PlainHost("app", [stage()], log) as host:
                log.append = no_room_once_it_leaves  # type: ignore[method-assign, assignment]
                log.produce(TopicPartition("numbers", 0), b"a", b"1")
                while host.engine.is_idle:
                    await log.grown(0.005)
                asyncio.get_running_loop().call_soon(leaving.set)


async def test_two_plain_hosts_share_the_partitions_and_a_later_one_takes_over() -> None:
    log = MemoryLog(topics_of([stage()]), 2)
    async with (
        PlainHost("app", [stage()], log, partitions=[0]) as first,
        PlainHost("app", [stage()], log, partitions=[1]),
    ):
        for partition in (0, 1):
            log.produce(TopicPartition("numbers", partition), b"a", b"1")
        await published(log, 2)
        next_owner = PlainHost("app", [stage()], log, partitions=[0])
        async with next_owner:
            log.produce(TopicPartition("numbers", 0), b"a", b"2")
            await published(log, 3)
            with pytest.raises(Fenced):
                await asyncio.wait_for(first.run(), LIMIT_SECONDS)
            first.failure = None  # It is known now.


async def published(log: MemoryLog, count: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(log.records("totals")) < count:
            await log.grown(0.005)


@pytest.mark.parametrize("logic", [None, object(), 7])
def test_what_is_neither_a_function_nor_has_a_handle_is_refused(logic: object) -> None:
    with pytest.raises(TypeError, match="neither a function nor an object with a method handle"):
        Stage("s", logic, changelog="c", dead_letters="d", public_inputs=("in",))  # type: ignore[arg-type]
