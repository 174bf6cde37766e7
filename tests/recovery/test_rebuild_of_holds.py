"""Journals of payments that hold money, or gave some back, made anew: the same rows, or a refusal.

Of the same kind: payments that were only made and cancelled, in ``test_rebuild.py``.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exactstage import TopicPartition
from payments.domain.account import Account
from payments.domain.payment import Payment
from payments.records.internal_codec import decode_account, decode_counter, decode_payment
from payments.recovery.entries import Guess
from payments.recovery.errors import RecoveryRefused

from .rig import CrashMode, Installation

MAKE: dict[str, Any] = {"type": "make", "account": "abc", "amount": 100}
AUTHORIZE = {**MAKE, "type": "authorize", "metadata": {"order": "7"}}
MAKE_WITH_METADATA = {**MAKE, "metadata": {"order": "7"}}
CAPTURE, VOID, CANCEL = {"type": "capture"}, {"type": "void"}, {"type": "cancel"}
GET = {"type": "get"}


def some(part: str, amount: int, *, final: bool = False) -> dict[str, Any]:
    return {"type": "capture", "capture": part, "amount": amount, "final": final}


def refund(part: str, amount: int | None = None) -> dict[str, Any]:
    command: dict[str, Any] = {"type": "refund", "refund": part}
    return command if amount is None else {**command, "amount": amount}


def send_some(log: Installation, round_: str) -> None:
    """Send commands of every kind for payments in every state."""
    for name, commands in {
        "held": [AUTHORIZE],
        "part": [AUTHORIZE, some("c1", 30), refund("r1", 10), some("c2", 20)],
        "taken": [AUTHORIZE, some("c1", 30), CAPTURE],
        "rest free": [AUTHORIZE, some("c1", 30, final=True)],
        "refunded": [MAKE, refund("r1", 30), {**refund("r1", 30), "id": "again"}, refund("r2", 20)],
        "all refunded": [MAKE, refund("r1"), CANCEL],
        "refunded, undone": [MAKE, refund("r1", 30), CANCEL],
        "voided": [AUTHORIZE, VOID],
        "part voided": [AUTHORIZE, some("c1", 30), VOID],
        "undone": [AUTHORIZE, some("c1", 30), CANCEL],
        "no hold": [CANCEL, AUTHORIZE],
        "poor": [{**AUTHORIZE, "amount": 1_000_000}],
        "noted": [{**MAKE, "metadata": {"a": "b"}}],
        "short": [{**AUTHORIZE, "hold_seconds": 1}, some("c1", 1)],
        "lapses": [{**AUTHORIZE, "hold_seconds": 1}],
    }.items():
        for command in commands:
            log.command(f"{name}-{round_}", command)


async def let_holds_lapse(log: Installation) -> None:
    """Let the short ones end."""
    log.time.advance(130)
    for _ in range(2):  # The timer runs when all else is handled, so what it sends comes later.
        assert await log.work() is None


def rows(log: Installation) -> tuple[dict[bytes, Payment], dict[bytes, Any]]:
    """Return the rows of both stages as their journals have them."""
    payments: dict[bytes, Payment] = {}
    accounts: dict[bytes, Any] = {}
    for stage, found in (("payments", payments), ("accounts", accounts)):
        for record in log.records(log.settings.changelog(stage)):
            key = record.key or b""
            if key[:1] == b"\0":
                continue
            found.pop(key, None)
            if record.value is None:
                continue
            if stage == "payments":
                payments[key] = decode_payment(record.value)
            else:
                is_counter = b"/" in key
                accounts[key] = (decode_counter if is_counter else decode_account)(record.value)
    return payments, accounts


async def test_rows_with_holds_captures_and_refunds_are_the_same_after_a_rebuild() -> None:
    log = Installation(opening_balance=100_000)
    send_some(log, "a")
    assert await log.work() is None
    await let_holds_lapse(log)
    before, results = rows(log), log.results()
    assert {payment.state.value for payment in before[0].values()} >= {
        "authorized",
        "completed",
        "cancelled",
        "lapsed",
    }
    log.lose_journals()
    await log.rebuild()
    assert await log.work() is None
    assert rows(log) == before
    assert log.results() == results
    account = before[1][b"abc"]
    assert isinstance(account, Account)
    assert account.held == sum(payment.held for payment in before[0].values())
    await continue_it(log)


async def continue_it(log: Installation) -> None:
    """Go on with rebuilt payments: parts are known, and what is held can be captured."""
    for command in (some("c1", 30), refund("r1", 10), some("c1", 31), some("c9", 1), CAPTURE):
        log.command("part-a", command)
    for command in (CAPTURE, CAPTURE):
        log.command("held-a", command)
    for command in (refund("r1", 30), refund("r9"), CANCEL):
        log.command("refunded-a", command)
    log.command("lapses-a", CAPTURE)
    send_some(log, "b")
    assert await log.work() is None
    await let_holds_lapse(log)
    await log.require_clean()


@pytest.mark.parametrize(
    ("mode", "local_delivery"), [("before", True), ("half", True), ("after", False)]
)
async def test_a_worker_killed_at_any_append_is_rebuilt_exactly(
    mode: CrashMode, *, local_delivery: bool
) -> None:
    whole = Installation(opening_balance=100_000)
    send_some(whole, "a")
    assert await whole.work(local_delivery=local_delivery) is None
    for crash_at in range(1, whole.appends + 1, 2):
        log = Installation(opening_balance=100_000)
        log.crash_at, log.crash_mode = crash_at, mode
        send_some(log, "a")
        await log.work(local_delivery=local_delivery)
        log.lose_journals()
        await log.rebuild()
        assert await log.work() is None
        await let_holds_lapse(log)
        assert min(result["time"] for result in log.results()) >= "2026-01-01"
        await continue_it(log)
        held = {"abc": sum(payment.held for payment in rows(log)[0].values())}
        assert rows(log)[1][b"abc"].held == held["abc"]


async def refusal(log: Installation, **options: Any) -> str:
    log.lose_journals()
    journals = [log.settings.changelog(stage) for stage in ("payments", "accounts")]
    with pytest.raises(RecoveryRefused) as refused:
        await log.rebuild(**options)
    for name in journals:
        assert not [record for record in log.records(name) if (record.key or b"")[:1] != b"\0"]
    return str(refused.value)


async def test_a_hold_whose_results_are_gone_is_not_lost_silently() -> None:
    log = Installation(opening_balance=100_000)
    log.command("held-a", AUTHORIZE)
    assert await log.work() is None
    log.forget(log.settings.topics.results)
    log.forget(log.settings.topics.commands)
    text = await refusal(log)
    assert "restore the results from a replica or a backup" in text


@pytest.mark.parametrize("final", [True, False])
async def test_a_capture_of_less_than_is_held_is_known_without_its_command(*, final: bool) -> None:
    log = Installation(opening_balance=100_000)
    for command in (AUTHORIZE, some("c1", 30, final=final), refund("r1", 10)):
        log.command("part-a", {**command, "id": f"own {command['type']}"})
    assert await log.work() is None
    before = rows(log)
    log.forget(log.settings.topics.commands)
    log.lose_journals()
    assert (await log.rebuild()).guesses == {}
    assert await log.work() is None
    assert rows(log) == before


@pytest.mark.parametrize(
    "capture", [CAPTURE, some("c1", 100), some("c1", 100, final=True)], ids=str
)
async def test_a_capture_of_all_whose_command_is_gone_may_be_known_in_another_way(
    capture: dict[str, Any],
) -> None:
    """Its entry does not show if it was final, and named its amount: repetitions move nothing."""
    log = Installation(opening_balance=100_000)
    for command in (AUTHORIZE, capture, refund("r1")):
        log.command("p", {**command, "id": f"own {command['type']}"})
    log.command("other", {**AUTHORIZE, "id": "own"})
    assert await log.work() is None
    log.forget(log.settings.topics.commands)
    entries = log.entries()
    log.lose_journals()
    plan = await log.rebuild()
    assert plan.guesses == {Guess.PARTS: ["p"]}
    for command in (capture, refund("r1"), some("c2", 1), refund("r2")):
        log.command("p", {**command, "id": f"again {command['type']}"})
    assert await log.work() is None
    assert log.entries() == entries
    told = [result for result in log.results() if (result["command"] or "").startswith("again")]
    assert [result["reason"] for result in told] in (
        [None, "different_amount", "nothing_held", "over_refund"],
        ["different_final", "different_amount", "nothing_held", "over_refund"],
    )


async def test_a_capture_that_the_ledger_lacks_is_refused() -> None:
    log = Installation(opening_balance=100_000)
    for command in (AUTHORIZE, CAPTURE):
        log.command("taken-a", command)
    assert await log.work() is None
    log.forget(log.settings.topics.ledger)
    text = await refusal(log)
    assert "that the ledger lacks: restore the ledger" in text


async def test_a_copy_is_rebuilt_with_its_holds() -> None:
    log = Installation(opening_balance=100_000)
    send_some(log, "a")
    assert await log.work() is None
    before = rows(log)
    copy = log.copied()
    await copy.rebuild(copied=True)
    assert await copy.work() is None
    after = rows(copy)
    assert after[1] == before[1]
    assert after[0] == before[0]


def delete_before(log: Installation, time_ms: int, topics: Sequence[str] = ()) -> None:
    """Delete the commands and results from before a time, as retention does."""
    for topic in topics or (log.settings.topics.commands, log.settings.topics.results):
        for number in range(log.settings.partitions):
            partition = log.partition(TopicPartition(topic, number))
            partition.delete_before(partition.offset_since(time_ms))


async def aged(
    *rounds: tuple[float, list[dict[str, Any]]], kept_from: float, **values: Any
) -> Installation:
    """Return an installation that got commands of payment "p" at these hours.

    Commands and results from before an hour are deleted.
    """
    log = Installation(opening_balance=100_000, partitions=1, **values)
    start_ms = log.time()
    for hour, commands in rounds:
        log.time.advance(hour * 3600 - (log.time() - start_ms) / 1000)
        log.command(f"other {hour}", MAKE)
        for command in commands:
            log.command("p", command)
        for _ in range(2):
            assert await log.work() is None
    delete_before(log, start_ms + int(kept_from * 3_600_000))
    return log


def moves_of_p(log: Installation) -> int:
    return sum(entry["payment"] == "p" for entry in log.entries())


async def require_rebuilt(log: Installation) -> None:
    """Rebuild, and find the same rows."""
    before, results, entries = rows(log), log.results(), log.entries()
    log.lose_journals()
    await log.rebuild()
    assert await log.work() is None
    assert rows(log) == before
    assert (log.results(), log.entries()) == (results, entries)


@pytest.mark.parametrize("command", [CAPTURE, VOID, some("c1", 30, final=True)], ids=str)
async def test_a_hold_from_before_what_is_read_of_the_ledger_has_ended(
    command: dict[str, Any],
) -> None:
    """A day of retention: from hour 25 on, movements are read from about hour 1 on."""
    await require_rebuilt(
        await aged((0, [AUTHORIZE]), (2, [command]), (25, []), (27, []), kept_from=25)
    )


@pytest.mark.parametrize("commands", [[VOID], [some("c2", 20), VOID], [CAPTURE]], ids=str)
async def test_deleted_results_of_captures_do_not_matter_once_the_payment_has_expired(
    commands: list[dict[str, Any]],
) -> None:
    rounds = (0, [AUTHORIZE, some("c1", 40)]), (20, commands)
    await require_rebuilt(await aged(*rounds, (50, []), kept_from=10))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([AUTHORIZE, some("c1", 40)], [some("c2", 20)]),
        ([AUTHORIZE, some("c1", 40)], [VOID]),
        ([MAKE, refund("r1", 40)], [refund("r2", 20)]),
    ],
    ids=["captures", "void", "refunds"],
)
async def test_a_living_payment_has_all_its_parts_although_their_results_are_deleted(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    """Else a part would be known with another amount, and a repetition of the other move money."""
    await require_rebuilt(await aged((0, before), (20, after), kept_from=10))


LONG = {**AUTHORIZE, "hold_seconds": 40 * 86400}
LIVING: dict[str, list[dict[str, Any]]] = {
    "held": [LONG],
    "part": [LONG, some("c1", 30), refund("r1", 10), some("c2", 20)],
    "rest free": [LONG, some("c1", 30, final=True), refund("r1", 10)],
    "taken": [LONG, some("c1", 30), CAPTURE],
    "voided": [LONG, VOID],
    "undone": [LONG, some("c1", 30), CANCEL],
    "made": [MAKE_WITH_METADATA],
    "made, undone": [MAKE_WITH_METADATA, CANCEL],
    "made, refunded": [MAKE_WITH_METADATA, refund("r1", 30), refund("r2")],
    "refunded, undone": [MAKE_WITH_METADATA, refund("r1", 30), CANCEL],
}


@pytest.mark.parametrize("name", LIVING)
async def test_a_payment_without_any_result_is_rebuilt_from_its_commands_and_the_ledger(
    name: str,
) -> None:
    log = await aged((0, LIVING[name]), (20, []), kept_from=0)
    delete_before(log, log.time() - 3_600_000, [log.settings.topics.results])
    before, results = rows(log), log.results()
    log.lose_journals()
    plan = await log.rebuild(old_commands="answered")
    assert plan.guesses == {}
    assert await log.work() is None
    assert rows(log) == before
    assert log.results() == results


async def test_a_hold_ends_by_its_own_authorize_not_by_one_that_was_declined_before() -> None:
    poor = {**LONG, "account": "poor", "amount": 150_000}
    log = await aged((0, [poor]), kept_from=0)
    log.time.advance(3600)
    log.command("gift", {**MAKE, "type": "deposit", "account": "poor", "amount": 50_000})
    assert await log.work() is None
    log.time.advance(3600)
    log.command("p", poor)
    assert await log.work() is None
    log.time.advance(3600)
    log.command("p", poor)
    log.time.advance(18 * 3600)
    log.command("other", MAKE)
    assert await log.work() is None
    delete_before(log, log.time() - 3_600_000, [log.settings.topics.results])
    before = rows(log)
    assert before[0][b"p"].held == 150_000
    log.lose_journals()
    await log.rebuild(old_commands="answered")
    assert await log.work() is None
    assert rows(log) == before


@pytest.mark.parametrize("name", LIVING)
async def test_a_payment_without_any_result_and_command_is_rebuilt_from_the_ledger(
    name: str,
) -> None:
    log = await aged((0, LIVING[name]), (20, []), kept_from=19)
    before, entries = rows(log), log.entries()
    log.lose_journals()
    plan = await log.rebuild()
    assert await log.work() is None
    after = rows(log)
    row, was = after[0][b"p"], before[0][b"p"]
    guesses = {}
    if was.held:
        assert row.hold_expires_ms == was.time_ms + 365 * 86_400_000
        guesses[Guess.END] = ["p"]
    if "c1" in str(LIVING[name]) and row.held == 0 and CAPTURE in LIVING[name]:
        guesses[Guess.PARTS] = ["p"]
    if was.reason == "voided":
        guesses[Guess.ENDED] = ["p"]
    if refund("r2") in LIVING[name]:
        guesses[Guess.PARTS] = ["p"]
        row = replace(row, parts=(*row.parts[:-1], replace(row.parts[-1], whole=True)))
    assert plan.guesses == guesses
    assert replace(row, hold_expires_ms=was.hold_expires_ms) == was
    assert after[1] == before[1]
    assert log.entries() == entries


@pytest.mark.parametrize("ends_with", [CAPTURE, VOID, CANCEL], ids=str)
async def test_a_hold_from_before_all_that_is_read_is_found_by_what_its_account_holds(
    ends_with: dict[str, Any],
) -> None:
    """Of the ledger only the last days are read for movements."""
    log = await aged((0, [LONG, some("c1", 30)]), (100, []), (150, []), kept_from=149)
    before = rows(log)
    log.lose_journals()
    plan = await log.rebuild()
    assert plan.guesses == {Guess.END: ["p"]}
    assert await log.work() is None
    row, was = rows(log)[0][b"p"], before[0][b"p"]
    assert replace(row, hold_expires_ms=was.hold_expires_ms) == was
    log.command("p", LONG)
    log.command("p", some("c1", 30))
    log.command("p", ends_with)
    assert await log.work() is None
    assert moves_of_p(log) == 3
    assert rows(log)[1][b"abc"].held == 0
    await log.require_clean()


@pytest.mark.parametrize("ended_by", ["void", "lapse"])
async def test_how_a_hold_ended_is_named_as_unknown_where_no_record_says_it(ended_by: str) -> None:
    """A void and the end of the hold release the money with the same entry."""
    hours = {"void": 100, "lapse": 4}[ended_by]
    hold = {**AUTHORIZE, "hold_seconds": hours * 3600}
    rounds = (0, [hold]), (5, [VOID] if ended_by == "void" else [])
    log = await aged(*rounds, (20, []), kept_from=19)
    before, entries = rows(log), log.entries()
    assert before[0][b"p"].state == {"void": "cancelled", "lapse": "lapsed"}[ended_by]
    log.lose_journals()
    plan = await log.rebuild()
    assert plan.guesses == {Guess.ENDED: ["p"]}
    for command in (hold, CAPTURE, VOID):
        log.command("p", command)
    assert await log.work() is None
    assert log.entries() == entries
    assert rows(log)[1] == before[1]


@pytest.mark.parametrize("later", [some("c1", 30), VOID, some("c1", 30, final=True)], ids=str)
async def test_entries_have_the_order_of_the_ledger_whatever_the_clocks_say(
    later: dict[str, Any],
) -> None:
    """The clock of a new leader of the ledger is behind that of the former one."""
    log = await aged((1, [AUTHORIZE]), (0.99, [later]), (20, []), kept_from=19)
    before = rows(log)
    log.lose_journals()
    await log.rebuild()
    assert await log.work() is None
    row, was = rows(log)[0][b"p"], before[0][b"p"]
    assert (row.state, row.held, row.captured) == (was.state, was.held, was.captured)
    assert rows(log)[1] == before[1]


async def test_a_notice_that_a_hold_ends_soon_is_no_change_of_the_payment() -> None:
    hold = {**AUTHORIZE, "hold_seconds": 20 * 3600}
    log = await aged((0, [hold]), (15, []), (16, []), kept_from=10, hold_notice_seconds=6 * 3600)
    assert [result["type"] for result in log.results() if result["payment"] == "p"] == ["notice"]
    await require_rebuilt(log)


async def test_metadata_of_a_make_in_flight_is_that_of_its_entry() -> None:
    lost = 0
    for crash_at in range(1, 30):
        log = Installation(opening_balance=100_000, partitions=1)
        log.crash_at = crash_at
        log.command("p", MAKE_WITH_METADATA)
        if await log.work() is None:
            break
        lost += bool(log.entries()) and not log.results()
        log.lose_journals()
        await log.rebuild()
        assert await log.work() is None
        assert rows(log)[0][b"p"].metadata == {"order": "7"}
        assert [result["metadata"] for result in log.results()] == [{"order": "7"}]
    assert lost, "its entry was published, and not its result"


@pytest.mark.parametrize(
    "sent",
    [
        [AUTHORIZE],
        [AUTHORIZE, some("c1", 30)],
        [AUTHORIZE, VOID],
        [AUTHORIZE, some("c1", 30), CANCEL],
        [{**AUTHORIZE, "hold_seconds": 1}],
        [MAKE],
        [MAKE, CANCEL],
        [MAKE, refund("r1", 30), CANCEL],
    ],
    ids=str,
)
@pytest.mark.parametrize("asked", [GET, {**MAKE, "amount": 1}], ids=str)
async def test_a_payment_of_which_only_a_later_answer_is_left_has_the_time_of_its_last_entry(
    sent: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    await require_rebuilt(await aged((0, sent), (15, [asked]), kept_from=10))


SHORT = {**AUTHORIZE, "hold_seconds": 19 * 3600}
DELETED_AND_KEPT: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "captured, refund": ([AUTHORIZE, CAPTURE], [refund("r1", 10)]),
    "part, void": ([AUTHORIZE, some("c1", 30)], [VOID]),
    "part, lapse": ([SHORT, some("c1", 30)], []),
    "captured, cancel": ([AUTHORIZE, CAPTURE], [CANCEL]),
    "part, cancel": ([AUTHORIZE, some("c1", 30)], [CANCEL]),
    "refunded part, cancel": ([AUTHORIZE, some("c1", 30), refund("r1", 10)], [CANCEL]),
    "refunds": ([MAKE, refund("r1", 10), refund("r2", 10)], [refund("r3", 10)]),
    "refund, cancel": ([MAKE, refund("r1", 10)], [CANCEL, GET]),
    "free, get": ([AUTHORIZE, some("c1", 30, final=True)], [GET, refund("r1", 10)]),
    "void, get": ([AUTHORIZE, some("c1", 30), VOID], [GET, refund("r1", 10)]),
    "void, rejected": ([AUTHORIZE, VOID], [some("c1", 10), GET]),
    "undone, rejected": ([AUTHORIZE, CAPTURE, CANCEL], [some("c1", 10), GET]),
    "undone make, rejected": ([MAKE, refund("r1", 10), CANCEL], [refund("r2", 10), GET]),
    "part, get": ([AUTHORIZE, some("c1", 30), refund("r1", 10)], [GET, CAPTURE]),
}


@pytest.mark.parametrize("name", DELETED_AND_KEPT)
@pytest.mark.parametrize("again", [[], [AUTHORIZE], [MAKE, refund("r9", 10)]], ids=str)
async def test_the_first_result_that_is_left_may_show_many_movements(
    name: str, again: list[dict[str, Any]]
) -> None:
    """The payment has expired, and its id may be used again."""
    before, after = DELETED_AND_KEPT[name]
    log = await aged((0, before), (15, []), (20, after), (50, []), (51, again), kept_from=10)
    await require_rebuilt(log)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([AUTHORIZE], [CAPTURE]),
        ([AUTHORIZE], [some("c1", 10), refund("r1", 5)]),
        ([AUTHORIZE], [VOID]),
        ([SHORT], []),
        ([MAKE], [refund("r1", 10)]),
    ],
    ids=str,
)
async def test_a_living_payment_is_rebuilt_from_the_results_that_show_its_parts(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    await require_rebuilt(await aged((0, before), (15, []), (20, after), kept_from=10))


@pytest.mark.parametrize("in_flight", [CAPTURE, VOID, some("c1", 10)], ids=str)
async def test_what_is_in_flight_is_settled_though_its_hold_is_older_than_what_is_read(
    in_flight: dict[str, Any],
) -> None:
    """Only an answer to a get shows the payment; a worker was killed at any append."""
    posted = 0
    for crash_at in range(1, 40):
        log = await aged((0, [AUTHORIZE]), (40, [GET]), kept_from=39)
        log.time.advance(3600)
        log.appends, log.crash_at = 0, crash_at
        log.command("p", in_flight)
        if await log.work() is None:
            break
        was_posted, types = moves_of_p(log) == 2, {result["type"] for result in log.results()}
        log.lose_journals()
        await log.rebuild()
        assert await log.work() is None
        assert moves_of_p(log) == 2, "the hold, and what was in flight once"
        assert log.results()[-1]["command"] == "payments.commands/0/4"
        posted += was_posted and in_flight["type"] not in types
    assert posted, "the transfer was posted, and not answered"


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(kept_from=st.integers(0, 120), partitions=st.sampled_from([1, 3]))
async def test_whatever_is_deleted_of_ended_payments_the_others_are_rebuilt(
    kept_from: int, partitions: int
) -> None:
    """Payments of every kind end before the last ones begin, of which all results are left."""
    log = Installation(opening_balance=100_000, partitions=partitions)
    for number, (before, after) in enumerate(DELETED_AND_KEPT.values()):
        for command in (*before, *after):
            log.command(f"p{number}", command)
            log.time.advance(600)
            assert await log.work() is None
    ends_ms = log.time()
    for hours in (20, 20, 30):  # Holds lapse, and payments expire after that.
        log.time.advance(hours * 3600)
        assert await log.work() is None
    for number, (before, _) in enumerate(DELETED_AND_KEPT.values()):
        for command in before:
            log.command(f"p{number}", command)
    assert await log.work() is None
    delete_before(log, min(log.time() - 1, ends_ms - kept_from * 300_000))
    await require_rebuilt(log)
