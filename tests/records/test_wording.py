"""A result in words: every outcome that is not plainly completed has a sentence for a person.

That answers over HTTP, event streams, the client and the command show it in the same place is
tested in tests/gateway/test_messages.py and tests/cli/test_payments.py.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.domain.payment import State
from payments.domain.results import Outcome, Reason
from payments.records.record_models import Result
from payments.records.wording import sentence_of, worded

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
        "payment p1 is declined: account abc has less than 19.99 EUR; no money was moved",
    ),
    (
        declined(Reason.INSUFFICIENT_FUNDS, currency="JPY", replayed=True),
        "payment p1 was declined: account abc has less than 1,999 JPY; no money was moved",
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
        "payment p1 is cancelled: no money had moved, and a later make is refused",
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
            "payment p1 (19.99 EUR, account abc) is declined: account abc has less than 19.99 EUR; "
            "no money was moved"
        ),
    ),
    (
        FOUND | {"state": "cancelled", "reason": Reason.ROLLED_BACK},
        "payment p1 (19.99 EUR, account abc) is cancelled: its money was moved back",
    ),
    (
        FOUND | {"state": "cancelled", "reason": Reason.PREVENTED} | NOTHING,
        "payment p1 is cancelled: no money had moved, and a later make is refused",
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


results = st.builds(
    Result,
    payment=st.text(min_size=1, max_size=9),
    command=st.none() | st.text(max_size=9),
    type=st.sampled_from([None, "make", "deposit", "cancel", "get", "expire"]),
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
)


@given(results)
def test_whatever_a_record_has_there_is_a_sentence_that_names_its_payment(result: Result) -> None:
    assert result.payment in sentence_of(result)
