"""Each kind of violation, planted in a run of the real stages, and found where it stands."""

import pytest

from payments.engine.log import Record
from payments.verify.findings import Kind, Place

from .recording import OPENING, Recording, read

COMMANDS, RESULTS = "payments.commands", "payments.results"
LEDGER, LETTERS = "accounts.ledger", "payments.dead-letters"
PAYMENTS, ACCOUNTS = "payments-payments-changelog", "payments-accounts-changelog"


def found(run: Recording) -> list[tuple[Kind, Place]]:
    return sorted((violation.kind, violation.place) for violation in run.audit().violations)


def at(kind: Kind, record: Record) -> tuple[Kind, Place]:
    return kind, Place(*record[:3])


def command_of(run: Recording, result: Record) -> Record:
    partition, offset = read(result)["command"].split("/")[1:]
    return next(r for r in run.records[COMMANDS] if r[1:3] == (int(partition), int(offset)))


# --- commands and their results -------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        {"payment": "undone", "type": "cancel", "replayed": False},
        {"payment": "poor", "outcome": "declined"},
        {"payment": "never"},
        {"payment": "bad", "reason": "not_json"},
        {"payment": "at once", "type": "get"},
    ],
)
def test_a_command_without_a_result(run: Recording, where: dict[str, object]) -> None:
    result = run.find(RESULTS, **where)
    run.remove(result)
    assert found(run) == [at(Kind.MISSING_RESULT, command_of(run, result))]


def test_one_result_for_two_commands_of_the_same_id(run: Recording) -> None:
    commands = run.all(COMMANDS, id="mine")
    run.remove(run.find(RESULTS, command="mine"))
    assert found(run) in [[at(Kind.MISSING_RESULT, command)] for command in commands]


@pytest.mark.parametrize("payment", ["made", "undone", "prevented", "declined", "bad"])
def test_a_command_with_two_results(run: Recording, payment: str) -> None:
    result = [r for r in run.all(RESULTS, payment=payment) if read(r)["command"]][-1]
    assert found(run) == []
    second = run.append(result)
    assert found(run) == [at(Kind.SURPLUS_RESULT, second)]


def test_a_result_of_no_command(run: Recording) -> None:
    added = run.append(run.find(RESULTS, payment="made"), command="nobody's")
    assert found(run) == [at(Kind.SURPLUS_RESULT, added)]


def test_a_result_of_another_payment_than_its_key_says(run: Recording) -> None:
    result = run.find(RESULTS, payment="never")
    run.change(result, payment="other")
    assert found(run) == [at(Kind.MALFORMED_RECORD, result)]


def test_a_payment_that_is_completed_twice_in_one_life(run: Recording) -> None:
    again = run.all(RESULTS, payment="made", replayed=True)[0]
    run.change(again, replayed=False)
    assert found(run) == [at(Kind.CONTRADICTING_RESULT, again)]


def test_an_expiry_without_a_notice(run: Recording) -> None:
    notice = run.find(RESULTS, payment="made", outcome="expired")
    run.remove(notice)
    second_life = run.find(RESULTS, payment="made", outcome="completed")
    assert at(Kind.CONTRADICTING_RESULT, second_life) in found(run)


def test_a_result_whose_fields_contradict_each_other(run: Recording) -> None:
    result = run.find(RESULTS, payment="at once", type="get")
    run.change(result, outcome="not_found", state="completed")
    assert found(run) == [at(Kind.CONTRADICTING_RESULT, result)]


def test_a_malformed_command_that_is_not_put_aside(run: Recording) -> None:
    for letter in (run.records[LETTERS][0], run.records[LETTERS][-1]):
        copy = run.copy()
        copy.remove(letter)
        headers = {
            name: (content or b"").decode(errors="replace") for name, content in letter.headers
        }
        partition, offset = (headers[f"__streams.errors.{n}"] for n in ("partition", "offset"))
        place = Place(COMMANDS, int(partition), int(offset))
        assert found(copy) == [(Kind.MISSING_DEAD_LETTER, place)]


def test_a_command_that_is_put_aside_twice(run: Recording) -> None:
    second = run.append(run.records[LETTERS][0])
    assert found(run) == [at(Kind.SURPLUS_DEAD_LETTER, second)]


def test_a_well_formed_command_that_is_put_aside(run: Recording) -> None:
    letter = run.records[LETTERS][0]
    good = run.find(COMMANDS, id="mine")
    place = {"partition": b"%d" % good.partition, "offset": b"%d" % good.offset}
    headers = [*letter.headers, *((f"__streams.errors.{n}", v) for n, v in place.items())]
    added = run.rewrite(run.append(letter), value=good.value, headers=headers)
    assert found(run) == [at(Kind.SURPLUS_DEAD_LETTER, added)]


