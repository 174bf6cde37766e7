"""The examples of stages, word count and loyalty points, in memory: whatever crashes, exact.

On a broker: ``test_examples_on_broker``; under Faust: ``tests/agents/test_extending``.
"""

from exactstage.testing import StageTestbed, crash_at_every_append
from payments.settings import Settings

from .examples import ledger_entry, load, points_of


async def test_each_word_is_counted_once_whichever_append_a_crash_comes_at() -> None:
    words = load("words")

    async def scenario(bed: StageTestbed) -> None:
        for partition in (0, 1, None):
            await bed.send("words", b"a", partition=partition)
        await bed.send("words", b"", partition=2)
        await bed.send("words", b"b")

    async with StageTestbed(words.STAGE) as bed:
        await scenario(bed)
        counts = [(record.key, record.value) for record in bed.records("words.counts")]
        [letter] = bed.records("words.dead-letters")
    assert sorted(counts) == [(b"a", b"1"), (b"a", b"2"), (b"a", b"3"), (b"b", b"1")]
    assert dict(letter.headers)["__streams.errors.reason"] == b"no_word"
    assert await crash_at_every_append(lambda: StageTestbed(words.STAGE), scenario) > 30


async def test_points_are_earned_and_taken_back_once_whichever_append_a_crash_comes_at() -> None:
    settings = Settings()
    points = load("points").points_stage(settings)

    async def scenario(bed: StageTestbed) -> None:
        ledger, replays = settings.topics.ledger, settings.topic("shop.points.replays")
        await bed.send(ledger, b"ann", ledger_entry("ann", 1, -1999))
        await bed.send(ledger, b"bob", ledger_entry("bob", 1, -500))
        await bed.send(ledger, b"ann", b"no entry")
        await bed.send(ledger, b"ann", ledger_entry("ann", 2, 1999))
        await bed.send(replays, b"ann", ledger_entry("ann", 3, -100))

    async with StageTestbed(points, partitions=2) as bed:
        await scenario(bed)
        found = [points_of(record.value) for record in bed.records("shop.points")]
        [letter] = bed.records("shop.points.dead-letters")
    assert [total for account, total in found if account == "ann"] == [19, 0, 1]
    assert [total for account, total in found if account == "bob"] == [5]
    assert letter.value == b"no entry"
    assert await crash_at_every_append(lambda: StageTestbed(points, partitions=2), scenario) > 30
