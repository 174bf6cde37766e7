"""Tables and journals that are not what the public records lead to, and records of nobody."""

from itertools import count

import pytest

from exactstage.partitioner import partition_of
from payments.verify.findings import Kind

from .recording import ACCOUNTS, LEDGER, PAYMENTS, RESULTS, Recording, at, read


@pytest.mark.parametrize("key", [b"abc", b"spender", b"d"])
def test_an_account_whose_row_is_not_its_last_entry(run: Recording, key: bytes) -> None:
    row = run.row(ACCOUNTS, key)
    run.change(row, balance=read(row)["balance"] + 1)
    last = [
        r
        for r in run.records[ACCOUNTS]
        if r.partition == row.partition and (r.key or b"")[:1] != b"\0"
    ]
    assert run.found() == sorted([at(Kind.ROW_DIFFERS, row), at(Kind.NOT_ZERO, last[-1])])


def test_an_account_whose_row_is_gone(run: Recording) -> None:
    for row in [r for r in run.records[ACCOUNTS] if r.key == b"spender"]:
        run.remove(row)
    last = run.find(LEDGER, account="spender")
    assert at(Kind.ROW_DIFFERS, last) in run.found()


def test_a_counter_account_whose_row_is_not_its_legs(run: Recording) -> None:
    partition = run.find(LEDGER, account="full").partition
    row = run.row(ACCOUNTS, f"world/{partition}".encode())
    balances = read(row)["balances"]
    run.change(row, balances={**balances, "EUR": balances["EUR"] + 1})
    assert [kind for kind, _ in run.found()] == [Kind.NOT_ZERO, Kind.ROW_DIFFERS]
    assert at(Kind.ROW_DIFFERS, row) in run.found()


def test_a_payment_whose_row_is_not_its_last_result(run: Recording) -> None:
    row = run.row(PAYMENTS, b"made")
    run.change(row, state="declined")
    assert run.found() == [at(Kind.ROW_DIFFERS, row)]


def test_a_payment_whose_row_has_another_amount(run: Recording) -> None:
    row = run.row(PAYMENTS, b"made")
    run.change(row, request=read(row)["request"] | {"amount": 99})
    assert run.found() == [at(Kind.ROW_DIFFERS, row)]


def test_a_payment_whose_row_is_gone(run: Recording) -> None:
    for row in [r for r in run.records[PAYMENTS] if r.key == b"made"]:
        run.remove(row)
    assert run.found() == [at(Kind.ROW_DIFFERS, run.find(RESULTS, payment="made"))]


def test_a_payment_that_is_stored_though_it_expired(run: Recording) -> None:
    tombstone = run.row(PAYMENTS, b"given")
    assert tombstone.value is None
    run.remove(tombstone)
    assert run.found() == [at(Kind.ROW_DIFFERS, run.row(PAYMENTS, b"given"))]


def test_a_row_that_no_result_tells_of(run: Recording) -> None:
    added = run.append(run.row(PAYMENTS, b"made"))
    records = run.records[PAYMENTS]
    keys = (b"unheard of %d" % number for number in count())
    key = next(key for key in keys if partition_of(key, run.settings.partitions) == added.partition)
    records[records.index(added)] = added = added._replace(key=key)
    assert run.found() == [at(Kind.ROW_DIFFERS, added)]


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
    assert run.found() == []
    [before_last] = [r for r in run.records[PAYMENTS] if r[:3] == checkpoints[-2][:3]]
    run.remove(before_last)
    assert run.found() == [at(Kind.JOURNAL_BROKEN, checkpoints[-1])]


@pytest.mark.parametrize(
    ("topic", "key"), [(PAYMENTS, b"made"), (ACCOUNTS, b"abc"), (ACCOUNTS, b"world/")]
)
def test_a_row_in_another_keys_partition_until_a_tombstone_removes_it(
    run: Recording, topic: str, key: bytes
) -> None:
    """It is no row of its key, and its tombstone, as of a repair, removes none.

    Of the same kind, a record that can't be a row: ``test_reading.py``.
    """
    row = next(each for each in run.records[topic] if (each.key or b"").startswith(key))
    other = next(each for each in run.records[topic] if each.partition != row.partition)
    misplaced = run.append(other)
    records = run.records[topic]
    records[records.index(misplaced)] = misplaced = misplaced._replace(key=row.key, value=row.value)
    assert run.found() == [at(Kind.MALFORMED_RECORD, misplaced)]
    run.rewrite(run.append(misplaced), value=None)
    assert run.found() == []


@pytest.mark.parametrize("number", [b"00", b"9" * 5000])
def test_a_row_of_a_counter_account_that_no_partition_has(run: Recording, number: bytes) -> None:
    row = next(row for row in run.records[ACCOUNTS] if (row.key or b"").startswith(b"sales/"))
    added = run.append(row)
    records = run.records[ACCOUNTS]
    records[records.index(added)] = added = added._replace(key=b"sales/" + number)
    assert run.found() == [at(Kind.MALFORMED_RECORD, added)]


@pytest.mark.parametrize("topic", [RESULTS, LEDGER])
def test_a_record_that_no_stage_wrote(run: Recording, topic: str) -> None:
    added = run.rewrite(run.append(run.records[topic][0]), value=b"{}", headers=[])
    assert run.found() == [at(Kind.MALFORMED_RECORD, added)]


@pytest.mark.parametrize("topic", [RESULTS, LEDGER, PAYMENTS, ACCOUNTS])
def test_a_record_that_can_not_be_read(run: Recording, topic: str) -> None:
    last = run.records[topic][-1]
    added = run.append(last)
    records = run.records[topic]
    broken = added._replace(key=b"x", value=b'{"payment":')
    records[records.index(added)] = broken
    assert run.found() == [at(Kind.MALFORMED_RECORD, broken)]


def test_a_checkpoint_that_can_not_be_read(run: Recording) -> None:
    last = next(r for r in reversed(run.records[ACCOUNTS]) if (r.key or b"")[:1] == b"\0")
    broken = run.rewrite(last, value=b"?")
    assert at(Kind.MALFORMED_RECORD, broken) in run.found()