# --- money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payment", ["at once", "undone", "given", "taken back"])
def test_a_payment_that_moved_money_twice(run: Recording, payment: str) -> None:
    entry = run.all(LEDGER, payment=payment)[0]
    second = run.post(entry)
    assert found(run) == [at(Kind.MONEY_TWICE, second)]


def test_a_payment_that_moved_money_back_twice(run: Recording) -> None:
    second = run.post(run.find(LEDGER, payment="undone", kind="rollback"))
    assert found(run) == [at(Kind.MONEY_TWICE, second)]


@pytest.mark.parametrize("payment", ["declined", "at nowhere", "never"])
def test_money_that_no_result_tells_of(run: Recording, payment: str) -> None:
    entry = run.find(LEDGER, payment="made", kind="make")
    added = run.post(entry, payment=payment)
    assert found(run) == [at(Kind.UNEXPECTED_ENTRY, added)]


@pytest.mark.parametrize("where", [{"payment": "prevented"}, {"payment": "taken back"}])
def test_money_that_a_result_tells_of_and_the_ledger_does_not(
    run: Recording, where: dict[str, object]
) -> None:
    entry = run.find(LEDGER, **where)
    run.unpost(entry)
    outcome = "cancelled" if read(entry)["kind"] == "rollback" else "completed"
    result = run.find(RESULTS, **where, outcome=outcome, replayed=False)
    assert found(run) == [at(Kind.MISSING_ENTRY, result)]


@pytest.mark.parametrize(
    "change",
    [
        {"payment": None},
        {"kind": "deposit"},
        {"kind": "opening"},
        {"counter_account": "sales/9"},
    ],
)
def test_an_entry_that_is_not_what_it_says(run: Recording, change: dict[str, object]) -> None:
    entry = run.find(LEDGER, payment="undone", kind="make")
    run.change(entry, **change)
    assert at(Kind.WRONG_ENTRY, entry) in found(run)


def test_an_entry_of_another_amount_than_the_payments(run: Recording) -> None:
    deposit = run.find(LEDGER, payment="given")
    run.unpost(run.find(LEDGER, payment="taken back", kind="rollback"))
    run.unpost(run.find(LEDGER, payment="taken back"))
    run.unpost(deposit)
    less = run.post(deposit, amount=99)
    assert at(Kind.WRONG_ENTRY, less) in found(run)


# --- accounts -------------------------------------------------------------------------------------


def test_an_entry_that_is_in_the_ledger_twice(run: Recording) -> None:
    second = run.append(run.find(LEDGER, payment="given"))
    assert found(run) == [at(Kind.SEQUENCE_REPEATED, second)]


def test_a_sequence_number_that_is_left_out(run: Recording) -> None:
    last = run.find(LEDGER, account="spender")
    number = read(last)["sequence"] + 1
    run.change(last, sequence=number)
    run.change(run.row(ACCOUNTS, b"spender"), sequence=number)
    assert found(run) == [at(Kind.SEQUENCE_GAP, last)]


def test_an_account_that_does_not_begin_with_its_first_entry(run: Recording) -> None:
    opening, following = run.all(LEDGER, account="spender")[:2]
    run.remove(opening)
    assert found(run) == [at(Kind.SEQUENCE_GAP, following)]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_balance_that_does_not_follow_from_the_amounts(run: Recording, which: int) -> None:
    entry = run.all(LEDGER, account="abc")[which]
    run.change(entry, balance=read(entry)["balance"] + 1)
    assert found(run) == [at(Kind.WRONG_BALANCE, entry)]


def test_an_account_below_zero(run: Recording) -> None:
    less = OPENING + 150  # So much less is it opened with: all its later balances are lower too.
    run.each_entry("spender", lambda entry: {"balance": entry["balance"] - less})
    opening = run.find(LEDGER, account="spender", kind="opening")
    run.change(opening, amount=OPENING - less)
    for key in (b"spender", f"world/{opening.partition}".encode()):
        row = run.row(ACCOUNTS, key)
        values = read(row)
        if "balance" in values:
            run.change(row, balance=values["balance"] - less)
        else:
            run.change(
                row, balances={**values["balances"], "EUR": values["balances"]["EUR"] + less}
            )
    entries = run.all(LEDGER, account="spender")
    below = [at(Kind.NEGATIVE_BALANCE, entry) for entry in entries]
    assert found(run) == sorted([*below, at(Kind.WRONG_ENTRY, opening)])


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"abc", b"spender", b"d"])
def test_an_account_whose_row_is_not_its_last_entry(run: Recording, key: bytes) -> None:
    row = run.row(ACCOUNTS, key)
    run.change(row, balance=read(row)["balance"] + 1)
    last = [
        r
        for r in run.records[ACCOUNTS]
        if r.partition == row.partition and (r.key or b"")[:1] != b"\0"
    ]
    assert found(run) == sorted([at(Kind.ROW_DIFFERS, row), at(Kind.NOT_ZERO, last[-1])])


