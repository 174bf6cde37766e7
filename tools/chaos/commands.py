"""The commands of the storm: made from a seed, over a rolling pool of payments.

A payment is in the pool for a while and then replaced by a new one, so that several commands for it
are in flight at any time, from producers that know nothing of each other.
"""

import json
import random
from collections import deque
from typing import NamedTuple

ACCOUNTS = 60
OPENING_BALANCE = 100_000
MAX_AMOUNT = 3_000
"""So large that some accounts run dry: declined payments belong to the storm."""

POOL = 40
RETIRE_SHARE = 0.2
"""The share of the commands that take their payment out of the pool: each has five on average."""

LATE_SHARE = 0.05
"""The share of the commands that go to a payment that has left the pool: it may be expired."""

REMEMBERED = 2_000

WEIGHTS = {"request": 60, "mismatch": 10, "cancel": 12, "get": 18}
"""A payment's first request is a make or a deposit; each further one is a repeat."""


class Sent(NamedTuple):
    """One command: its record, and what it counts as in the report."""

    id: str
    payment: str
    value: bytes
    kind: str


class _Payment:
    """A payment of the pool and the request that its makes repeat."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.request: dict[str, object] = {
            "type": "deposit" if chance.random() < 1 / 3 else "make",
            "account": f"acct-{chance.randrange(ACCOUNTS)}",
            "amount": chance.randint(1, MAX_AMOUNT),
        }
        self.requested = False


class Commands:
    """Makes one command after the other; equal seeds give equal commands."""

    def __init__(self, seed: int, run: str) -> None:
        self._chance = random.Random(seed)
        self._run = run
        self._payments = 0
        self._pool = [self._new() for _ in range(POOL)]
        self._retired: deque[_Payment] = deque(maxlen=REMEMBERED)
        self._count = 0

    def next(self) -> Sent:
        """Return the next command."""
        payment = self._take()
        kind, fields = self._choose(payment)
        self._count += 1
        command_id = f"{self._run}-c{self._count}"
        return Sent(
            command_id, payment.name, json.dumps({**fields, "id": command_id}).encode(), kind
        )

    def _take(self) -> _Payment:
        """Choose the payment of the next command; it may be replaced in the pool."""
        chance = self._chance
        if self._retired and chance.random() < LATE_SHARE:
            return chance.choice(self._retired)
        place = chance.randrange(POOL)
        payment = self._pool[place]
        if chance.random() < RETIRE_SHARE:
            self._retired.append(payment)
            self._pool[place] = self._new()
        return payment

    def _new(self) -> _Payment:
        self._payments += 1
        return _Payment(f"{self._run}-p{self._payments}", self._chance)

    def _choose(self, payment: _Payment) -> tuple[str, dict[str, object]]:
        [what] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if what in ("cancel", "get"):
            return what, {"type": what}
        if what == "mismatch":
            return what, self._mismatching(payment.request)
        kind = "repeat" if payment.requested else str(payment.request["type"])
        payment.requested = True
        return kind, payment.request

    def _mismatching(self, request: dict[str, object]) -> dict[str, object]:
        """Return the request with one field that differs (it is the first, so it may also win)."""
        other_type = "make" if request["type"] == "deposit" else "deposit"
        differing: list[dict[str, object]] = [
            {"type": other_type},
            {"account": f"{request['account']}-other"},
            {"amount": MAX_AMOUNT + 1},
            {"currency": "USD"},
        ]
        return request | self._chance.choice(differing)
