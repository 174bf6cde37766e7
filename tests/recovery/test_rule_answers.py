"""Commands for accounts whose results are missing: the ledger says which were carried out.

Of the same kind: rules of accounts whose results are all there, in ``test_rebuild_of_rules.py``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exactstage import TopicPartition, partition_of
from exactstage.log import Batch, Channel
from payments.domain.account import Account
from payments.records.internal_codec import decode_account
from payments.recovery import rebuilding
from payments.recovery.errors import RecoveryRefused

from .rig import CrashMode, Installation, Killed

OPEN: dict[str, Any] = {"type": "open", "credit_limit": 500}
FREEZE, UNFREEZE, CLOSE = {"type": "freeze"}, {"type": "unfreeze"}, {"type": "close"}
GET = {"type": "get"}
DAY = 86_400


def limit(amount: int) -> dict[str, Any]:
    return {"type": "limit", "credit_limit": amount}


def ask(
    log: Installation, account: str, command: Mapping[str, Any], *, wrong: bool = False
) -> None:
    """Let a command for an account come in, on its right partition or on a wrong one."""
    count, key = log.settings.partitions, account.encode()
    partition = (partition_of(key, count) + wrong) % count
    topic = log.settings.topics.account_commands
    log.produce(TopicPartition(topic, partition), key, json.dumps(command).encode())


async def carry_out(
    log: Installation, account: str, *commands: Mapping[str, Any], wrong: bool = False
) -> None:
    """Let commands for an account come in, ten minutes from one to the next, and handle each."""
    for command in commands:
        ask(log, account, command, wrong=wrong)
        assert await log.work() is None
        log.time.advance(600)


def delete_before(log: Installation, time_ms: int, *topics: str) -> None:
    """Delete the records from before a time, as retention does."""
    for topic in topics:
        for number in range(log.settings.partitions):
            partition = log.partition(TopicPartition(topic, number))
            partition.delete_before(partition.offset_since(time_ms))


def rows(log: Installation) -> dict[str, Account]:
    """Return the rows of the accounts as the journals have them; not of counter-accounts."""
    return {
        (record.key or b"").decode(): decode_account(record.value or b"")
        for record in log.records(log.settings.changelog("accounts"))
        if record.key is not None and record.key[:1] != b"\0" and b"/" not in record.key
    }


def results(log: Installation) -> list[dict[str, Any]]:
    """Return the results of commands for accounts."""
    records = log.records(log.settings.topics.account_results)
    return [json.loads(record.value or b"") for record in records]


class Losing(Installation):
    """An installation whose worker can be killed before results of commands for accounts."""

    kill = False

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append; or append all but these results, and end the worker."""
        lost = self.settings.topics.account_results
        kept = [batch for batch in batches if batch.at.topic != lost]
        if not self.kill or len(kept) == len(batches):
            return await super().append(batches, channel)
        if kept:
            await super().append(kept, channel)
        raise Killed

    async def work_and_die(self) -> None:
        """Let a worker handle all commands; the ledger is published, and no result."""
        self.kill = True
        await self.work()
        self.kill = False


async def lose_and_rebuild(log: Installation, *, copied: bool = False) -> Installation:
    """Lose the journals, of a copy too, rebuild them, and let a worker finish."""
    if copied:
        log = log.copied()
    log.lose_journals()
    await log.rebuild(copied=copied)
    assert await log.work() is None
    return log


