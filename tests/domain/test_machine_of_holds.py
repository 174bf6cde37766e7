"""Holds, captures, refunds and their ends in any order, over payments that share accounts.

What must hold of each payment and each account, whatever was sent and however late it settles. What
each command is answered: ``test_lifecycle_model`` walks a payment beside a model.
"""

import json
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payments.domain.account import Opening
from payments.domain.payment import HoldEnds, HoldEndsSoon, Payment, Policy, captured_of
from payments.domain.payment_table import State
from payments.records.internal_codec import decode_account, decode_counter, decode_payment
from tests.domain.system import MAX_WAITERS, System

OPENING = 100
HOLD_MS, NOTICE_MS = 40, 15
payments = st.sampled_from(["p1", "p2", "p3"])
accounts = st.sampled_from(["a", "b"])
parts = st.sampled_from(["1", "2", "3"])
amounts = st.sampled_from([None, 1, 10, 30, 70])
WITH_HOLD = {State.AUTHORIZED, State.CAPTURING, State.REFUNDING}


class HoldsMachine(RuleBasedStateMachine):
    """Sends commands, settles transfers, lets holds end, and looks at all money each time."""

    @initialize(pin=st.booleans())
    def start(self, *, pin: bool) -> None:
        """Choose an installation."""
        policy = Policy("pin" if pin else "retry", MAX_WAITERS, HOLD_MS, NOTICE_MS)
        self.system = System(policy, Opening(OPENING, "EUR"))
        self.now_ms, self.sent = 1_000, 0

    def send(self, payment: str, type_: str, **fields: object) -> None:
        """Send a command."""
        own = f"c{self.sent}"
        self.sent += 1
        given = {"type": type_, "id": own} | {k: v for k, v in fields.items() if v is not None}
        self.system.command(payment.encode(), json.dumps(given).encode(), self.now_ms)

    @rule(
        payment=payments,
        account=accounts,
        type_=st.sampled_from(["authorize", "authorize", "authorize", "make", "deposit"]),
        amount=st.sampled_from([30, 30, 70]),
    )
    def request(self, payment: str, account: str, type_: str, amount: int) -> None:
        """Begin a payment, perhaps again, perhaps otherwise."""
        self.send(payment, type_, account=account, amount=amount)

    @rule(payment=payments, part=parts, amount=amounts, final=st.booleans())
    def capture(self, payment: str, part: str, amount: int | None, *, final: bool) -> None:
        """Capture a part, perhaps before the authorize, perhaps again."""
        self.send(payment, "capture", capture=part, amount=amount, final=final)

    @rule(payment=payments, part=parts, amount=amounts)
    def refund(self, payment: str, part: str, amount: int | None) -> None:
        """Refund a part."""
        self.send(payment, "refund", refund=f"r{part}", amount=amount)

    @rule(payment=payments, type_=st.sampled_from(["void", "cancel", "get"]))
    def other(self, payment: str, type_: str) -> None:
        """End it, or ask for it."""
        self.send(payment, type_)

    @precondition(lambda self: any(self.system.transfers.values()))
    @rule(account=accounts)
    def settle(self, account: str) -> None:
        """Settle the oldest transfer of an account, or of another that has one."""
        waiting = self.system.transfers
        if not waiting[account]:
            account = next(name for name, queue in waiting.items() if queue)
        self.system.settle(account, self.now_ms)

    @rule(passed_ms=st.sampled_from([1, 9, 30]))
    def time_passes(self, passed_ms: int) -> None:
        """Let time pass."""
        self.now_ms += passed_ms

    @rule(payment=payments)
    def timer(self, payment: str) -> None:
        """Let the timer look at a payment: for its notice, and for the end of its hold."""
        stored = self.stored().get(payment)
        if stored is None:
            return
        due = stored.notice_ms is not None and stored.notice_ms <= self.now_ms
        ended = stored.hold_expires_ms is not None and stored.hold_expires_ms <= self.now_ms
        if due and not ended:
            self.system.decide(payment.encode(), HoldEndsSoon(), self.now_ms)
        if ended:
            self.system.decide(payment.encode(), HoldEnds(), self.now_ms)

    def stored(self) -> dict[str, Payment]:
        """Return the payments that are stored."""
        rows = self.system.payments.items()
        return {key.decode(): decode_payment(row) for key, row in rows}

    @invariant()
    def no_payment_takes_or_gives_back_too_much(self) -> None:
        """0 <= refunded <= captured <= authorized, and held is what is left of an open hold."""
        for payment in self.stored().values():
            request, captured = payment.request, captured_of(payment)
            if request is None or request.type == "deposit":
                continue
            assert 0 <= payment.refunded <= captured <= request.amount
            assert 0 <= payment.held <= request.amount - captured
            if payment.state in WITH_HOLD and payment.held and request.type == "authorize":
                assert payment.held == request.amount - captured

    @invariant()
    def what_accounts_hold_is_what_their_payments_hold(self) -> None:
        """Of each account, when nothing is in flight; and never more than its balance."""
        held: Counter[str] = Counter()
        for payment in self.stored().values():
            if payment.request is not None:
                held[payment.request.account] += payment.held
        for name, row in self.system.accounts.items():
            account = decode_account(row)
            assert 0 <= account.held <= account.balance
            if not self.system.transfers[name]:
                assert account.held == held[name]

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """Entries are without a gap, and balances and holds add up to zero."""
        last: dict[str, tuple[int, int, int]] = {}
        sums: Counter[str] = Counter()
        for entry in self.system.ledger:
            sequence, balance, held = last.get(entry.account, (0, 0, 0))
            sequence, balance = sequence + 1, balance + entry.amount
            held += entry.held_change or 0
            assert (entry.sequence, entry.balance, entry.held or 0) == (sequence, balance, held)
            last[entry.account] = sequence, balance, held
        for name, row in self.system.accounts.items():
            account = decode_account(row)
            assert last[name] == (account.sequence, account.balance, account.held)
            sums["balance"] += account.balance
            sums["held"] += account.held
        for row in self.system.counters.values():
            counter = decode_counter(row)
            sums["balance"] += sum(counter.balances.values())
            sums["held"] += sum((counter.held or {}).values())
        assert not any(sums.values())

    @invariant()
    def a_part_moves_money_once(self) -> None:
        """Each id of a capture or refund has one entry at most, as nothing is forgotten here."""
        found = Counter(
            (entry.payment, entry.part) for entry in self.system.ledger if entry.part is not None
        )
        assert max(found.values(), default=1) == 1

    @invariant()
    def each_command_is_answered_once_and_each_hold_ends_once(self) -> None:
        """One result for each command, one lapse and one notice for each authorize that held."""
        results = self.system.results
        told = Counter(result.command for result in results if result.command is not None)
        assert max(told.values(), default=1) == 1
        holds = Counter(entry.payment for entry in self.system.ledger if entry.kind == "hold")
        for outcome in ("lapsed", "hold_ends_soon"):
            notices = Counter(
                result.payment
                for result in results
                if result.outcome == outcome and result.command is None
            )
            assert all(notices[payment] <= holds[payment] for payment in notices)
        for result in results:
            if result.outcome == "lapsed" and result.command is None:
                assert result.hold_expires is not None
                assert result.time >= result.hold_expires

    def teardown(self) -> None:
        """Settle everything: each command has its answer, and every hold can end."""
        if not hasattr(self, "system"):
            return
        for _ in range(2):
            while any(self.system.transfers.values()):
                self.settle("a")
            self.now_ms += 2 * HOLD_MS
            for payment in ("p1", "p2", "p3"):
                self.timer(payment)
        while any(self.system.transfers.values()):
            self.settle("a")
        told = {result.command for result in self.system.results if result.command is not None}
        assert told == {f"c{number}" for number in range(self.sent)}
        assert not any(payment.held for payment in self.stored().values())
        self.what_accounts_hold_is_what_their_payments_hold()


HoldsMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestHoldsOfManyPayments = HoldsMachine.TestCase
