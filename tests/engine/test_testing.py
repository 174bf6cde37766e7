"""The test bed: crashes at any append, duplicates, time, and its pytest fixture.

Of the same kind, with several workers at once and commits of a few records: ``test_exactly_once``.
"""

from typing import TYPE_CHECKING

import pytest

from exactstage import Context, Record, Stage
from exactstage.testing import Arrived, StageTestbed, crash_at_every_append

from .wordcount import word_count

if TYPE_CHECKING:  # pytest imports the plugin itself.
    from exactstage.pytest_plugin import NewTestbed

pytest_plugins = ["exactstage.pytest_plugin"]


async def three_words(bed: StageTestbed) -> None:
    """Send words to their own and to a wrong partition, with one that is refused."""
    for partition in (None, 0, 1, 2):
        await bed.send("words", b"a", b"x", partition=partition)
    await bed.send("words", b"b", b"bad")


@pytest.mark.parametrize("local_delivery", [True, False])
async def test_a_stage_is_exact_whichever_append_the_worker_is_killed_at(
    *, local_delivery: bool
) -> None:
    def new_bed() -> StageTestbed:
        return StageTestbed(word_count(), local_delivery=local_delivery)

    crashes = await crash_at_every_append(new_bed, three_words)
    assert crashes > 3 * 10, "the scenario is too short to mean anything"


async def test_a_stage_that_counts_beside_its_rows_is_found_out() -> None:
    class Forgetful:
        """Keeps a number in memory: a worker that starts anew has lost it."""

        def __init__(self) -> None:
            self.seen = 0

        def handle(self, record: Record, context: Context) -> None:
            """Emit how many records this process has seen."""
            self.seen += 1
            context.emit("counts", record.key, b"%d" % self.seen)

    def new_bed() -> StageTestbed:
        logic = Forgetful()
        return StageTestbed(
            Stage("forgetful", logic, changelog="changelog", dead_letters="dead",
                  public_inputs=("words",), outputs=("counts",)), partitions=1,
        )  # fmt: skip

    async def scenario(bed: StageTestbed) -> None:
        await bed.send("words", b"a")
        await bed.send("words", b"a")

    with pytest.raises(AssertionError, match=r"killed at append .* publish something else"):
        await crash_at_every_append(new_bed, scenario)


@pytest.mark.parametrize("arrived", ["nothing", "part", "all"])
async def test_a_worker_can_be_killed_at_an_append_of_a_test_s_choice(arrived: Arrived) -> None:
    async with StageTestbed(word_count(), partitions=1) as bed:
        await bed.send("words", b"a", b"x")
        bed.crash_at(1, arrived)
        await bed.send("words", b"a", b"x")
        assert bed.crashes == 1
        assert [record.value for record in bed.records("counts")] == [b"1", b"2"]


async def test_a_message_that_is_delivered_again_changes_nothing() -> None:
    async with StageTestbed(word_count(), local_delivery=False) as bed:
        for partition in range(3):
            await bed.send("words", b"a", b"x", partition=partition)
        before = bed.published()
        assert await bed.redeliver("inbox") == 2
        assert bed.published() == before
        assert not bed.records("dead-words")
        await bed.crash()
        await bed.redeliver("inbox")
        assert bed.published() == before


async def test_a_client_s_retry_is_a_record_of_its_own() -> None:
    async with StageTestbed(word_count()) as bed:
        await bed.send("words", b"a", b"x", times=2)
        assert [record.value for record in bed.records("counts")] == [b"1", b"2"]


async def test_the_fixture_makes_running_test_beds(stage_testbed: "NewTestbed") -> None:
    first = await stage_testbed(word_count())
    second = await stage_testbed(word_count(), partitions=1, app_id="other")
    await first.send("words", b"a", b"x")
    assert (len(first.records("counts")), len(second.records("counts"))) == (1, 0)
