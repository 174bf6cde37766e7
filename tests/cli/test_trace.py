"""``payments trace``: the life of one payment, read from the topics of an embedded application."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from exactstage import TopicPartition, partition_of
from payments.cli import main
from payments.cli import trace as command
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.trace import reading
from payments.trace.event import Kind
from payments.trace.reading import Life, life_of

MAKE = {"type": "make", "account": "abc", "amount": 100}
AUTHORIZE = {"type": "authorize", "account": "abc", "amount": 100}


@pytest.fixture
async def bed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000) as running:
        yield running


async def life(bed: PaymentsTestbed, payment: str, **options: Any) -> Life:
    return await life_of(bed.log, bed.settings, payment, **options)


def kinds(found: Life) -> list[str]:
    return [str(event.kind) for event in found.events]


def other_partition(bed: PaymentsTestbed, payment: str) -> int:
    return (partition_of(payment.encode(), bed.settings.partitions) + 1) % bed.settings.partitions


async def test_a_make_is_a_command_an_entry_and_a_result(bed: PaymentsTestbed) -> None:
    await bed.send("other", MAKE)
    await bed.send("p1", MAKE, headers=[("payments_client", b"shop")])
    found = await life(bed, "p1")
    shown = [kind for kind in kinds(found) if kind not in {"transfer", "settlement"}]
    assert shown == ["command", "entry", "result"]
    asked, *_, answered = found.events
    assert asked.fields == {"value": MAKE, "client": "shop"}
    assert asked.words == "make account abc amount 100, sent by shop"
    assert answered.fields["outcome"] == "completed"
    assert answered.fields["command"] == str(asked.address)


async def test_a_life_has_each_step_in_order(bed: PaymentsTestbed) -> None:
    await bed.send("p1", AUTHORIZE)
    bed.clock.advance(60)
    await bed.send("p1", {"type": "capture", "capture": "c1", "amount": 60, "final": False})
    bed.clock.advance(60)
    await bed.send("p1", {"type": "refund", "refund": "r1", "amount": 20})
    await bed.advance(bed.settings.hold_seconds + bed.settings.window_seconds)
    found = await life(bed, "p1")
    types = [
        event.fields["type"] for event in found.events if event.kind in {Kind.RESULT, Kind.NOTICE}
    ]
    assert types == ["authorize", "capture", "refund", "lapse"]
    assert [event.time_ms for event in found.events] == sorted(
        event.time_ms for event in found.events
    )
    entries = [event for event in found.events if event.kind is Kind.ENTRY]
    assert (
        entries[0].words
        == "hold held +1.00 EUR account abc, balance 10.00 EUR, held in all 1.00 EUR"
    )
    assert "capture -0.60 EUR, held -0.60 EUR account abc" in entries[1].words
    assert sum(int(str(event.fields["amount"])) for event in entries) == -40
    assert sum(int(str(event.fields.get("held_change", 0))) for event in entries) == 0


async def test_messages_that_went_through_the_log_are_there(bed: PaymentsTestbed) -> None:
    """A transfer and its answer, as two workers exchange them."""
    await bed.send("p1", MAKE)
    account = partition_of(b"abc", bed.settings.partitions)
    own = partition_of(b"p1", bed.settings.partitions)
    topics = bed.settings.topics
    transfer = {
        "kind": "make", "account": "abc", "amount": -100, "currency": "EUR", "counter": "sales",
        "payment": "p1",
    }  # fmt: skip
    await bed.app.engine.drain()
    bed.log.produce(
        TopicPartition(topics.transfers, account), b"abc", json.dumps(transfer).encode()
    )
    bed.log.produce(
        TopicPartition(topics.inbox, own), b"p1", b'{"ok":false,"reason":"balance_limit"}'
    )
    found = {str(event.kind): event for event in (await life(bed, "p1")).events}
    assert found["transfer"].words == "make -1.00 EUR account abc"
    assert found["settlement"].words == "refused (balance_limit)"


async def test_a_command_on_another_partition_is_found_by_its_answer(bed: PaymentsTestbed) -> None:
    partition = other_partition(bed, "p1")
    await bed.send("p1", MAKE, partition=partition)
    first = (await life(bed, "p1")).events[0]
    assert (first.kind, first.address.partition) == (Kind.COMMAND, partition)


async def test_with_an_own_id_it_is_found_on_any_partition(bed: PaymentsTestbed) -> None:
    await bed.send("p1", {**MAKE, "id": "c1"}, partition=other_partition(bed, "p1"))
    assert "command" not in kinds(await life(bed, "p1"))
    assert "command" in kinds(await life(bed, "p1", any_partition=True))


async def test_what_is_no_command_has_its_dead_letter(bed: PaymentsTestbed) -> None:
    await bed.send("p1", b"no JSON \x1b[31m")
    found = await life(bed, "p1")
    assert kinds(found) == ["command", "result", "dead_letter"]
    assert found.events[-1].fields["reason"] == "not_json"
    assert found.events[-1].fields["source"] == str(found.events[0].address)


async def test_only_what_is_later_than_a_time_is_read(bed: PaymentsTestbed) -> None:
    await bed.send("p1", MAKE)
    bed.clock.advance(3600)
    since_ms = bed.clock.now_ms
    await bed.send("p1", {"type": "cancel"})
    found = await life(bed, "p1", since_ms=since_ms)
    assert [event.fields["type"] for event in found.events if event.kind is Kind.RESULT] == [
        "cancel"
    ]


async def test_a_batch_that_cant_be_read_is_named(bed: PaymentsTestbed) -> None:
    await bed.send("p1", MAKE)
    await bed.app.engine.drain()
    at = TopicPartition(bed.settings.topics.results, partition_of(b"p1", bed.settings.partitions))
    batch = bed.log.produce_unreadable(at, 1, "undecodable_batch")
    found = await life(bed, "p1")
    assert found.unreadable == [batch.address]
    assert "result" in kinds(found)


async def test_progress_is_shown_only_where_it_takes_long(
    bed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exactstage.ranges._PROGRESS_SECONDS", -1.0)
    await bed.send("p1", MAKE)
    shown: list[str] = []
    await life(bed, "p1", show=shown.append)
    assert shown == []
    monkeypatch.setattr(reading, "PROGRESS_AFTER_SECONDS", 0.0)
    await life(bed, "p1", show=shown.append)
    assert any("records" in progress for progress in shown)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command on an application in which one payment was made, and one refused."""

    async def read(settings: Settings, payment: str, since_ms: int, *, any_partition: bool) -> Life:
        async with PaymentsTestbed(opening_balance=1000) as bed:
            await bed.send("p1", MAKE)
            await bed.send("p2", b"\x1b[31mred")
            return await life_of(
                bed.log, bed.settings, payment, since_ms=since_ms, any_partition=any_partition
            )

    monkeypatch.setattr(command, "_read", read)
    return lambda *arguments: CliRunner().invoke(main, ["trace", *arguments])


