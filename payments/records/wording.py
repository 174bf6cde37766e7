"""The sentence that a result means, for a person, with amounts in major units.

Records on the topics have a ``message`` where a rejection needs one, and null elsewhere. The client
fills it with this sentence, so that the gateway, its event streams and the command show the same.
"""

from payments.domain.account import MAX_BALANCE
from payments.domain.money import money_text
from payments.domain.results import Outcome, Reason
from payments.records.record_models import Later, Result

_DECLINED: dict[str, str] = {
    Reason.UNKNOWN_ACCOUNT: "there is no account {account}",
    Reason.INSUFFICIENT_FUNDS: "account {account} has less than {money}",
    Reason.WRONG_CURRENCY: "account {account} is not kept in {currency}",
    Reason.BALANCE_LIMIT: "account {account} would have more than {limit}",
    Reason.INVALID_ACCOUNT: "the id of a new account can't begin or end with a space",
    Reason.INTERNAL_ERROR: "a worker met a defect, its dead letters say which",
}
_MOVES = {"make", "deposit"}
_CANCELLED = {Reason.PREVENTED, Reason.ROLLED_BACK}
_PREVENTED = "no money had moved, and a later make is refused"
_IN_STATE = {
    "pending": "is pending: its outcome is not known yet",
    "cancelling": "is being cancelled: its outcome is not known yet",
    "reversing": "is being cancelled: its money is on the way back",
    "completed": "is completed",
}


def worded(result: Result) -> Result:
    """Return the result with a message, unless it is plainly completed."""
    plain = result.outcome is Outcome.COMPLETED and not result.replayed
    if plain or result.message is not None:
        return result
    return result.model_copy(update={"message": sentence_of(result)})


def sentence_of(result: Result) -> str:
    """Return the outcome as a sentence: the result's message, or one made from its fields."""
    if result.message is not None:
        return result.message
    outcome = result.outcome
    return _unknown(result) if isinstance(outcome, Later) else _SENTENCES[outcome](result)


def _unknown(result: Result) -> str:
    """Return the values of a later version's result, whose words this version lacks."""
    values = (("reason", result.reason), ("state", result.state))
    more = "".join(f", {name} {value}" for name, value in values if value is not None)
    return (
        f"{result.type or 'the command'} of payment {result.payment} has the outcome "
        f"{result.outcome}{more}: workers of a later version wrote it"
    )


def _completed(result: Result) -> str:
    if result.type not in _MOVES:
        return _unknown(result)
    done = "put on" if result.type == "deposit" else "taken from"
    if result.replayed:
        again = "put on the account" if result.type == "deposit" else "taken"
        return f"{_named(result)} was completed before; nothing was {again} again"
    return f"{_named(result)} is completed: {_money(result)} {done} account {result.account}"


def _cancelled(result: Result) -> str:
    if result.type in _MOVES:
        return f"{_named(result)} was cancelled before, so it is not made"
    if result.type != "cancel" or result.reason not in _CANCELLED:
        return _unknown(result)
    begin = f"{_named(result)} {'was cancelled before' if result.replayed else 'is cancelled'}"
    if result.reason is not Reason.ROLLED_BACK:
        return f"{begin}: {_PREVENTED}"
    return f"{begin}: its {_money(result)} were moved back (account {result.account})"


def _found(result: Result) -> str:
    named, state = _with_terms(result), result.state
    if state == "declined":
        return f"{named} is declined{_cause(result)}"
    if state == "cancelled" and result.reason in _CANCELLED:
        undone = result.reason is Reason.ROLLED_BACK
        return f"{named} is cancelled: {'its money was moved back' if undone else _PREVENTED}"
    return f"{named} {_IN_STATE.get(state or '', f'is {state}')}"


def _declined(result: Result) -> str:
    return f"{_named(result)} {'was' if result.replayed else 'is'} declined{_cause(result)}"


def _rejected(result: Result) -> str:
    reason = "" if result.reason is None else f": {result.reason.replace('_', ' ')}"
    return f"the command for payment {result.payment} is rejected{reason}"


def _not_found(result: Result) -> str:
    return (
        f"there is no payment {result.payment}: it never was, was declined and forgotten, or has "
        f"expired"
    )


def _expired(result: Result) -> str:
    if result.type != "expire" or result.reason is not None:
        return _unknown(result)
    return f"{_with_terms(result)} has expired: it is forgotten, and its money stays where it is"


def _cause(result: Result) -> str:
    """Return why it is declined."""
    if result.reason is None:
        return ": no money was moved"
    currency = str(result.currency)
    words = _DECLINED.get(result.reason, result.reason.replace("_", " ")).format(
        account=result.account,
        money=_money(result),
        currency=currency,
        limit=money_text(MAX_BALANCE, currency),
    )
    return f": {words}; no money was moved"


def _named(result: Result) -> str:
    """Return its name; whether the payment of a cancel or get is a deposit is not known."""
    return f"{'deposit' if result.type == 'deposit' else 'payment'} {result.payment}"


def _with_terms(result: Result) -> str:
    if result.amount is None:
        return _named(result)
    return f"{_named(result)} ({_money(result)}, account {result.account})"


def _money(result: Result) -> str:
    return "money" if result.amount is None else money_text(result.amount, str(result.currency))


_SENTENCES = {
    Outcome.COMPLETED: _completed,
    Outcome.DECLINED: _declined,
    Outcome.CANCELLED: _cancelled,
    Outcome.REJECTED: _rejected,
    Outcome.FOUND: _found,
    Outcome.NOT_FOUND: _not_found,
    Outcome.EXPIRED: _expired,
}
