"""The account table: status x command -> what the account becomes and what is answered.

Every pair has a cell. A cell is a rule, or several, of which the first whose condition holds
decides. A rule without ``to`` changes nothing: the command is rejected, asks only, or is repeated.
``docs/account_states.md`` is drawn from it; ``tests/domain/test_account_table.py`` has each cell.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from payments.domain.account import (
    MAX_BALANCE,
    Account,
    Counter,
    Entry,
    RuleKind,
    Status,
    Transfer,
)
from payments.domain.account_commands import AccountCommand, GetAccount, Limit, Open
from payments.domain.money import money_text
from payments.domain.names import has_outer_space
from payments.domain.results import Frozen, Outcome, Reason

COUNTER_OF_RULES: Counter = "world"
"""The counter-account that entries of rules name: it is changed by nothing."""


class When(Enum):
    """A condition on the account and the command, before the command."""

    OUTER_SPACE = auto()
    """The name of the account begins or ends with a space: no new one may."""

    OTHER_CURRENCY = auto()
    OTHER_LIMIT = auto()
    SAME_LIMIT = auto()
    NOT_ZERO = auto()
    """There is money on the account, or held on it, or it is below zero."""


class Rule(NamedTuple):
    """What a command does."""

    outcome: Outcome
    to: Status | None = None
    """The status after it; None: nothing changes."""

    reason: Reason | None = None
    replayed: bool = False
    when: When | None = None
    """The rule counts where this holds; None: in all other cases."""


Cell = Rule | tuple[Rule, ...]
TYPES = ("open", "freeze", "unfreeze", "close", "limit", "get")

_OPEN, _FROZEN, _CLOSED = Status.OPEN, Status.FROZEN, Status.CLOSED
_REPEATED = Rule(Outcome.COMPLETED, replayed=True)
_FOUND = Rule(Outcome.FOUND)
_UNKNOWN = Rule(Outcome.REJECTED, reason=Reason.UNKNOWN_ACCOUNT)
_IS_CLOSED = Rule(Outcome.REJECTED, reason=Reason.ACCOUNT_CLOSED)
_OTHER_CURRENCY = Rule(Outcome.REJECTED, reason=Reason.WRONG_CURRENCY, when=When.OTHER_CURRENCY)


def _to(status: Status) -> Rule:
    return Rule(Outcome.COMPLETED, status)


_OPENS_AGAIN: Cell = (
    _OTHER_CURRENCY,
    Rule(Outcome.REJECTED, reason=Reason.DIFFERENT_LIMIT, when=When.OTHER_LIMIT),
    _REPEATED,
)
_CLOSES: Cell = (
    Rule(Outcome.REJECTED, reason=Reason.NOT_ZERO, when=When.NOT_ZERO),
    _to(_CLOSED),
)


def _limits(status: Status) -> Cell:
    return (_REPEATED._replace(when=When.SAME_LIMIT), _to(status))


ACCOUNT_TABLE: Mapping[Status | None, Mapping[str, Cell]] = {
    None: {
        "open": (
            Rule(Outcome.REJECTED, reason=Reason.INVALID_ACCOUNT, when=When.OUTER_SPACE),
            _to(_OPEN),
        ),
        "freeze": _UNKNOWN,
        "unfreeze": _UNKNOWN,
        "close": _UNKNOWN,
        "limit": _UNKNOWN,
        "get": Rule(Outcome.NOT_FOUND),
    },
    _OPEN: {
        "open": _OPENS_AGAIN,
        "freeze": _to(_FROZEN),
        "unfreeze": _REPEATED,
        "close": _CLOSES,
        "limit": _limits(_OPEN),
        "get": _FOUND,
    },
    _FROZEN: {
        "open": _OPENS_AGAIN,
        "freeze": _REPEATED,
        "unfreeze": _to(_OPEN),
        "close": _CLOSES,
        "limit": _limits(_FROZEN),
        "get": _FOUND,
    },
    _CLOSED: {
        "open": (_OTHER_CURRENCY, _to(_OPEN)),
        "freeze": _IS_CLOSED,
        "unfreeze": _IS_CLOSED,
        "close": _REPEATED,
        "limit": _IS_CLOSED,
        "get": _FOUND,
    },
}
"""None stands for an account that there is not."""


def _limit_of(command: AccountCommand) -> int | None:
    return command.credit_limit if isinstance(command, (Open, Limit)) else None


_HOLDS: Mapping[When, Callable[[str, Account | None, AccountCommand], bool]] = {
    When.OUTER_SPACE: lambda name, _account, _command: has_outer_space(name),
    When.OTHER_CURRENCY: lambda _name, account, command: (
        account is not None and isinstance(command, Open) and command.currency != account.currency
    ),
    When.OTHER_LIMIT: lambda _name, account, command: (
        account is not None and _limit_of(command) != account.credit_limit
    ),
    When.SAME_LIMIT: lambda _name, account, command: (
        account is not None and _limit_of(command) == account.credit_limit
    ),
    When.NOT_ZERO: lambda _name, account, _command: (
        account is not None and (account.balance != 0 or account.held != 0)
    ),
}


class AccountAnswer(Frozen, frozen=True):
    """The answer to one command for an account."""

    command: str
    """The command's own id, else the address of its record."""

    type: str | None
    """The command's type; None where it could not be read."""

    outcome: Outcome
    reason: Reason | None = None
    message: str | None = None
    """Why a command is rejected, in words."""

    replayed: bool = False
    """Whether it asked for what was so already, and changed nothing."""

    account: Account | None = None
    """The account after the command; None where there is none, or it was not looked at."""