def test_an_account_whose_row_is_gone(run: Recording) -> None:
    for row in [r for r in run.records[ACCOUNTS] if r.key == b"spender"]:
        run.remove(row)
    last = run.find(LEDGER, account="spender")
    assert at(Kind.ROW_DIFFERS, last) in found(run)


def test_a_counter_account_whose_row_is_not_its_legs(run: Recording) -> None:
    partition = run.find(LEDGER, account="full").partition
    row = run.row(ACCOUNTS, f"world/{partition}".encode())
    balances = read(row)["balances"]
    run.change(row, balances={**balances, "EUR": balances["EUR"] + 1})
    assert [kind for kind, _ in found(run)] == [Kind.NOT_ZERO, Kind.ROW_DIFFERS]
    assert at(Kind.ROW_DIFFERS, row) in found(run)


def test_a_payment_whose_row_is_not_its_last_result(run: Recording) -> None:
    row = run.row(PAYMENTS, b"made")
    run.change(row, state="declined")
    assert found(run) == [at(Kind.ROW_DIFFERS, row)]


def test_a_payment_whose_row_has_another_amount(run: Recording) -> None:
    row = run.row(PAYMENTS, b"made")
    run.change(row, request=read(row)["request"] | {"amount": 99})
    assert found(run) == [at(Kind.ROW_DIFFERS, row)]


def test_a_payment_whose_row_is_gone(run: Recording) -> None:
    for row in [r for r in run.records[PAYMENTS] if r.key == b"made"]:
        run.remove(row)
    assert found(run) == [at(Kind.ROW_DIFFERS, run.find(RESULTS, payment="made"))]


def test_a_payment_that_is_stored_though_it_expired(run: Recording) -> None:
    tombstone = run.row(PAYMENTS, b"given")
    assert tombstone.value is None
    run.remove(tombstone)
    assert found(run) == [at(Kind.ROW_DIFFERS, run.row(PAYMENTS, b"given"))]


def test_a_row_that_no_result_tells_of(run: Recording) -> None:
    added = run.append(run.row(PAYMENTS, b"made"))
    records = run.records[PAYMENTS]
    records[records.index(added)] = added = added._replace(key=b"unheard of")
    assert found(run) == [at(Kind.ROW_DIFFERS, added)]


def test_a_journal_without_a_checkpoint_that_a_restart_needs(run: Recording) -> None:
    checkpoints = [
        record
        for record in run.records[PAYMENTS]
        if record.partition == 0 and (record.value or b"").startswith(b'{"n"')
    ]
    for number, record in enumerate(checkpoints):
        _, _, rest = (record.value or b"").partition(b'"inputs"')
        head = b'{"n":%d,"published":%d,"inputs"' % (number + 1, max(0, number - 1))
        run.rewrite(record, value=head + rest)
    assert found(run) == []
    [before_last] = [r for r in run.records[PAYMENTS] if r[:3] == checkpoints[-2][:3]]
    run.remove(before_last)
    assert found(run) == [at(Kind.JOURNAL_BROKEN, checkpoints[-1])]


# --- records that only a stage writes -------------------------------------------------------------


@pytest.mark.parametrize("topic", [RESULTS, LEDGER])
def test_a_record_that_no_stage_wrote(run: Recording, topic: str) -> None:
    added = run.rewrite(run.append(run.records[topic][0]), value=b"{}", headers=[])
    assert found(run) == [at(Kind.MALFORMED_RECORD, added)]


@pytest.mark.parametrize("topic", [RESULTS, LEDGER, PAYMENTS, ACCOUNTS])
def test_a_record_that_can_not_be_read(run: Recording, topic: str) -> None:
    last = run.records[topic][-1]
    added = run.append(last)
    records = run.records[topic]
    broken = added._replace(key=b"x", value=b'{"payment":')
    records[records.index(added)] = broken
    assert found(run) == [at(Kind.MALFORMED_RECORD, broken)]


def test_a_checkpoint_that_can_not_be_read(run: Recording) -> None:
    last = next(r for r in reversed(run.records[ACCOUNTS]) if (r.key or b"")[:1] == b"\0")
    broken = run.rewrite(last, value=b"?")
    assert at(Kind.MALFORMED_RECORD, broken) in found(run)
