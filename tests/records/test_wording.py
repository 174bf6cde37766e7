"""A result in words: every outcome that is not plainly completed has a sentence for a person.

That answers over HTTP, event streams, the client and the command show it in the same place is
tested in tests/gateway/test_messages.py and tests/cli/test_payments.py.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.domain.commands import COMMAND_TYPES
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason
from payments.records.record_models import AccountResult, Result
from payments.records.wording import sentence_of, worded, worded_of_account

PLAIN: dict[str, Any] = {
    "payment": "p1",
    "command": "c1",
    "type": "make",
    "outcome": Outcome.COMPLETED,
    "reason": None,
    "message": None,
    "replayed": False,
    "state": "completed",
    "account": "abc",
    "amount": 1999,
    "currency": "EUR",
    "time": "2026-01-01T00:00:00.000Z",
}
FOUND: dict[str, Any] = {"type": "get", "outcome": Outcome.FOUND}
CANCEL: dict[str, Any] = {"type": "cancel", "outcome": Outcome.CANCELLED}
UNTIL = "2026-01-08T00:00:00.000Z"
HELD: dict[str, Any] = {
    "type": "authorize",
    "outcome": Outcome.AUTHORIZED,
    "state": "authorized",
    "amount": 10_000,
    "authorized": 10_000,
    "captured": 0,
    "refunded": 0,
    "held": 10_000,
    "hold_expires": UNTIL,
}
CAPTURED: dict[str, Any] = HELD | {
    "type": "capture",
    "outcome": Outcome.CAPTURED,
    "part": "c1",
    "captured": 6000,
    "held": 4000,
}
LAPSED: dict[str, Any] = HELD | {
    "type": "lapse",
    "outcome": Outcome.LAPSED,
    "reason": Reason.HOLD_EXPIRED,
    "state": "lapsed",
    "held": 0,
}
RELEASED: dict[str, Any] = HELD | {
    "outcome": Outcome.CANCELLED,
    "reason": Reason.VOIDED,
    "state": "cancelled",
    "held": 0,
}
REFUNDED: dict[str, Any] = {
    "type": "refund",
    "outcome": Outcome.REFUNDED,
    "part": "r1",
    "captured": 1999,
    "refunded": 500,
}
NOTHING: dict[str, Any] = {"account": None, "amount": None, "currency": None}


def declined(reason: Reason, **changes: Any) -> dict[str, Any]:
    return {"outcome": Outcome.DECLINED, "state": None, "reason": reason, **changes}


SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"replayed": True}, "payment p1 was completed before; nothing was taken again"),
    (
        {"replayed": True, "type": "deposit"},
        "deposit p1 was completed before; nothing was put on the account again",
    ),
    (
        declined(Reason.INSUFFICIENT_FUNDS),
        "payment p1 is declined: account abc has less than 19.99 EUR available; no money was moved",
    ),
    (
        declined(Reason.INSUFFICIENT_FUNDS, currency="JPY", replayed=True),
        (
            "payment p1 was declined: account abc has less than 1,999 JPY available; "
            "no money was moved"
        ),
    ),
    (
        declined(Reason.UNKNOWN_ACCOUNT, account="{money} {0}"),
        "payment p1 is declined: there is no account {money} {0}; no money was moved",
    ),
    (
        declined(Reason.WRONG_CURRENCY, currency="KWD"),
        "payment p1 is declined: account abc is not kept in KWD; no money was moved",
    ),
    (
        declined(Reason.BALANCE_LIMIT, type="deposit"),
        (
            "deposit p1 is declined: account abc would have more than "
            "10,000,000,000,000,000.00 EUR; no money was moved"
        ),
    ),
    (
        CANCEL | {"reason": Reason.ROLLED_BACK},
        "payment p1 is cancelled: its 19.99 EUR were moved back (account abc)",
    ),
    (
        CANCEL | {"reason": Reason.ROLLED_BACK, "replayed": True},
        "payment p1 was cancelled before: its 19.99 EUR were moved back (account abc)",
    ),
    (
        CANCEL | {"reason": Reason.PREVENTED} | NOTHING,
        "payment p1 is cancelled: no money had moved, and a later make or authorize is refused",
    ),
    (
        {"outcome": Outcome.CANCELLED, "reason": Reason.PREVENTED},
        "payment p1 was cancelled before, so it is not made",
    ),
    (FOUND, "payment p1 (19.99 EUR, account abc) is completed"),
    (
        FOUND | {"state": "pending"},
        "payment p1 (19.99 EUR, account abc) is pending: its outcome is not known yet",
    ),
    (
        FOUND | {"state": "cancelling"},
        "payment p1 (19.99 EUR, account abc) is being cancelled: its outcome is not known yet",
    ),
    (
        FOUND | {"state": "reversing"},
        "payment p1 (19.99 EUR, account abc) is being cancelled: its money is on the way back",
    ),
    (
        FOUND | {"state": "declined", "reason": Reason.INSUFFICIENT_FUNDS},
        (
            "payment p1 (19.99 EUR, account abc) is declined: account abc has less than 19.99 EUR "
            "available; no money was moved"
        ),
    ),
    (
        FOUND | {"state": "cancelled", "reason": Reason.ROLLED_BACK},
        "payment p1 (19.99 EUR, account abc) is cancelled: its money was moved back",
    ),
    (
        FOUND | {"state": "cancelled", "reason": Reason.PREVENTED} | NOTHING,
        "payment p1 is cancelled: no money had moved, and a later make or authorize is refused",
    ),
    (
        {"type": "get", "outcome": Outcome.NOT_FOUND, "state": None} | NOTHING,
        "there is no payment p1: it never was, was declined and forgotten, or has expired",
    ),
    (
        {"type": "expire", "outcome": Outcome.EXPIRED, "command": None, "state": None},
        (
            "payment p1 (19.99 EUR, account abc) has expired: it is forgotten, and its money stays "
            "where it is"
        ),
    ),
    (
        {"outcome": Outcome.REJECTED, "reason": Reason.DIFFERENT_AMOUNT},
        "the command for payment p1 is rejected: different amount",
    ),
    ({"outcome": Outcome.REJECTED, "message": "amount must be over 0"}, "amount must be over 0"),
    (HELD, f"payment p1 is authorized: 100.00 EUR are held until {UNTIL} (account abc)"),
    (
        HELD | {"replayed": True, "captured": 6000, "held": 4000},
        (
            "payment p1 was authorized before; nothing was held again: 60.00 EUR of its 100.00 EUR "
            f"are captured, 40.00 EUR are held until {UNTIL}"
        ),
    ),
    (
        declined(Reason.INSUFFICIENT_FUNDS, type="authorize"),
        "payment p1 is declined: account abc has less than 19.99 EUR available; no money was moved",
    ),
    (
        CAPTURED,
        (
            "capture c1 of payment p1 is done: 60.00 EUR of its 100.00 EUR are captured, 40.00 EUR "
            f"are held until {UNTIL} (account abc)"
        ),
    ),
    (
        CAPTURED | {"part_amount": 1000},
        (
            "capture c1 (10.00 EUR) of payment p1 is done: 60.00 EUR of its 100.00 EUR are "
            f"captured, 40.00 EUR are held until {UNTIL} (account abc)"
        ),
    ),
    (
        REFUNDED | {"part_amount": 200, "replayed": True},
        (
            "refund r1 (2.00 EUR) of payment p1 was done before; nothing was moved again: 5.00 EUR "
            "of its 19.99 EUR are refunded"
        ),
    ),
    (
        CAPTURED | {"replayed": True, "held": 0, "state": "completed", "currency": "JPY"},
        (
            "capture c1 of payment p1 was done before; nothing was taken again: 6,000 JPY of its "
            "10,000 JPY are captured, nothing is held any more"
        ),
    ),
    (
        CAPTURED | {"type": "void", "outcome": Outcome.VOIDED, "part": None, "held": 0},
        (
            "the rest of payment p1 is released: 60.00 EUR of its 100.00 EUR are captured, nothing "
            "is held any more"
        ),
    ),
    (
        REFUNDED,
        "refund r1 of payment p1 is done: 5.00 EUR of its 19.99 EUR are refunded (account abc)",
    ),
    (
        REFUNDED | {"replayed": True},
        (
            "refund r1 of payment p1 was done before; nothing was moved again: 5.00 EUR of its "
            "19.99 EUR are refunded"
        ),
    ),
    (
        CAPTURED
        | {"type": "refund", "outcome": Outcome.REFUNDED, "part": "r1", "refunded": 10, "held": 0},
        (
            "refund r1 of payment p1 is done: 60.00 EUR of its 100.00 EUR are captured, 0.10 EUR "
            "are refunded, nothing is held any more (account abc)"
        ),
    ),
    (
        LAPSED,
        (
            f"the hold of payment p1 ended at {UNTIL} before anything was captured: its 100.00 EUR "
            "are not held any more (account abc)"
        ),
    ),
    (
        LAPSED | {"type": "authorize", "replayed": True},
        (
            f"the hold of payment p1 ended at {UNTIL} before anything was captured: its 100.00 EUR "
            "are not held any more (account abc); a new payment id is needed"
        ),
    ),
    (
        LAPSED | {"state": "completed", "captured": 6000},
        (
            f"the hold of payment p1 ended at {UNTIL}: 60.00 EUR of its 100.00 EUR are captured, "
            "nothing is held any more (account abc)"
        ),
    ),
    (
        RELEASED | {"type": "void"},
        "payment p1 is cancelled: its 100.00 EUR are not held any more (account abc)",
    ),
    (
        RELEASED | {"type": "cancel", "replayed": True},
        "payment p1 was cancelled before: its 100.00 EUR are not held any more (account abc)",
    ),
    (RELEASED | {"replayed": True}, "payment p1 was cancelled before, so it holds no money"),
    (
        CAPTURED | CANCEL | {"reason": Reason.ROLLED_BACK, "held": 0, "refunded": 6000},
        "payment p1 is cancelled: all of its 60.00 EUR are back on account abc",
    ),
    (
        CANCEL
        | {"reason": Reason.ROLLED_BACK, "replayed": True, "captured": 1999, "refunded": 1999},
        "payment p1 was cancelled before: all of its 19.99 EUR are back on account abc",
    ),
    (
        CAPTURED | FOUND,
        (
            "payment p1 (100.00 EUR, account abc) is authorized: 60.00 EUR of its 100.00 EUR are "
            f"captured, 40.00 EUR are held until {UNTIL}"
        ),
    ),
    (
        REFUNDED | FOUND,
        "payment p1 (19.99 EUR, account abc) is completed: 5.00 EUR of its 19.99 EUR are refunded",
    ),
    (
        HELD | FOUND | {"state": "authorizing", "held": 0},
        "payment p1 (100.00 EUR, account abc) is being authorized: its outcome is not known yet",
    ),
    (
        HELD | FOUND | {"state": "capturing"},
        (
            "payment p1 (100.00 EUR, account abc) has a capture in flight: 100.00 EUR are held "
            f"until {UNTIL}"
        ),
    ),
    (
        HELD | FOUND | {"state": "releasing", "reason": Reason.VOIDED},
        "payment p1 (100.00 EUR, account abc) is losing its hold: the release is in flight",
    ),
    (
        RELEASED | FOUND,
        "payment p1 (100.00 EUR, account abc) is cancelled: its hold was released",
    ),
    (
        LAPSED | FOUND,
        (
            "payment p1 (100.00 EUR, account abc) has lapsed: its hold ended before anything was "
            "captured"
        ),
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), SENTENCES)
def test_a_result_is_said_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    given = Result(**PLAIN | changes)
    assert worded(given).message == sentence
    assert worded(given).model_dump() == given.model_dump() | {"message": sentence}


def test_a_plainly_completed_one_needs_no_words_and_stays_as_it_is() -> None:
    plain = Result(**PLAIN)
    assert worded(plain) is plain
    assert sentence_of(plain) == "payment p1 is completed: 19.99 EUR taken from account abc"
    deposit = Result(**PLAIN | {"type": "deposit"})
    assert sentence_of(deposit) == "deposit p1 is completed: 19.99 EUR put on account abc"


minor = st.none() | st.integers(0, 10**15)
results = st.builds(
    Result,
    payment=st.text(min_size=1, max_size=9),
    command=st.none() | st.text(max_size=9),
    type=st.sampled_from([None, *COMMAND_TYPES, "expire", "lapse"]),
    outcome=st.sampled_from(Outcome),
    reason=st.none() | st.sampled_from(Reason),
    message=st.none(),
    replayed=st.booleans(),
    state=st.none() | st.sampled_from([state.value for state in State]),
    account=st.none() | st.text(max_size=9),
    amount=st.none() | st.integers(1, 10**15),
    currency=st.none() | st.sampled_from(["EUR", "JPY", "HRK", "?"]),
    exponent=st.none(),
    time=st.just("2026-01-01T00:00:00.000Z"),
    authorized=minor,
    captured=minor,
    refunded=minor,
    held=minor,
    hold_expires=st.none() | st.just(UNTIL),
    part=st.none() | st.text(min_size=1, max_size=9),
    part_amount=minor,
)


@pytest.mark.parametrize("state", State)
def test_every_state_that_is_found_has_words_of_its_own(state: State) -> None:
    sentence = sentence_of(Result(**PLAIN | FOUND | {"state": state.value}))
    assert sentence.startswith("payment p1 (19.99 EUR, account abc) ")
    assert not sentence.endswith(f"is {state.value}") or state in {
        State.AUTHORIZED,
        State.CANCELLED,
        State.COMPLETED,
    }


@given(results)
def test_whatever_a_record_has_there_is_a_sentence_that_names_its_payment(result: Result) -> None:
    assert result.payment in sentence_of(result)


AMOUNTS = "1.00 EUR, credit limit 50.00 EUR, available 51.00 EUR"
SO_BEFORE = "before, and nothing was changed"


@pytest.mark.parametrize(
    ("type_", "status", "sentence"),
    [
        ("open", "open", f"account abc was open {SO_BEFORE}: {AMOUNTS}"),
        ("open", "frozen", f"account abc was opened {SO_BEFORE}; it is frozen: {AMOUNTS}"),
        ("freeze", "frozen", f"account abc was frozen {SO_BEFORE}: {AMOUNTS}"),
        ("unfreeze", "open", f"account abc was not frozen {SO_BEFORE}: {AMOUNTS}"),
        ("close", "closed", f"account abc was closed {SO_BEFORE}: {AMOUNTS}"),
        ("limit", "open", f"the credit limit of account abc was 50.00 EUR {SO_BEFORE}"),
        ("limit", "frozen", f"the credit limit of account abc was 50.00 EUR {SO_BEFORE}"),
    ],
)
def test_a_repeat_for_an_account_says_that_what_it_asked_for_was_so(
    type_: str, status: str, sentence: str
) -> None:
    result = AccountResult(
        account="abc",
        command="c1",
        type=type_,
        outcome=Outcome.COMPLETED,
        reason=None,
        message=None,
        replayed=True,
        status=status,
        balance=100,
        held=0,
        credit_limit=5000,
        available=5100,
        currency="EUR",
        exponent=2,
        sequence=3,
        time="2026-01-01T00:00:00.000Z",
    )
    assert worded_of_account(result).message == sentence