def test_each_line_has_time_seconds_kind_address_and_words(run: Callable[..., Result]) -> None:
    ran = run("p1")
    assert ran.exit_code == 0
    first, *_, last = ran.stdout.splitlines()
    assert first.split() == [
        "2026-01-01T00:00:00.000Z", "+0.000", "s", "command",
        f"payments.commands/{partition_of(b'p1', 4)}/0", "make", "account", "abc", "amount", "100",
    ]  # fmt: skip
    assert "  result " in last
    assert " make completed 1.00 EUR state completed of payments.commands/" in last


def test_json_has_one_object_on_each_line(run: Callable[..., Result]) -> None:
    found = [json.loads(line) for line in run("p1", "--json").stdout.splitlines()]
    assert [each["payment"] for each in found] == ["p1"] * len(found)
    assert [each["event"] for each in found] == ["command", "entry", "result"]
    assert found[0]["value"] == MAKE
    assert found[1]["kind"] == "make"
    assert found[-1]["outcome"] == "completed"
    assert all({"time", "seconds", "topic", "partition", "offset"} <= set(each) for each in found)


def test_a_payment_without_a_record_is_not_found(run: Callable[..., Result]) -> None:
    ran = run("p9")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == "no topic has a record of payment p9\n"


def test_no_text_of_a_client_controls_the_terminal(run: Callable[..., Result]) -> None:
    for arguments in (["p2"], ["p2", "--json"]):
        assert "\x1b" not in run(*arguments).stdout


@pytest.mark.parametrize("arguments", [[""], ["p1", "--hours", "0"], ["p1", "p2"], []])
def test_other_arguments_are_a_usage_error(
    run: Callable[..., Result], arguments: list[str]
) -> None:
    assert run(*arguments).exit_code == 2
