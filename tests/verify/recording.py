"""A recorded run of the real stages, in which a test can plant what must never be there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exactstage.log import Headers, Record, TopicPartition
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.verify.auditor import Auditor
from payments.verify.findings import Kind, Place, Report
from payments.verify.topics import Topics

MAKE: dict[str, Any] = {"type": "make", "account": "abc", "amount": 100}
CANCEL, GET = {"type": "cancel"}, {"type": "get"}
HOURS = 3600.0
OPENING = 1000
Where = Mapping[str, object]

COMMANDS, RESULTS = "payments.commands", "payments.results"
LEDGER, LETTERS = "accounts.ledger", "payments.dead-letters"
PAYMENTS, ACCOUNTS = "payments-payments-changelog", "payments-accounts-changelog"
"""The topics of a run without a prefix."""

MARKED, ENDING = b'{"+', b'{"-'
"""The beginning of a row that holds money, or knows captures and refunds."""


@dataclass
class Recording:
    """All records of one run, by topic; those of a partition are in order."""

    settings: Settings
    topics: Topics
    records: dict[str, list[Record]]

    @classmethod
    def of(cls, payments: PaymentsTestbed) -> "Recording":
        """Take down what a test bed's log holds."""
        topics = Topics.of(payments.settings)
        names = [name for phase in topics.phases for name in phase]
        return cls(
            payments.settings, topics, {name: list(payments.records(name)) for name in names}
        )

    def copy(self) -> "Recording":
        """Return a recording of its own."""
        return replace(self, records={name: list(r) for name, r in self.records.items()})

    def audit(self, begins: Mapping[TopicPartition, int] | None = None) -> Report:
        """Audit it; ``begins`` are first offsets that retention has left."""
        auditor = Auditor(self.settings)
        for at, first in (begins or {}).items():
            auditor.begins(at, first)
        for phase in self.topics.phases:
            for topic in phase:
                auditor.read(
                    record
                    for record in self.records[topic]
                    if record.offset >= (begins or {}).get(TopicPartition(*record[:2]), 0)
                )
        return auditor.finish()

    def found(self) -> list[tuple[Kind, Place]]:
        """Audit it, and return what is violated and where."""
        return sorted((violation.kind, violation.place) for violation in self.audit().violations)

    # --- finding ----------------------------------------------------------------------------------

    def find(self, topic: str, **where: object) -> Record:
        """Return the last record of a topic whose value has these fields."""
        return self.all(topic, **where)[-1]

    def all(self, topic: str, **where: object) -> list[Record]:
        """Return the records of a topic whose value has these fields; there must be some."""
        found = [record for record in self.records[topic] if _fits(record, where)]
        assert found, f"nothing in {topic} fits {where}"
        return found

    def row(self, topic: str, key: bytes) -> Record:
        """Return the last row of a key."""
        return [record for record in self.records[topic] if record.key == key][-1]

    # --- planting ---------------------------------------------------------------------------------

    def remove(self, record: Record) -> None:
        """Let a record never have been written."""
        self.records[record.topic].remove(record)

    def change(self, record: Record, **fields: object) -> Record:
        """Change fields of a record's value; return the record that stands there now."""
        return self.rewrite(record, value=_changed(record, fields))

    def rewrite(
        self, record: Record, *, value: bytes | None, headers: Headers | None = None
    ) -> Record:
        """Change a record's value and headers."""
        records = self.records[record.topic]
        changed = record._replace(
            value=value, headers=record.headers if headers is None else headers
        )
        records[records.index(record)] = changed
        return changed

    def append(self, record: Record, **fields: object) -> Record:
        """Write a record again at the end of its partition, with some fields changed."""
        records = self.records[record.topic]
        same = [r for r in records if r.partition == record.partition]
        added = record._replace(offset=same[-1].offset + 1)
        if fields:
            added = added._replace(value=_changed(record, fields))
        records.insert(records.index(same[-1]) + 1, added)
        return added

    def post(self, entry: Record, **fields: object) -> Record:
        """Book an entry like ``entry`` once more, in the ledger and in the tables."""
        last = read(self.find(self.topics.ledger, account=read(entry)["account"]))
        again = read(entry) | fields
        amount = again["amount"]
        again |= {"sequence": last["sequence"] + 1, "balance": last["balance"] + amount}
        held_change = again.get("held_change", 0)
        if held_change or "held" in again or "held" in last:
            held = last.get("held", 0) + held_change
            again |= {"held": held, "available": again["balance"] - held}
        added = self.append(entry, **again)
        self._book(again["account"], again["counter_account"], amount, 1, held_change)
        return added

    def unpost(self, entry: Record) -> None:
        """Remove the last entry of an account, from the ledger and from the tables."""
        values = read(entry)
        self.remove(entry)
        held = values.get("held_change", 0)
        self._book(values["account"], values["counter_account"], -values["amount"], -1, -held)

    def _book(self, account: str, counter: str, amount: int, numbers: int, held: int) -> None:
        journal = self.topics.accounts_journal
        row = self.row(journal, account.encode())
        values = read(row)
        changed = {"balance": values["balance"] + amount, "sequence": values["sequence"] + numbers}
        if held:
            changed["held"] = values.get("held", 0) + held
        self.change(row, **changed)
        row = self.row(journal, counter.encode())
        values = read(row)
        changed = {"balances": _plus(values["balances"], -amount)}
        if held:
            changed["held"] = _plus(values.get("held", {}), -held)
        self.change(row, **changed)

    def each_entry(self, account: str, change: Callable[[dict[str, Any]], Where]) -> None:
        """Change every entry of an account."""
        for entry in self.all(self.topics.ledger, account=account):
            self.change(entry, **change(read(entry)))


