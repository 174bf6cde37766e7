"""The sentence that a result means, for a person, with amounts in major units.

Records on the topics have a ``message`` where a rejection needs one, and null elsewhere. The client
fills it with this sentence, so that the gateway, its event streams and the command show the same.
"""

from collections.abc import Mapping

from payments.domain.account import MAX_BALANCE, Status
from payments.domain.money import money_text
from payments.domain.results import Outcome, Reason
from payments.records.record_models import AccountBalance, AccountResult, Later, Result

_DECLINED: dict[str, str] = {
    Reason.UNKNOWN_ACCOUNT: "there is no account {account}",
    Reason.INSUFFICIENT_FUNDS: "account {account} has less than {money} available",
    Reason.WRONG_CURRENCY: "account {account} is not kept in {currency}",
    Reason.ACCOUNT_FROZEN: "account {account} is frozen",
    Reason.ACCOUNT_CLOSED: "account {account} is closed",
    Reason.BALANCE_LIMIT: "account {account} would have more than {limit}",
    Reason.INVALID_ACCOUNT: "the id of a new account can't begin or end with a space",
    Reason.INTERNAL_ERROR: "a worker met a defect, its dead letters say which",
}
DECLINE_REASONS = tuple(_DECLINED)
"""Why a make, deposit or authorize is declined."""

_WITHOUT_HOLDS = {**_DECLINED, Reason.INSUFFICIENT_FUNDS: "account {account} has less than {money}"}
"""The same, as they were before payments could hold money."""

_MOVES = {"make", "deposit"}
_VOIDS = {"void", "cancel", "authorize"}
"""The commands that are told how a hold has ended."""

_CANCELLED = {Reason.PREVENTED, Reason.ROLLED_BACK, Reason.VOIDED}
_PREVENTED = "no money had moved, and a later make or authorize is refused"
_IN_STATE = {
    "pending": "is pending: its outcome is not known yet",
    "authorizing": "is being authorized: its outcome is not known yet",
    "cancelling": "is being cancelled: its outcome is not known yet",
    "reversing": "is being cancelled: its money is on the way back",
    "capturing": "has a capture in flight",
    "releasing": "is losing its hold: the release is in flight",
    "refunding": "has a refund in flight",
    "authorized": "is authorized",
    "completed": "is completed",
    "lapsed": "has lapsed: its hold ended before anything was captured",
}
_STANDING = {"authorized", "capturing", "refunding", "completed"}
"""The states whose amounts say how far a payment is."""

