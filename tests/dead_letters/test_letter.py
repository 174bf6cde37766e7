"""Dead letters as records: what is the engine's in them and what came from outside."""

from collections.abc import Sequence

import pytest

from exactstage.log import Bounds, Headers, Record, TopicPartition
from exactstage.memory import MemoryLog, MemoryReader
from payments.dead_letters.letter import UNKNOWN, NotReplayable, read_letter, replay_of
from payments.dead_letters.reading import DeadLetters
from payments.records.record_address import RecordAddress
from payments.settings import Settings
from payments.testing import PaymentsTestbed

MARK = "__streams.errors."
MAKE = b'{"type":"make","account":"abc","amount":100}'
SETTINGS = Settings(partitions=4)
LETTERS = SETTINGS.topics.payments_dead_letters


async def put_aside(
    key: bytes | None, value: bytes | None, headers: Headers = (), *, partition: int | None = None
) -> Record:
    """Return the dead letter that the application makes of a record."""
    async with PaymentsTestbed() as payments:
        topic = payments.settings.topics.commands
        payments.produce(topic, key, value, headers=headers, partition=partition)
        await payments.quiet()
        [letter] = payments.records(payments.settings.topics.payments_dead_letters)
    return letter


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("trace", b"1"), ("empty", None)],
        [(f"{MARK}reason", b"forged"), (f"{MARK}topic", b"payments.inbox")],
        [(f"{MARK}{n}", b"9") for n in ("reason", "exception", "message", "topic", "offset")],
        [("ce_time", b"1999-01-01T00:00:00Z"), ("ce_id", b"x"), ("ce_subject", b"y")],
    ],
)
@pytest.mark.parametrize("key", [b"pay-1", b"", None])
async def test_headers_from_outside_stay_apart_from_the_engines(
    key: bytes | None, headers: Headers
) -> None:
    letter = read_letter(await put_aside(key, b"[]", headers))
    assert list(letter.headers) == list(headers)
    assert letter.reason == {b"": "empty_key", None: "null_key"}.get(key, "not_an_object")
    assert letter.source.startswith("payments.commands/")
    assert letter.received_ms == letter.time_ms
    assert (letter.key, letter.value) == (key, b"[]")


@pytest.mark.parametrize("partition", range(4))
async def test_a_record_that_was_passed_on_keeps_the_place_where_it_came_in(
    partition: int,
) -> None:
    letter = read_letter(await put_aside(b"pay-1", b"[]", [("h", b"1")], partition=partition))
    assert letter.source == f"payments.commands/{partition}/0"
    assert list(letter.headers) == [("h", b"1")]


def test_a_record_that_no_stage_wrote_is_shown_and_never_sent() -> None:
    headers = [(f"{MARK}topic", b"payments.commands"), (f"{MARK}offset", b"1")]
    letter = read_letter(Record("payments.dead-letters", 0, 7, 5, b"pay-1", MAKE, headers))
    assert (letter.reason, letter.source) == (UNKNOWN, "")
    with pytest.raises(NotReplayable, match="an unknown topic"):
        replay_of(letter, SETTINGS)


async def test_a_value_that_was_cut_is_not_sent_unless_it_is_given() -> None:
    whole = read_letter(await put_aside(b"pay-1", MAKE[:-1] + b" " * 5_000_000))
    assert whole.is_truncated
    with pytest.raises(NotReplayable, match="5000043 bytes"):
        replay_of(whole, SETTINGS)
    sent = replay_of(whole, SETTINGS, key=b"pay-1", value=MAKE)
    assert sent.command["id"] == f"replay/{whole.position}"


@pytest.mark.parametrize("text", ["a/1/2", "a/b/1/2", "shop.payments.dead-letters/0/0"])
def test_a_position_survives_its_written_form(text: str) -> None:
    assert str(RecordAddress.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a", "a/1", "/1/2", "a/x/2", "a/1/-2", "a/1/٣"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        RecordAddress.parse(text)


class Deleted(MemoryLog):
    """A log whose first records are gone."""

    first = 0

    async def bounds(self, at: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what each partition holds."""
        return {tp: Bounds(self.first, max(self.first, self.end(tp))) for tp in at}


@pytest.mark.parametrize(
    ("first", "min_retention_ms", "known"),
    [(0, 0, True), (1, 0, True), (2, 0, False), (3, 0, False), (3, 3_600_000, True)],
)
async def test_a_letter_older_than_what_is_kept_may_have_been_replayed(
    first: int, min_retention_ms: int, *, known: bool
) -> None:
    now = 1_000_000
    log = Deleted(["payments.commands"], 1, lambda: now)
    at = TopicPartition("payments.commands", 0)
    for time_ms in (1_000_000, 1_500_000, 2_000_000):
        now = time_ms
        log.produce(at, b"k", MAKE)
    log.first = first
    letters = DeadLetters(
        log, SETTINGS, min_retention_ms=min_retention_ms, clock_ms=lambda: 2_000_000
    )
    # A minute is granted to clocks that differ: the record of 2,000,000 is the first that counts.
    assert await letters.reach_back_to(1_950_000, LETTERS) is known


async def test_a_clock_that_is_behind_makes_no_letter_look_young() -> None:
    now = 1_000_000
    log = Deleted(["payments.commands"], 1, lambda: now)
    for time_ms in (1_000_000, 2_000_000):
        now = time_ms
        log.produce(TopicPartition("payments.commands", 0), b"k", MAKE)
    log.first = 2
    letters = DeadLetters(log, SETTINGS, min_retention_ms=900_000, clock_ms=lambda: 1_000_000)
    assert not await letters.reach_back_to(900_000, LETTERS)


async def test_a_search_that_has_found_its_record_has_closed_its_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every other reader of ranges: ``tests/engine/test_ranges.py``."""
    closed: list[MemoryReader] = []

    async def close(reader: MemoryReader) -> None:
        closed.append(reader)

    monkeypatch.setattr(MemoryReader, "close", close)
    log = MemoryLog(["words"], 1)
    for value in (b"1", b"2"):
        log.produce(TopicPartition("words", 0), b"k", value, [("mark", value)])
    letters = DeadLetters(log, SETTINGS)
    assert await letters.marked("words", ("mark", b"1"), 0) == RecordAddress("words", 0, 0)
    assert len(closed) == 1
