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
MAX_AMOUNT = 2_000
"""So large that some accounts run dry: declined payments belong to the storm."""

MAX_HELD_ALONE = 20
"""So little that many holds of ``Commands.hold`` make no account run dry."""

POOL = 40
RETIRE_SHARE = 0.35
"""The share of the commands that take their payment out of the pool: each has three on average."""

REQUESTS = {"make": 2, "deposit": 2, "authorize": 16}
"""How payments begin."""

HOLD_SECONDS = (1, 2, 4, 600, 600)
"""Some holds lapse while the storm asks for their money."""

EARLY_SHARE = 0.3
"""The share of captures, refunds, voids and cancels that may come before their payment's request;
the others of a payment that was not requested yet are its request instead."""

LATE_SHARE = 0.05
"""The share of the commands that go to a payment that has left the pool: it may be expired."""

REMEMBERED = 2_000

WEIGHTS = {
    "request": 40, "mismatch": 6, "cancel": 6, "get": 8, "capture": 26, "refund": 9, "void": 5,
}  # fmt: skip
"""A payment's first request begins it; each further one is a repeat. Captures and refunds may come
before it, and again under an id that was used."""


RULES: tuple[tuple[dict[str, object], int], ...] = (
    ({"type": "get"}, 2),
    ({"type": "open"}, 2),
    ({"type": "freeze"}, 1),
    ({"type": "unfreeze"}, 6),
    ({"type": "close"}, 1),
    ({"type": "limit", "credit_limit": 2 * MAX_AMOUNT}, 1),
    ({"type": "limit", "credit_limit": 0}, 1),
)
"""Commands for accounts and their weights: few accounts are frozen at any time."""

RULE_EVERY = 40
"""One in so many commands of the storm is for an account."""


class Sent(NamedTuple):
    """One command: its record, and what it counts as in the report."""

    id: str
    payment: str
    value: bytes
    kind: str
    for_account: bool = False
    """Whether it is for an account, so that ``payment`` is the account's id."""


class _Payment:
    """A payment of the pool and the request that its makes repeat."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        [type_] = chance.choices(list(REQUESTS), list(REQUESTS.values()))
        self.request: dict[str, object] = {
            "type": type_,
            "account": f"acct-{chance.randrange(ACCOUNTS)}",
            "amount": chance.randint(1, MAX_AMOUNT),
        }
        if type_ == "authorize":
            self.request["hold_seconds"] = chance.choice(HOLD_SECONDS)
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
        self._rules = random.Random(f"rules-{seed}")
        """A chance of its own, so that commands for accounts change no other command."""

    def rule(self) -> Sent:
        """Return a command for one of the accounts."""
        [fields] = self._rules.choices([each for each, _ in RULES], [n for _, n in RULES])
        account = f"acct-{self._rules.randrange(ACCOUNTS)}"
        self._count += 1
        command_id = f"{self._run}-c{self._count}"
        value = json.dumps({**fields, "id": command_id}).encode()
        return Sent(command_id, account, value, f"account {fields['type']}", for_account=True)

    def next(self) -> Sent:
        """Return the next command."""
        payment = self._take()
        kind, fields = self._choose(payment)
        return self._sent(payment, kind, fields)

    def hold(self, seconds: int) -> Sent:
        """Return the authorize of a payment of its own: a small amount, which nothing captures."""
        payment = self._new()
        request = {
            "type": "authorize",
            "account": payment.request["account"],
            "amount": self._chance.randint(1, MAX_HELD_ALONE),
            "hold_seconds": seconds,
        }
        return self._sent(payment, "authorize", request)

    def _sent(self, payment: _Payment, kind: str, fields: dict[str, object]) -> Sent:
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
        is_early = not payment.requested and what not in ("request", "get", "mismatch")
        if is_early and self._chance.random() >= EARLY_SHARE:
            what = "request"
        if what in ("cancel", "get", "void"):
            return what, {"type": what}
        if what in ("capture", "refund"):
            return what, self._part(what)
        if what == "mismatch":
            return what, self._mismatching(payment.request)
        kind = "repeat" if payment.requested else str(payment.request["type"])
        payment.requested = True
        return kind, payment.request

    def _part(self, type_: str) -> dict[str, object]:
        """Return a capture or refund of part of a payment, or of all that is left."""
        part: dict[str, object] = {"type": type_, type_: f"{type_}-{self._chance.randint(1, 3)}"}
        if self._chance.random() < 0.7:
            part["amount"] = self._chance.randint(1, MAX_AMOUNT // 3)
        if type_ == "capture":
            part["final"] = self._chance.random() < 0.5
        return part

    def _mismatching(self, request: dict[str, object]) -> dict[str, object]:
        """Return the request with one field that differs (it is the first, so it may also win)."""
        other_type = "deposit" if request["type"] == "make" else "make"
        differing: list[dict[str, object]] = [
            {"type": other_type},
            {"account": f"{request['account']}-other"},
            {"amount": MAX_AMOUNT + 1},
            {"currency": "USD"},
        ]
        chosen = request | self._chance.choice(differing)
        if chosen["type"] != "authorize":
            chosen.pop("hold_seconds", None)
        return chosen