class AccountDecision(Frozen, frozen=True):
    """What a command for an account does."""

    answer: AccountAnswer
    entry: Entry | None = None
    """The ledger entry of the change; None where nothing changes."""


def decide_account(
    name: str, account: Account | None, command: AccountCommand, *, own: str
) -> AccountDecision:
    """Decide a command for the account of this name; ``own`` is how its answer names it."""
    rule = rule_for(name, account, command)
    message = None
    if rule.outcome is Outcome.REJECTED:
        message = _in_words(name, account, command, rule.reason)
    after = account
    if rule.to is not None:
        after = _changed(account, command, rule.to)
    answer = AccountAnswer(
        own, command.type, rule.outcome, rule.reason, message, rule.replayed, after
    )
    if rule.to is None or after is None:
        return AccountDecision(answer)
    return AccountDecision(answer, Entry(_nothing_moved(name, command, after.currency), after))


def rule_for(name: str, account: Account | None, command: AccountCommand) -> Rule:
    """Return the rule of the table that decides a command."""
    cell = ACCOUNT_TABLE[None if account is None else account.status][command.type]
    if isinstance(cell, Rule):
        return cell
    return next(
        rule for rule in cell if rule.when is None or _HOLDS[rule.when](name, account, command)
    )


def _changed(account: Account | None, command: AccountCommand, to: Status) -> Account:
    """Return the account after a command that changes it; a closed one has no credit limit."""
    if account is None:
        assert isinstance(command, Open), "only an open makes an account"
        return Account(0, 1, command.currency, 0, to, command.credit_limit)
    limit = _limit_of(command)
    if to is Status.CLOSED:
        limit = 0
    elif limit is None:
        limit = account.credit_limit
    assert 0 <= limit <= MAX_BALANCE, "the parser refuses other limits"
    return Account(account.balance, account.sequence + 1, account.currency, account.held, to, limit)


def _nothing_moved(name: str, command: AccountCommand, currency: str) -> Transfer:
    assert not isinstance(command, GetAccount), "a get changes nothing"
    kind: RuleKind = command.type
    return Transfer(kind, name, 0, currency, COUNTER_OF_RULES)


def _in_words(
    name: str, account: Account | None, command: AccountCommand, reason: Reason | None
) -> str:
    """Return why a command is rejected, and what to do."""
    if account is None:
        if reason is Reason.INVALID_ACCOUNT:
            return f"the id of a new account can't begin or end with a space: {name!r}"
        return f"there is no account {name}: open it, or put money on it, first"
    currency = account.currency
    if reason is Reason.WRONG_CURRENCY:
        then = "no command changes its currency"
        if account.status is _CLOSED:
            then = f"open it again in {currency}"
        return f"account {name} is {account.status}, and is kept in {currency}: {then}"
    if reason is Reason.DIFFERENT_LIMIT:
        return _other_limit(name, account)
    if reason is Reason.NOT_ZERO:
        balance, held = money_text(account.balance, currency), money_text(account.held, currency)
        return f"account {name} is at {balance} and holds {held}: both must be 0 for {command.type}"
    return f"account {name} is closed: open it again first"


def _other_limit(name: str, account: Account) -> str:
    """Return why an open is rejected that asks for another credit limit."""
    limit = money_text(account.credit_limit, account.currency)
    if account.status is _FROZEN:
        return (
            f"account {name} exists and is frozen (credit limit {limit}): unfreeze it, or change "
            "the limit with limit"
        )
    return f"account {name} is open with a credit limit of {limit}: change it with limit"