_LAPSES = {Reason.HOLD_EXPIRED}
_FOUND_CANCELLED: dict[str, str] = {
    Reason.PREVENTED: _PREVENTED,
    Reason.ROLLED_BACK: "its money was moved back",
    Reason.VOIDED: "its hold was released",
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


def without_holds(result: Result) -> Result:
    """Return a result with the message that it had before payments could hold money."""
    if result.outcome is not Outcome.DECLINED or result.reason is not Reason.INSUFFICIENT_FUNDS:
        return result
    return result.model_copy(update={"message": _declined(result, _WITHOUT_HOLDS)})


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
    if result.type not in _VOIDS or result.reason not in _CANCELLED:
        return _unknown(result)
    if result.type == "authorize":
        return f"{_named(result)} was cancelled before, so it holds no money"
    begin = f"{_named(result)} {'was cancelled before' if result.replayed else 'is cancelled'}"
    if result.reason is Reason.PREVENTED:
        return f"{begin}: {_PREVENTED}"
    if result.reason is Reason.VOIDED:
        return f"{begin}: its {_money(result)} are not held any more (account {result.account})"
    return f"{begin}: {_back(result)}"


def _back(result: Result) -> str:
    """Return what is back on the account: by the cancel, or by refunds before it too."""
    taken = _money(result, result.captured)
    if result.refunded:
        return f"all of its {taken} are back on account {result.account}"
    return f"its {taken} were moved back (account {result.account})"


def _authorized(result: Result) -> str:
    if result.type != "authorize" or result.reason not in {None, Reason.VOIDED, *_LAPSES}:
        return _unknown(result)
    if result.replayed:
        return f"{_named(result)} was authorized before; nothing was held again{_standing(result)}"
    return f"{_named(result)} is authorized{_standing(result)} (account {result.account})"


def _captured(result: Result) -> str:
    if result.type != "capture" or result.reason is not None:
        return _unknown(result)
    named = f"{_part(result)} of {_named(result)}"
    if result.replayed:
        return f"{named} was done before; nothing was taken again{_standing(result)}"
    return f"{named} is done{_standing(result)} (account {result.account})"


def _voided(result: Result) -> str:
    if result.type != "void" or result.reason not in {None, Reason.VOIDED}:
        return _unknown(result)
    return f"the rest of {_named(result)} is released{_standing(result)}"


def _refunded(result: Result) -> str:
    if result.type != "refund" or result.reason is not None:
        return _unknown(result)
    named = f"{_part(result)} of {_named(result)}"
    if result.replayed:
        return f"{named} was done before; nothing was moved again{_standing(result)}"
    return f"{named} is done{_standing(result)} (account {result.account})"


def _lapsed(result: Result) -> str:
    if result.type not in {"lapse", *_VOIDS} or result.reason not in _LAPSES:
        return _unknown(result)
    expires = "" if result.hold_expires is None else f" at {result.hold_expires}"
    ended = f"the hold of {_named(result)} ended{expires}"
    if result.captured:
        return f"{ended}{_standing(result)} (account {result.account})"
    begin = f"{ended} before anything was captured: its {_money(result)} are not held any more"
    again = "; a new payment id is needed" if result.type == "authorize" else ""
    return f"{begin} (account {result.account}){again}"


def _ends_soon(result: Result) -> str:
    if result.type != "notice" or result.reason is not None or not result.held:
        return _unknown(result)
    return f"the hold of {_named(result)} ends soon{_standing(result)} (account {result.account})"


def _found(result: Result) -> str:
    named, state = _with_terms(result), result.state
    if state == "declined":
        return f"{named} is declined{_cause(result)}"
    if state == "cancelled" and result.reason in _CANCELLED:
        return f"{named} is cancelled: {_FOUND_CANCELLED[result.reason]}"
    standing = _standing(result) if state in _STANDING else ""
    return f"{named} {_IN_STATE.get(state or '', f'is {state}')}{standing}"


def _standing(result: Result) -> str:
    """Return what has become of the payment's money, as far as the result says it."""
    found, of_all = [], f" of its {_money(result)}"
    if result.captured and result.authorized is not None:
        found.append(f"{_money(result, result.captured)}{of_all} are captured")
        of_all = ""
    if result.refunded:
        found.append(f"{_money(result, result.refunded)}{of_all} are refunded")
    if result.held:
        found.append(f"{_money(result, result.held)} are held until {result.hold_expires}")
    elif result.held == 0:
        found.append("nothing is held any more")
    return f": {', '.join(found)}" if found else ""


def _declined(result: Result, words: Mapping[str, str] = _DECLINED) -> str:
    named = _named(result)
    if result.type == "refund":
        named = f"{_part(result)} of {named}"
    return f"{named} {'was' if result.replayed else 'is'} declined{_cause(result, words)}"


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


def _cause(result: Result, declined: Mapping[str, str] = _DECLINED) -> str:
    """Return why it is declined."""
    if result.reason is None:
        return ": no money was moved"
    currency = str(result.currency)
    words = declined.get(result.reason, result.reason.replace("_", " ")).format(
        account=result.account,
        money=_money(result),
        currency=currency,
        limit=money_text(MAX_BALANCE, currency),
    )
    return f": {words}; no money was moved"


def _named(result: Result) -> str:
    """Return its name; whether the payment of a cancel or get is a deposit is not known."""
    return f"{'deposit' if result.type == 'deposit' else 'payment'} {result.payment}"


def _part(result: Result) -> str:
    """Return the name of the capture or refund that is answered, and what it has moved."""
    named = f"the {result.type}" if result.part is None else f"{result.type} {result.part}"
    return (
        named if result.part_amount is None else f"{named} ({_money(result, result.part_amount)})"
    )


def _with_terms(result: Result) -> str:
    if result.amount is None:
        return _named(result)
    return f"{_named(result)} ({_money(result)}, account {result.account})"


def _money(result: Result, amount: int | None = None) -> str:
    """Return an amount of the result for a person, by default the payment's."""
    shown = result.amount if amount is None else amount
    return "money" if shown is None else money_text(shown, str(result.currency))


_SENTENCES = {
    Outcome.COMPLETED: _completed,
    Outcome.DECLINED: _declined,
    Outcome.CANCELLED: _cancelled,
    Outcome.REJECTED: _rejected,
    Outcome.FOUND: _found,
    Outcome.NOT_FOUND: _not_found,
    Outcome.EXPIRED: _expired,
    Outcome.AUTHORIZED: _authorized,
    Outcome.CAPTURED: _captured,
    Outcome.VOIDED: _voided,
    Outcome.REFUNDED: _refunded,
    Outcome.LAPSED: _lapsed,
    Outcome.HOLD_ENDS_SOON: _ends_soon,
}


def worded_of_account(result: AccountResult) -> AccountResult:
    """Return the result of a command for an account with a message, unless it plainly did it."""
    plain = result.outcome is Outcome.COMPLETED and not result.replayed
    if plain or result.message is not None:
        return result
    return result.model_copy(update={"message": sentence_of_account(result)})


def sentence_of_account(result: AccountResult) -> str:
    """Return the outcome of a command for an account as a sentence."""
    if result.message is not None:
        return result.message
    outcome, account = result.outcome, result.account
    if outcome is Outcome.NOT_FOUND:
        return f"there is no account {account}"
    if outcome is Outcome.REJECTED:
        reason = "" if result.reason is None else f": {result.reason.replace('_', ' ')}"
        return f"the command for account {account} is rejected{reason}"
    if isinstance(outcome, Later) or outcome not in {Outcome.COMPLETED, Outcome.FOUND}:
        return (
            f"{result.type or 'the command'} of account {account} has the outcome {outcome}: "
            "workers of a later version wrote it"
        )
    amounts = ", ".join(amounts_of_account(result))
    if outcome is Outcome.COMPLETED and result.replayed:
        return _repeated_for_account(result, amounts)
    return f"account {account} is {result.status}: {amounts}"


def _repeated_for_account(result: AccountResult, amounts: str) -> str:
    """Return that what the command asked for was so before."""
    account = f"account {result.account}"
    nothing = "before, and nothing was changed"
    if result.type == "limit":
        limit = money_text(result.credit_limit or 0, str(result.currency))
        return f"the credit limit of {account} was {limit} {nothing}"
    if result.type == "unfreeze":
        return f"{account} was not frozen {nothing}: {amounts}"
    if result.type == "open" and result.status == Status.FROZEN:
        return f"{account} was opened {nothing}; it is frozen: {amounts}"
    return f"{account} was {result.status} {nothing}: {amounts}"


def amounts_of_account(account: AccountResult | AccountBalance) -> list[str]:
    """Return the amounts of an account that it has, in words: its balance at least."""
    currency = str(account.currency)
    found = [money_text(account.balance or 0, currency)]
    if account.held:
        found.append(f"held {money_text(account.held, currency)}")
    if account.credit_limit:
        found.append(f"credit limit {money_text(account.credit_limit, currency)}")
    if account.held or account.credit_limit:
        found.append(f"available {money_text(account.available or 0, currency)}")
    return found
