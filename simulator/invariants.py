"""What must hold after a run, whatever happened in it (DESIGN section 1).

It reads what the run has left: the topics with all that was ever appended, and the journals. It knows
the records, not the engine and not the state machine.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from payments.engine.log import Record, TopicPartition

Journals = Mapping[TopicPartition, Mapping[bytes, bytes]]
"""Rows by journal."""

History = Mapping[TopicPartition, Sequence[Record]]

_RESERVED = b"\0"
_SETTLED = ("completed", "declined", "cancelled")


def violations(history: History, commands: Sequence[Record], rows: Journals) -> list[str]:
    """Return every violation; ``commands`` are those that were committed."""
    results = [record for record in _records(history, "payments.results")]
    entries = [json.loads(r.value or b"") for r in _records(history, "accounts.ledger")]
    return [
        *_positions(history),
        *_answers(commands, results),
        *_ledger(entries),
        *_money(entries, results, rows),
        *_rows(rows, entries),
        *_dead_letters(history),
    ]


def fold(records: Sequence[Record]) -> dict[bytes, bytes]:
    """Return the rows that a journal's records amount to."""
    rows: dict[bytes, bytes] = {}
    for record in records:
        assert record.key is not None, f"{record} has no key"
        if record.key[:1] == _RESERVED:
            continue
        if record.value is None:
            rows.pop(record.key, None)
        else:
            rows[record.key] = record.value
    return rows


def _records(history: History, topic: str) -> Iterator[Record]:
    for at in sorted(history):
        if at.topic == topic:
            yield from history[at]


def _positions(history: History) -> Iterator[str]:
    """Each visible partition has its owner's positions, each later than the one before."""
    for at, records in history.items():
        last = (0, -1)
        for record in records:
            name, position = next(iter(record.headers[1:2]), ("", b""))
            if name != "ce_id":
                break  # No visible topic.
            _, partition, group, index = (position or b"").decode().split("/")
            if (int(group), int(index)) <= last or int(partition) != at.partition:
                yield f"{at}/{record.offset} has position {position!r} after {last}"
            last = (int(group), int(index))


def _answers(commands: Sequence[Record], results: Sequence[Record]) -> Iterator[str]:
    """Every command is answered once; nothing else is."""
    asked = Counter(_identities(commands))
    answered: Counter[tuple[bytes | None, str]] = Counter()
    for record in results:
        result = json.loads(record.value or b"")
        if result["type"] != "expire":
            answered[record.key, result["command"]] += 1
    for identity in sorted(asked.keys() | answered.keys(), key=repr):
        if asked[identity] != answered[identity]:
            yield f"{identity} was asked {asked[identity]} times, answered {answered[identity]}"


def _identities(commands: Sequence[Record]) -> Iterator[tuple[bytes | None, str]]:
    for record in commands:
        try:
            text = (record.key or b"").decode()
        except UnicodeDecodeError:
            continue
        if not text or not text.isprintable():
            continue
        try:
            own = json.loads(record.value or b"")["id"]
        except (ValueError, KeyError, TypeError):
            own = None
        if (record.value or b"").count(b'"id"') > 1:
            own = None
        yield record.key, own or f"{record.topic}/{record.partition}/{record.offset}"


def _ledger(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each account's entries are numbered without a gap, and its balance follows from them."""
    accounts: dict[str, tuple[int, int]] = {}
    for entry in entries:
        name = entry["account"]
        sequence, balance = accounts.get(name, (0, 0))
        sequence, balance = sequence + 1, balance + entry["amount"]
        if (entry["sequence"], entry["balance"]) != (sequence, balance):
            yield f"entry {sequence} with balance {balance} expected, got {entry}"
        if entry["balance"] < 0:
            yield f"an account is below zero: {entry}"
        accounts[name] = entry["sequence"], entry["balance"]


def _money(
    entries: Sequence[Mapping[str, Any]], results: Sequence[Record], rows: Journals
) -> Iterator[str]:
    """A payment has moved its money at most once for each life that it had."""
    moved: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry["payment"] is not None:
            moved[entry["payment"]] += -1 if entry["kind"] == "rollback" else 1
    expired: Counter[str] = Counter()
    for record in results:
        result = json.loads(record.value or b"")
        if result["type"] == "expire":
            expired[result["payment"]] += 1
    states: dict[str, str] = {}
    for at, held in rows.items():
        if at.topic == "payments-payments-changelog":
            states |= {key.decode(): json.loads(row)["state"] for key, row in held.items()}
    for payment in sorted(moved.keys() | states.keys()):
        now = int(states.get(payment) == "completed")
        if not now <= moved[payment] <= now + expired[payment]:
            yield (
                f"payment {payment} ({states.get(payment)}) has moved its money {moved[payment]} "
                f"times and expired {expired[payment]} times"
            )


def _rows(rows: Journals, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """No payment waits; accounts are as the ledger says; all money adds up to nothing."""
    last = {entry["account"]: (entry["balance"], entry["sequence"]) for entry in entries}
    total: Counter[str] = Counter()
    for at, held in sorted(rows.items()):
        for key, row in held.items():
            fields = json.loads(row)
            if "state" in fields and (fields["state"] not in _SETTLED or fields.get("waiters")):
                yield f"payment {key!r} waits for ever: {fields}"
            if "sequence" in fields:
                total[fields["currency"]] += fields["balance"]
                if last.pop(key.decode(), None) != (fields["balance"], fields["sequence"]):
                    yield f"{at}: account {key!r} is {fields}, not what the ledger says"
            for currency, balance in fields.get("balances", {}).items():
                total[currency] += balance
    if last:
        yield f"accounts of the ledger without a row: {sorted(last)}"
    if any(total.values()):
        yield f"money has appeared or vanished: {dict(total)}"


def _dead_letters(history: History) -> Iterator[str]:
    """Only records that are no commands are put aside."""
    for topic in ("payments.dead-letters", "accounts.dead-letters"):
        for record in _records(history, topic):
            headers = {name: value or b"" for name, value in record.headers}
            reason = headers["__streams.errors.reason"].decode()
            if topic.startswith("accounts") or reason in ("impossible", "internal_error"):
                yield f"{topic}: {record.key!r} was put aside as {reason}: {record.value!r}"
            elif headers["__streams.errors.topic"] != b"payments.commands":
                yield f"{topic}: a record of {headers['__streams.errors.topic']!r} was put aside"
