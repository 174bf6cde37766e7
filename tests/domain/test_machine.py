"""Payments, accounts and expiry together, in any order of events, against the model."""

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payments.domain.account import Opening
from payments.domain.payment import Policy
from payments.records.internal_codec import decode_account, decode_counter
from tests.domain.model import Asked, Model
from tests.domain.system import MAX_WAITERS, System

if TYPE_CHECKING:
    from payments.records.record_models import LedgerEntry

payments = st.sampled_from(["p1", "p2", "p3"])
accounts = st.sampled_from(["a", "b"])
asks = st.tuples(
    st.sampled_from(["make", "make", "deposit"]),
    accounts,
    st.sampled_from([10, 10, 60]),
    st.sampled_from(["EUR", "EUR", "EUR", "USD"]),
)


class PaymentsMachine(RuleBasedStateMachine):
    """Sends commands, settles transfers, lets time pass, and compares system and model."""

    @initialize(pin=st.booleans(), opening_balance=st.sampled_from([0, 50]))
    def start(self, *, pin: bool, opening_balance: int) -> None:
        """Choose an installation."""
        policy = Policy("pin" if pin else "retry", MAX_WAITERS)
        self.system = System(policy, Opening(opening_balance, "EUR"))
        self.model = Model(pin=pin, opening_balance=opening_balance)
        self.under_way: dict[str, deque[str]] = defaultdict(deque)
        self.now_ms, self.sent = 1_000, 0

    @rule(payment=payments, asked=asks)
    def make_or_deposit(self, payment: str, asked: Asked) -> None:
        """Ask for a payment, perhaps again, perhaps otherwise."""
        type_, account, amount, currency = asked
        fields = f'"account":"{account}","amount":{amount},"currency":"{currency}"'
        self.send(payment, type_, f",{fields}", asked)

    @rule(payment=payments, type_=st.sampled_from(["cancel", "cancel", "get"]))
    def cancel_or_get(self, payment: str, type_: str) -> None:
        """Cancel a payment or ask for its state, perhaps before it is made."""
        self.send(payment, type_, "", ("", "", 0, ""))

    def send(self, payment: str, type_: str, fields: str, asked: Asked) -> None:
        """Send a command to both."""
        own = f"c{self.sent}"
        self.sent += 1
        value = f'{{"type":"{type_}","id":"{own}"{fields}}}'.encode()
        self.system.command(payment.encode(), value, self.now_ms)
        account = self.model.command(payment, own, type_, asked, self.now_ms)
        if account is not None:
            self.under_way[account].append(payment)

    @precondition(lambda self: any(self.under_way.values()))
    @rule(account=accounts)
    def settle(self, account: str) -> None:
        """Settle the oldest transfer of an account, or of another that has one."""
        if not self.under_way[account]:
            account = next(name for name, queue in self.under_way.items() if queue)
        self.system.settle(account, self.now_ms)
        payment = self.under_way[account].popleft()
        if self.model.settle(payment, self.now_ms):
            self.under_way[account].append(payment)

    @rule(passed_ms=st.sampled_from([1, 9, 30, 100]))
    def time_passes(self, passed_ms: int) -> None:
        """Let time pass."""
        self.now_ms += passed_ms

    @rule(limit=st.integers(1, 3))
    def windows_close(self, limit: int) -> None:
        """Close windows in pieces: what the model forgets gets one notice, nothing else does."""
        before = len(self.system.results)
        while self.system.expire(self.now_ms, limit):
            pass
        notices = self.system.results[before:]
        del self.system.results[before:]
        assert {notice.payment for notice in notices} == self.model.expire(self.now_ms)
        assert len({notice.payment for notice in notices}) == len(notices)
        assert {(n.command, n.type, n.outcome.value) for n in notices} <= {
            (None, "expire", "expired")
        }

    @invariant()
    def the_answers_are_those_of_the_model(self) -> None:
        """Every command is answered as the model says, and never twice."""
        told = [
            (str(result.command), result.outcome.value, result.reason, result.replayed)
            for result in self.system.results
        ]
        assert told == self.model.told
        assert max(Counter(own for own, *_ in told).values(), default=1) == 1

    @invariant()
    def the_balances_are_those_of_the_model(self) -> None:
        """Every account holds what the model says."""
        held = {name: decode_account(row) for name, row in self.system.accounts.items()}
        assert {name: (a.balance, a.currency) for name, a in held.items()} == self.model.money

    @invariant()
    def the_ledger_is_gapless_solvent_and_adds_up_to_zero(self) -> None:
        """Entries are numbered without a gap, no balance is negative, no money appears."""
        sums: Counter[str] = Counter()
        counters: Counter[tuple[str, str]] = Counter()
        last: dict[str, LedgerEntry] = {}
        for entry in self.system.ledger:
            earlier = last.get(entry.account)
            assert entry.sequence == (earlier.sequence if earlier else 0) + 1
            assert entry.balance == (earlier.balance if earlier else 0) + entry.amount >= 0
            last[entry.account] = entry
            counters[entry.counter_account, entry.currency] -= entry.amount
        for name, row in self.system.counters.items():
            for currency, balance in decode_counter(row).balances.items():
                assert counters[name, currency] == balance
                sums[currency] += balance
        for row in self.system.accounts.values():
            account = decode_account(row)
            sums[account.currency] += account.balance
        assert not any(sums.values())

    @invariant()
    def the_payments_are_those_of_the_model(self) -> None:
        """Both store the same payments."""
        assert set(self.system.payments) == {payment.encode() for payment in self.model.facts}

    def teardown(self) -> None:
        """Settle everything: each command has its one answer, and all expires."""
        if not hasattr(self, "system"):
            return
        while any(self.under_way.values()):
            self.settle("a")
        self.the_answers_are_those_of_the_model()
        assert [f"c{number}" for number in range(self.sent)] == sorted(
            (own for own, *_ in self.model.told), key=lambda own: int(own[1:])
        )
        self.now_ms += 1_000
        self.windows_close(2)
        assert not self.system.payments


PaymentsMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
TestPaymentsAgainstTheModel = PaymentsMachine.TestCase