def _plus(amounts: Mapping[str, int], change: int) -> dict[str, int]:
    return {**amounts, "EUR": amounts.get("EUR", 0) + change}


def at(kind: Kind, record: Record) -> tuple[Kind, Place]:
    """Return what is found when a record violates something."""
    return kind, Place(*record[:3])


def read(record: Record) -> dict[str, Any]:
    """Return a record's value."""
    value = record.value or b""
    if mark := _mark_of(value):
        value = value.replace(mark, b'{"', 1).replace(b'"+time_ms":', b'"time_ms":', 1)
    return dict(json.loads(value))


def _mark_of(value: bytes) -> bytes | None:
    return next((mark for mark in (MARKED, ENDING) if value.startswith(mark)), None)


def _changed(record: Record, fields: Where) -> bytes:
    value = json.dumps({**read(record), **fields}).encode()
    mark = _mark_of(record.value or b"") or (MARKED if "held" in fields else None)
    if mark and record.topic in {PAYMENTS, ACCOUNTS}:
        value = value.replace(b'{"', mark, 1).replace(b'"time_ms":', b'"+time_ms":', 1)
    return value


def _fits(record: Record, where: Where) -> bool:
    try:
        values = read(record)
    except (ValueError, TypeError, RecursionError):  # Bad input is part of the run.
        return False
    return all(values.get(name) == value for name, value in where.items())


async def settled(payments: PaymentsTestbed) -> None:
    """Let every journal say that all of it is published."""
    await payments.quiet()
    for _ in range(2):
        payments.app.engine.timers.write_idle_checkpoints()
        await payments.quiet()


async def every_kind_of_command(payments: PaymentsTestbed) -> None:
    """Send commands of every kind, with every outcome, from every partition."""
    await _outcomes(payments)
    await _bad_input(payments)
    await payments.advance(25 * HOURS)
    for payment in ("made", "undone", "prevented"):  # All three ids are free again.
        await payments.send(payment, MAKE)
    await settled(payments)


async def _outcomes(payments: PaymentsTestbed) -> None:
    sends: Sequence[tuple[str, dict[str, Any]]] = [
        ("made", {**MAKE, "id": "mine"}),
        ("made", {**MAKE, "id": "mine"}),  # The same command again: two results of one id.
        ("made", {**MAKE, "amount": 5}),
        ("made", GET),
        ("undone", MAKE),
        ("undone", CANCEL),
        ("undone", CANCEL),
        ("undone", MAKE),
        ("prevented", CANCEL),
        ("prevented", MAKE),
        ("poor", {**MAKE, "amount": OPENING + 1}),
        ("poor", {**MAKE, "amount": OPENING + 2}),
        ("poor", {**MAKE, "amount": 1}),
        ("declined", {**MAKE, "currency": "USD"}),
        ("given", {**MAKE, "type": "deposit", "account": "full"}),
        ("taken back", {**MAKE, "type": "deposit", "account": "full"}),
        ("taken back", CANCEL),
        ("dollars", {**MAKE, "type": "deposit", "account": "d", "currency": "USD"}),
        ("spent", {**MAKE, "type": "deposit", "account": "spender"}),
        ("spends", {**MAKE, "account": "spender", "amount": OPENING + 50}),
        ("spent", CANCEL),  # The money is gone: rejected.
        ("spent", GET),
        ("never", GET),
    ]
    for number, (payment, command) in enumerate(sends):
        await payments.send(payment, command, partition=number % 4)
    for payment in ("at once", "at once too"):
        for command in (MAKE, CANCEL, MAKE, CANCEL, GET):
            payments.post(payment, command)
        for _ in range(payments.settings.max_waiters):
            payments.post(payment, MAKE, partition=3)
    await payments.quiet()


async def _bad_input(payments: PaymentsTestbed) -> None:
    topic = payments.settings.topics.commands
    for partition in range(4):
        for key in (None, b"", b"\xff", b"k" * 256):
            payments.produce(topic, key, json.dumps(MAKE).encode(), partition=partition)
        for value in (None, b"{oops", b'{"type":"make","id":"own"}', b"[" * 300_000):
            payments.produce(topic, b"bad", value, partition=partition)
    await payments.quiet()
