"""Rules of accounts: status and credit limit, replayed from the entries that change them.

Nothing of this is the domain's: an audit that used its table could not find a fault in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from payments.domain.money import money_text
from payments.records.record_models import AccountResult, LedgerEntry

RULE_KINDS = frozenset({"open", "freeze", "unfreeze", "close", "limit"})
"""The kinds of entries that move nothing."""

_STATUS_AFTER: Mapping[tuple[str, str], str] = {
    ("closed", "open"): "open",
    ("open", "freeze"): "frozen",
    ("frozen", "unfreeze"): "open",
    ("open", "close"): "closed",
    ("frozen", "close"): "closed",
    ("open", "limit"): "open",
    ("frozen", "limit"): "frozen",
}
"""By status and kind of entry: the status after it; all else can't be."""

_NOT_ON: Mapping[str, frozenset[str]] = {
    "frozen": frozenset({"make", "hold"}),
    "closed": frozenset({"make", "hold", "deposit"}),
}
"""By status: the kinds that must have been declined. What a payment has begun may end on any."""


@dataclass(slots=True)
class Rules:
    """The rules of an account after its last entry."""

    status: str = "open"
    credit_limit: int = 0
    had_credit: bool = False
    """Whether it ever had a credit limit: else its balance is never below zero."""

    def change(self, entry: LedgerEntry) -> str | None:
        """Replay an entry; return what is wrong with what it does to the rules."""
        before = self.status, self.credit_limit
        self.status, self.credit_limit = entry.status, entry.credit_limit
        self.had_credit = self.had_credit or entry.credit_limit > 0
        if entry.kind not in RULE_KINDS:
            if before == (entry.status, entry.credit_limit):
                return None
            return f"a {entry.kind} changes {_shown(*before, entry)} to {_shown_after(entry)}"
        return self._fault(*before, entry)

    def _fault(self, status: str, limit: int, entry: LedgerEntry) -> str | None:
        """Return what is wrong with an entry of a command for the account."""
        kind, begins = entry.kind, entry.sequence == 1
        expected = "open" if begins and kind == "open" else _STATUS_AFTER.get((status, kind))
        if begins and kind != "open":
            expected = None
        wrong = (
            expected != entry.status,
            kind in {"freeze", "unfreeze"} and entry.credit_limit != limit,
            kind == "limit" and entry.credit_limit == limit,
            kind == "close" and entry.credit_limit != 0,
            entry.credit_limit < 0,
        )
        if any(wrong):
            return f"a {kind} makes {_shown(status, limit, entry)} {_shown_after(entry)}"
        if (kind == "close" or begins) and (entry.balance or entry.held):
            return f"a {kind} at {money_text(entry.balance, entry.currency)}"
        return None

    def forbids(self, entry: LedgerEntry) -> bool:
        """Whether an entry had to be declined; to be asked before ``change``."""
        return entry.kind in _NOT_ON.get(self.status, frozenset())

    def begin_at(self, entry: LedgerEntry) -> None:
        """Continue at an entry whose predecessors are not there."""
        self.status, self.credit_limit, self.had_credit = entry.status, entry.credit_limit, True
        if entry.kind in RULE_KINDS:
            if entry.kind == "limit":
                self.credit_limit = -1  # Another one, whatever it was.
            else:
                self.status = next(s for s, kind in _STATUS_AFTER if kind == entry.kind)

    @property
    def as_pair(self) -> tuple[str, int]:
        """Status and credit limit."""
        return self.status, self.credit_limit


def _shown(status: str, limit: int, entry: LedgerEntry) -> str:
    return f"{status} with a credit limit of {money_text(limit, entry.currency)}"


def _shown_after(entry: LedgerEntry) -> str:
    return _shown(entry.status, entry.credit_limit, entry)


ShownAccount = tuple[int, int, str, int, str]
"""What a result or an entry shows of an account: balance, held, status, limit, currency."""


def shown_by_entry(entry: LedgerEntry) -> ShownAccount:
    """Return what an entry shows of its account."""
    return entry.balance, entry.held, entry.status, entry.credit_limit, entry.currency


def shown_by_result(result: AccountResult) -> ShownAccount | None:
    """Return what a result shows of its account; None where it shows none.

    Raises ``ValueError`` where it shows a part of it, or something that can't be.
    """
    balance, held, limit = result.balance, result.held, result.credit_limit
    status, currency = result.status, result.currency
    found = (balance, held, status, limit, currency)
    if all(each is None for each in (*found, result.sequence, result.available)):
        return None
    if (
        balance is None
        or held is None
        or status is None
        or limit is None
        or currency is None
        or result.sequence is None
    ):
        message = "it shows a part of an account"
        raise ValueError(message)
    if result.available != balance + limit - held:
        message = (
            f"of {money_text(balance, currency)} with a credit limit of "
            f"{money_text(limit, currency)} are {money_text(held, currency)} held, and it says "
            f"that {result.available} are available"
        )
        raise ValueError(message)
    return balance, held, status, limit, currency


_AFTER: Mapping[str, frozenset[str]] = {
    "open": frozenset({"open", "frozen"}),
    "freeze": frozenset({"frozen"}),
    "unfreeze": frozenset({"open"}),
    "close": frozenset({"closed"}),
    "limit": frozenset({"open", "frozen"}),
}
"""By type: the status that a completed command leaves; a frozen account is open already."""


_ON_OPEN = frozenset({"open", "frozen"})
_REJECTED: Mapping[object, tuple[frozenset[str], frozenset[str | None]]] = {
    "unknown_account": (frozenset({"freeze", "unfreeze", "close", "limit"}), frozenset({None})),
    "account_closed": (frozenset({"freeze", "unfreeze", "limit"}), frozenset({"closed"})),
    "not_zero": (frozenset({"close"}), _ON_OPEN),
    "different_limit": (frozenset({"open"}), _ON_OPEN),
    "wrong_currency": (frozenset({"open"}), frozenset({*_ON_OPEN, "closed"})),
}
"""By reason that an account gives: the types it can reject, and the statuses; None: no account.

A command that is rejected for any other reason was not compared with an account.
"""


def _can_reject(result: AccountResult) -> bool:
    """Whether a rejection has a reason, and shows an account that is one."""
    if result.reason not in _REJECTED:
        return result.reason is not None and result.status is None
    types, statuses = _REJECTED[result.reason]
    is_zero = not result.balance and not result.held
    return (
        result.type in types
        and result.status in statuses
        and not (result.reason == "not_zero" and is_zero)
    )


def fault_of_result(result: AccountResult) -> str | None:
    """Return why a result can't be true whatever the account is; None where it can."""
    outcome, kind, is_there = result.outcome.value, result.type, result.status is not None
    if outcome == "completed":
        statuses = _AFTER.get(kind or "", frozenset())
        possible = result.status in statuses and result.reason is None
        possible = possible and (result.replayed or kind != "open" or result.status == "open")
    elif outcome in {"found", "not_found"}:
        possible = kind == "get" and result.reason is None and is_there is (outcome == "found")
    else:
        possible = outcome == "rejected" and _can_reject(result)
    possible = possible and (outcome == "completed" or not result.replayed)
    if possible:
        return None
    why = "" if result.reason is None else f" for {result.reason}"
    shown = ""
    if result.balance is not None and result.held is not None and result.currency is not None:
        balance, held = (money_text(n, result.currency) for n in (result.balance, result.held))
        shown = f" of {balance}, {held} held"
    return f"{outcome}{why} with type {kind} and status {result.status}{shown}"