def answers(log: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """Return by account what its commands were answered."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for each in results(log):
        told = (each["type"], each["outcome"], each["replayed"], each["status"], each["sequence"])
        found.setdefault(each["account"], []).append(told)
    return found


def histories(log: Installation) -> list[dict[str, Any]]:
    """Return the entries of each account, one account after the other."""
    return sorted(without_times(log.entries()), key=lambda entry: str(entry["account"]))


def without_times(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: each[name] for name in each if name != "time"} for each in records]


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_copy_whose_old_results_retention_has_deleted_changes_no_account(
    kept: int, partitions: int
) -> None:
    log = Installation(partitions=partitions)
    await carry_out(log, "abc", OPEN, FREEZE, UNFREEZE, FREEZE, limit(30), UNFREEZE)
    log.time.advance(3600)
    cut_ms = log.time()
    await carry_out(log, "abc", *[limit(40), GET][:kept])
    delete_before(log, cut_ms, log.settings.topics.account_results)
    before, entries = rows(log), log.entries()
    copy = log.copied()
    await copy.rebuild(copied=True, old_account_commands="answered")
    assert await copy.work() is None
    assert rows(copy) == before
    assert copy.entries() == entries


async def test_a_copy_does_not_carry_out_what_was_rejected_before() -> None:
    """The result of the first freeze is deleted: there was no account. No entry says so."""
    log = Installation(partitions=1)
    await carry_out(log, "abc", FREEZE)
    cut_ms = log.time()
    await carry_out(log, "abc", OPEN, FREEZE, UNFREEZE)
    delete_before(log, cut_ms, log.settings.topics.account_results)
    before, entries = rows(log), log.entries()
    copy = log.copied()
    await copy.rebuild(copied=True)
    assert await copy.work() is None
    assert rows(copy) == before
    assert copy.entries() == entries


@pytest.mark.parametrize("choice", ["answered", "unanswered"])
async def test_of_a_copy_without_any_result_the_operator_decides(
    choice: Literal["answered", "unanswered"],
) -> None:
    log = Installation(partitions=1)
    await carry_out(log, "abc", FREEZE)
    log.command("p1", {"type": "deposit", "account": "abc", "amount": 40})
    assert await log.work() is None
    delete_before(log, log.time() + 1, log.settings.topics.account_results)
    copy = log.copied()
    with pytest.raises(RecoveryRefused, match=r"--old-account-commands answered\."):
        await copy.rebuild(copied=True)
    await copy.rebuild(copied=True, old_account_commands=choice)
    assert await copy.work() is None
    kinds = [entry["kind"] for entry in copy.entries()]
    assert kinds.count("freeze") == (choice == "unanswered")


@pytest.mark.parametrize("answered", [0, 1])
async def test_the_order_of_partitions_that_were_merged_says_nothing(answered: int) -> None:
    """``payments repartition`` may put a command in flight before answered ones."""
    log = Installation(partitions=1)
    log.command("p1", {"type": "deposit", "account": "abc", "amount": 40})
    assert await log.work() is None
    await carry_out(log, "bcd", *[OPEN, GET][:answered])
    copy = log.copied()
    topic = TopicPartition(log.settings.topics.account_commands, 0)
    copy.forget(topic.topic)
    ask(copy, "abc", FREEZE)
    for record in log.records(topic.topic):
        copy.produce(topic, record.key, record.value, record.headers)
    await copy.rebuild(copied=True, merged=True)
    assert await copy.work() is None
    kinds = [entry["kind"] for entry in copy.entries()]
    assert kinds.count("freeze") == 1
    assert len(results(copy)) == len(results(log)) + 1


async def repeated() -> Installation:
    """Return a copy of which one result is left; it fits two equal commands."""
    log = Installation(partitions=1, opening_balance=0)
    log.command("p1", {"type": "deposit", "account": "abc", "amount": 40})
    assert await log.work() is None
    await carry_out(log, "abc", UNFREEZE, CLOSE)  # The account has money: it stays open.
    cut_ms = log.time()
    await carry_out(log, "abc", UNFREEZE)
    log.command("p2", {"type": "make", "account": "abc", "amount": 40})
    assert await log.work() is None
    delete_before(log, cut_ms, log.settings.topics.account_results)
    return log.copied()


@pytest.mark.parametrize("choice", ["answered", "unanswered"])
async def test_where_the_results_of_a_copy_fit_other_commands_too_the_operator_decides(
    choice: Literal["answered", "unanswered"],
) -> None:
    copy = await repeated()
    with pytest.raises(RecoveryRefused, match=r"fit the last commands as well as the first"):
        await copy.rebuild(copied=True)
    await copy.rebuild(copied=True, old_account_commands=choice)
    assert await copy.work() is None
    kinds = [entry["kind"] for entry in copy.entries()]
    assert kinds.count("close") == (choice == "unanswered")
    assert len(results(copy)) == (1 if choice == "answered" else 3)


async def test_results_that_fit_other_commands_too_are_clear_where_none_changes_anything() -> None:
    log = Installation(partitions=1)
    await carry_out(log, "abc", OPEN, FREEZE)
    ask(log, "abc", FREEZE)
    copy = log.copied()
    await copy.rebuild(copied=True)
    assert await copy.work() is None
    assert [told[:3] for told in answers(copy)["abc"]] == [
        ("open", "completed", False),
        ("freeze", "completed", False),
        ("freeze", "completed", True),
    ]


# --- entries that the ledger lacks ---------------------------------------------------------------


@pytest.mark.parametrize("left", range(6))
async def test_a_change_that_the_ledger_lacks_is_written_between_the_movements_it_was_between(
    left: int,
) -> None:
    log = Installation(partitions=1)
    await carry_out(log, "abc", OPEN)
    for number, command in enumerate((FREEZE, UNFREEZE)):
        log.command(f"p{number}", {"type": "deposit", "account": "abc", "amount": 40 + number})
        assert await log.work() is None
        await carry_out(log, "abc", command)
    log.command("p2", {"type": "deposit", "account": "abc", "amount": 7})
    assert await log.work() is None
    before, entries = rows(log), log.entries()
    ledger = TopicPartition(log.settings.topics.ledger, 0)
    log.partition(ledger).truncate(left)
    log.lose_journals()
    await log.rebuild(accept_lost_entries=True)
    assert await log.work() is None
    assert without_times(log.entries()) == without_times(entries)
    assert rows(log) == before
    await log.require_clean()


@pytest.mark.parametrize("seconds", [0, -2])
async def test_what_a_changed_account_lacks_is_posted_though_the_clocks_of_brokers_differ(
    seconds: int,
) -> None:
    """Each payment that takes has the time of the one that gives, or an earlier time."""
    log = Installation(partitions=1, opening_balance=0)
    for number in range(8):
        log.command(f"d{number}", {"type": "deposit", "account": "abc", "amount": 40 + number})
        assert await log.work() is None
        log.time.advance(seconds)
        log.command(f"m{number}", {"type": "make", "account": "abc", "amount": 40 + number})
        assert await log.work() is None
    await carry_out(log, "abc", FREEZE)
    before = rows(log)
    log.forget(log.settings.topics.ledger)
    log.lose_journals()
    await log.rebuild(accept_lost_entries=True)
    assert await log.work() is None
    assert rows(log) == before
    await log.require_clean()


async def test_what_no_order_of_an_accounts_movements_allows_is_refused() -> None:
    """The result of the deposit that it was paid from is deleted, and its entry lost."""
    log = Installation(partitions=1, opening_balance=0)
    for name, type_, amount in (("p1", "deposit", 40), ("p2", "make", 40), ("p3", "deposit", 7)):
        log.command(name, {"type": type_, "account": "abc", "amount": amount})
        assert await log.work() is None
        log.time.advance(600)
        if name == "p1":
            cut_ms = log.time()
    topics = log.settings.topics
    delete_before(log, cut_ms, topics.results, topics.commands)
    log.forget(topics.ledger)
    log.lose_journals()
    with pytest.raises(RecoveryRefused, match=r"'p2' moved -40 .* can't be posted"):
        await log.rebuild(accept_lost_entries=True)


async def test_a_change_is_never_dropped_where_its_number_went_to_a_movement() -> None:
    """The result of the first movement is deleted, so those after the change have its number."""
    log = Installation(partitions=1, opening_balance=0)
    for name, amount in (("p1", 7), ("p2", 8), ("p3", 9)):
        log.command(name, {"type": "deposit", "account": "abc", "amount": amount})
        assert await log.work() is None
        log.time.advance(600)
        if name == "p1":
            cut_ms = log.time()
            await carry_out(log, "abc", limit(30))
    topics = log.settings.topics
    delete_before(log, cut_ms, topics.results, topics.commands)
    log.forget(topics.ledger)
    log.lose_journals()
    with pytest.raises(RecoveryRefused, match="limit of account 'abc' is its entry 2"):
        await log.rebuild(accept_lost_entries=True)


# --- entries without a result --------------------------------------------------------------------

IN_FLIGHT = [
    FREEZE,
    FREEZE,  # It changes nothing.
    UNFREEZE,
    UNFREEZE,  # Nor does it, nor the next.
    limit(500),
    {**FREEZE, "id": "own"},
    CLOSE,
    limit(30),
    OPEN,
    FREEZE,
    UNFREEZE,
    GET,
    FREEZE,
    GET,
]
OF_ANOTHER = [UNFREEZE, limit(20), FREEZE, FREEZE, UNFREEZE, limit(20), FREEZE]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("mode", ["before", "half", "after"])
async def test_a_command_whose_entry_is_in_the_ledger_is_answered_from_it(
    mode: CrashMode, *, copied: bool
) -> None:
    """A worker was killed at any append."""

    async def run(crash_at: int | None) -> Installation:
        log = Installation(partitions=1)
        await carry_out(log, "abc", OPEN)
        await carry_out(log, "bcd", OPEN)
        for number, command in enumerate(IN_FLIGHT):
            ask(log, "abc", command)
            for other in OF_ANOTHER[number : number + 1]:
                ask(log, "bcd", other)
        log.appends, log.crash_at, log.crash_mode = 0, crash_at, mode
        await log.work()
        return log

    whole = await run(None)
    answered = 0
    for crash_at in range(1, whole.appends + 1):
        log = await run(crash_at)
        if copied:
            log = log.copied()
        log.lose_journals()
        answered += len(log.entries()) > len(results(log))
        await log.rebuild(copied=copied)
        assert await log.work() is None
        assert histories(log) == histories(whole), crash_at
        assert rows(log) == rows(whole)
        assert answers(log) == answers(whole), crash_at
    assert answered or mode != "half", "the entries were there, and not their results"


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(
    "sent", [[UNFREEZE, FREEZE], [limit(500), limit(100)], [GET, limit(500), CLOSE, limit(3), GET]]
)
async def test_what_changed_nothing_before_a_change_in_flight_changes_nothing_after_it(
    sent: list[dict[str, Any]], *, copied: bool
) -> None:
    log = Losing(partitions=1)
    await carry_out(log, "abc", OPEN)
    for command in sent:
        ask(log, "abc", command)
    await log.work_and_die()
    before, entries = rows(log), log.entries()
    rebuilt = await lose_and_rebuild(log, copied=copied)
    assert rows(rebuilt) == before
    assert without_times(rebuilt.entries()) == without_times(entries)
    assert [each["type"] for each in results(rebuilt)] == ["open", *(c["type"] for c in sent)]
    if not copied:
        await rebuilt.require_clean()


async def with_a_rejected_close(*first: Mapping[str, Any]) -> Installation:
    """Return one with a ``close`` in flight, rejected as the account had money, and a ``freeze``.

    A payment between them took all of it.
    """
    log = Installation(partitions=1, opening_balance=0)
    log.command("p1", {"type": "deposit", "account": "abc", "amount": 40})
    assert await log.work() is None
    await carry_out(log, "abc", *first, CLOSE)
    log.command("p2", {"type": "make", "account": "abc", "amount": 40})
    assert await log.work() is None
    await carry_out(log, "abc", FREEZE)
    log.partition(TopicPartition(log.settings.topics.account_results, 0)).truncate(0)
    log.lose_journals()
    return log


async def test_a_close_that_was_rejected_for_a_balance_is_answered_by_the_row_it_met() -> None:
    log = await with_a_rejected_close(limit(30))
    await log.rebuild()
    assert await log.work() is None
    told = [(type_, outcome, status) for type_, outcome, _, status, _ in answers(log)["abc"]]
    assert told == [
        ("limit", "completed", "open"),
        ("close", "rejected", "open"),
        ("freeze", "completed", "frozen"),
    ]


@pytest.mark.parametrize("choice", ["answered", "unanswered"])
async def test_a_command_that_changed_nothing_by_a_row_that_is_not_known_is_unclear(
    choice: Literal["answered", "unanswered"],
) -> None:
    log = await with_a_rejected_close()
    with pytest.raises(RecoveryRefused, match="have neither a result nor an entry"):
        await log.rebuild()
    await log.rebuild(old_account_commands=choice)
    assert await log.work() is None
    kinds = [entry["kind"] for entry in log.entries()]
    assert kinds == ["deposit", "make", "freeze", *["close"] * (choice == "unanswered")]
    assert len(results(log)) == (1 if choice == "answered" else 2)


@pytest.mark.parametrize("copied", [False, True])
async def test_commands_of_several_accounts_in_flight_are_answered_once_each(
    *, copied: bool
) -> None:
    log = Losing(partitions=1)
    await carry_out(log, "bcd", OPEN, FREEZE)
    await carry_out(log, "abc", OPEN)
    for account, command in (
        ("abc", limit(100)),
        ("bcd", UNFREEZE),
        ("abc", limit(200)),
        ("bcd", FREEZE),
    ):
        ask(log, account, command)
    await log.work_and_die()
    before, entries = rows(log), log.entries()
    rebuilt = await lose_and_rebuild(log, copied=copied)
    assert rows(rebuilt) == before
    assert without_times(rebuilt.entries()) == without_times(entries)
    order = [(each["account"], each["type"]) for each in results(rebuilt)]
    assert order[3:] == [("abc", "limit"), ("bcd", "unfreeze"), ("abc", "limit"), ("bcd", "freeze")]
    assert not any(each["replayed"] for each in results(rebuilt)), "each of them changed something"


@pytest.mark.parametrize(
    "sent",
    [
        [("abc", GET), ("bcd", OPEN), ("abc", FREEZE)],
        [("abc", limit(100)), ("bcd", OPEN), ("bcd", FREEZE), ("abc", limit(200))],
    ],
)
async def test_commands_in_flight_are_not_old_ones_whatever_retention_has_deleted(
    sent: list[tuple[str, dict[str, Any]]],
) -> None:
    log = Losing(partitions=1)
    await carry_out(log, "old", OPEN)
    await carry_out(log, "abc", OPEN)
    log.time.advance(2 * DAY)
    cut_ms = log.time()
    await carry_out(log, "old", GET)
    delete_before(log, cut_ms, log.settings.topics.account_results)
    log.time.advance(3600)
    for account, command in sent:
        ask(log, account, command)
    await log.work_and_die()
    before = rows(log)
    await lose_and_rebuild(log)
    assert rows(log) == before
    order = [(each["account"], each["type"]) for each in results(log)]
    assert order == [("old", "get"), *((account, command["type"]) for account, command in sent)]
    await log.require_clean()


# --- rare commands -------------------------------------------------------------------------------


async def test_rare_commands_are_no_reason_to_refuse() -> None:
    """All results of old commands are deleted, and the commands not yet.

    Those that made no entry, and would change nothing, may be new: they are answered.
    """
    log = Installation(partitions=1)
    await carry_out(log, "abc", OPEN, FREEZE, UNFREEZE, GET)
    log.time.advance(3 * DAY)
    delete_before(log, log.time(), log.settings.topics.account_results)
    ask(log, "abc", FREEZE)
    log.time.advance(3600)
    before = rows(log)
    log.lose_journals()
    await log.rebuild()
    assert rows(log) == before
    assert await log.work() is None
    assert [entry["kind"] for entry in log.entries()] == ["open", "freeze", "unfreeze", "freeze"]
    assert [result["type"] for result in results(log)] == ["get", "freeze"]


@pytest.mark.parametrize("at_once", [4, 5])
@pytest.mark.parametrize("copied", [False, True])
async def test_after_a_long_outage_commands_that_change_nothing_are_answered(
    monkeypatch: pytest.MonkeyPatch, at_once: int, *, copied: bool
) -> None:
    """By the rebuild, or by the worker where they are too many."""
    monkeypatch.setattr(rebuilding, "ANSWERS_AT_ONCE", at_once)
    log = Installation(partitions=1)
    await carry_out(log, "abc", OPEN)
    log.time.advance(10 * DAY)
    topics = log.settings.topics
    delete_before(log, log.time(), topics.account_results, topics.account_commands)
    sent = [GET, UNFREEZE, {"type": "nonsense"}, limit(500), {**OPEN, "credit_limit": 1}]
    for command in sent:
        ask(log, "abc", command)
    log.time.advance(2 * DAY)
    before = rows(log)
    log = await lose_and_rebuild(log, copied=copied)
    assert rows(log) == before
    told = [(str(each["type"]), each["outcome"], each["replayed"]) for each in results(log)]
    assert sorted(told) == [
        ("None", "rejected", False),
        ("get", "found", False),
        ("limit", "completed", True),
        ("open", "rejected", False),
        ("unfreeze", "completed", True),
    ]


async def unclear() -> Installation:
    """Return one with a command of each kind that is older than all results of before."""
    log = Installation(partitions=1)
    log.command("p1", {"type": "make", "account": "abc", "amount": 40})
    await carry_out(log, "abc", OPEN, limit(500))
    delete_before(log, log.time(), log.settings.topics.commands)
    log.command("p2", {"type": "make", "account": "abc", "amount": 2})
    ask(log, "abc", FREEZE)
    log.time.advance(3 * DAY)
    topics = log.settings.topics
    delete_before(log, log.time(), topics.results, topics.account_results)
    log.lose_journals()
    return log


@pytest.mark.parametrize("of_payments", ["answered", "unanswered"])
@pytest.mark.parametrize("of_accounts", ["answered", "unanswered"])
async def test_unclear_commands_of_each_kind_have_an_option_of_their_own(
    of_payments: Literal["answered", "unanswered"], of_accounts: Literal["answered", "unanswered"]
) -> None:
    log = await unclear()
    with pytest.raises(RecoveryRefused) as refused:
        await log.rebuild()
    for choice in ("answered", "unanswered"):
        assert f"--old-commands {choice} --old-account-commands {choice}" in str(refused.value)
    with pytest.raises(RecoveryRefused, match=r"of accounts\.commands") as refused:
        await log.rebuild(old_commands=of_payments)
    assert "--old-commands" not in str(refused.value)
    with pytest.raises(RecoveryRefused, match=r"of payments\.commands") as refused:
        await log.rebuild(old_account_commands=of_accounts)
    assert "--old-account-commands" not in str(refused.value)
    await log.rebuild(old_commands=of_payments, old_account_commands=of_accounts)
    assert await log.work() is None
    kinds = [entry["kind"] for entry in log.entries()]
    assert kinds.count("freeze") == (of_accounts == "unanswered")
    assert kinds.count("make") == 1 + (of_payments == "unanswered" and "freeze" not in kinds)


# --- whatever the commands are -------------------------------------------------------------------

ACCOUNTS = ("abc", "bcd", "cde")
commands = st.sampled_from(
    [OPEN, {**OPEN, "credit_limit": 0}, FREEZE, UNFREEZE, CLOSE, limit(0), limit(30), GET]
)
moves = st.sampled_from(
    [
        {"type": "make", "amount": 40},
        {"type": "deposit", "amount": 40},
        {"type": "authorize", "amount": 10},
    ]
)
steps = st.lists(st.tuples(st.sampled_from(ACCOUNTS), commands | moves, st.booleans()), max_size=12)


async def live(log: Installation, sent: Sequence[tuple[str, dict[str, Any], bool]]) -> list[int]:
    """Let commands come in, and handle each before the next; return the time before each."""
    times: list[int] = []
    for number, (account, command, wrong) in enumerate(sent):
        times.append(log.time())
        if command["type"] in {"make", "deposit", "authorize"}:
            log.command(f"p{number}", {**command, "account": account}, wrong=wrong)
            assert await log.work() is None
            log.time.advance(600)
        else:
            await carry_out(log, account, command, wrong=wrong)
    return times


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sent=steps,
    deleted=st.integers(0, 12),
    partitions=st.sampled_from([1, 3]),
    copied=st.booleans(),
)
async def test_whatever_was_commanded_the_rebuilt_accounts_are_those_that_were_lost(
    sent: list[tuple[str, dict[str, Any], bool]], deleted: int, partitions: int, *, copied: bool
) -> None:
    """Retention has deleted the results of the first commands."""
    if copied:  # Forwarded ones have no place among the others: any may be in flight.
        sent = [(account, command, False) for account, command, _ in sent]
    log = Installation(partitions=partitions)
    times = await live(log, sent)
    log.time.advance(DAY + 3600)
    cut_ms = [*times, log.time()][min(deleted, len(times))]
    delete_before(log, cut_ms, log.settings.topics.account_results)
    before, entries = rows(log), log.entries()
    if copied:
        log = log.copied()
    log.lose_journals()
    await log.rebuild(copied=copied, old_account_commands="answered")
    assert rows(log) == before
    assert await log.work() is None
    assert rows(log) == before
    assert without_times(log.entries()) == without_times(entries)


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sent=steps,
    last=st.lists(commands, min_size=1, max_size=6),
    deleted=st.integers(0, 12),
    crash_at=st.integers(1, 30),
    mode=st.sampled_from(["before", "half", "after"]),
    copied=st.booleans(),
)
async def test_whenever_a_worker_was_killed_each_command_is_carried_out_once(
    sent: list[tuple[str, dict[str, Any], bool]],
    last: list[dict[str, Any]],
    deleted: int,
    crash_at: int,
    mode: CrashMode,
    *,
    copied: bool,
) -> None:
    """It is compared with what would have been without the rebuild, and without the kill."""

    async def run(crash_at: int | None) -> Installation:
        log = Installation(partitions=1)
        times = await live(log, sent)
        log.time.advance(DAY + 3600)
        cut_ms = [*times, log.time()][min(deleted, len(times))]
        if not copied:  # Of a copy's repeated commands without ids, any may be those in flight.
            delete_before(log, cut_ms, log.settings.topics.account_results)
        for command in last:
            ask(log, "abc", command)
        log.appends, log.crash_at, log.crash_mode = 0, crash_at, mode
        await log.work()
        return log

    whole, log = await run(None), await run(crash_at)
    if copied:
        log = log.copied()
    log.lose_journals()
    try:
        await log.rebuild(copied=copied, old_account_commands=None if copied else "answered")
    except RecoveryRefused as refused:
        # In a copy no times say which commands are old: the operator is asked.
        assert copied and "--old-account-commands" in str(refused)  # noqa: PT017, PT018
        return
    assert await log.work() is None
    assert rows(log) == rows(whole)
    assert without_times(log.entries()) == without_times(whole.entries())
    told, would_be = (
        [(r["type"], r["outcome"], r["replayed"]) for r in results(each)] for each in (log, whole)
    )
    assert copied or told == would_be, "in a copy an old command may be answered once more"


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    last=st.lists(st.tuples(st.sampled_from(ACCOUNTS[:2]), commands), min_size=2, max_size=6),
    is_old=st.booleans(),
    copied=st.booleans(),
)
async def test_whatever_was_in_flight_on_two_accounts_is_answered_as_it_would_have_been(
    last: list[tuple[str, dict[str, Any]]], *, is_old: bool, copied: bool
) -> None:
    """The ledger was published, and the results were not."""

    async def run(*, dies: bool) -> Losing:
        log = Losing(partitions=1)
        for account in ACCOUNTS[:2]:
            await carry_out(log, account, OPEN)
        if is_old and not copied:
            log.time.advance(2 * DAY)
            delete_before(log, log.time(), log.settings.topics.account_results)
            await carry_out(log, ACCOUNTS[2], GET)
            log.time.advance(3600)
        for account, command in last:
            ask(log, account, command)
        await (log.work_and_die() if dies else log.work())
        return log

    whole, died = await run(dies=False), await run(dies=True)
    try:
        log = await lose_and_rebuild(died, copied=copied)
    except RecoveryRefused as refused:
        # The first command of an account may be repeated, and a copy says no times.
        assert copied and "fit the last commands as well" in str(refused)  # noqa: PT017, PT018
        return
    assert rows(log) == rows(whole)
    assert without_times(log.entries()) == without_times(whole.entries())
    assert answers(log) == answers(whole)
