"""Expiry: when the timers of a payment are due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payments.domain.payment import HoldEnds, HoldEndsSoon, Payment, Policy, WindowCloses, decide
from payments.domain.payment_table import State
from payments.domain.results import Request
from payments.records.internal_codec import encode_payment
from payments.stages.expiry import Expiry
from tests.domain.expectations import ROWS

MAKE, HOLD = Request("make", "abc", 100, "EUR"), Request("authorize", "abc", 100, "EUR")
STORED = [row for row in ROWS.values() if row is not None]
UNIFORM = Expiry(width_ms=10, retention_ms=100, refundable_ms=100)
LONGER = Expiry(width_ms=10, retention_ms=100, refundable_ms=500)


def timers(expiry: Expiry, payment: Payment) -> tuple[int, ...]:
    return expiry.timers(b"p1", encode_payment(payment))


@pytest.mark.parametrize(
    ("time_ms", "forgotten_ms"), [(0, 110), (9, 110), (10, 120), (19, 120), (20, 130)]
)
def test_a_payment_is_forgotten_a_retention_after_the_end_of_its_window(
    time_ms: int, forgotten_ms: int
) -> None:
    assert timers(UNIFORM, Payment(State.COMPLETED, time_ms, MAKE)) == (forgotten_ms,)
    assert timers(UNIFORM, Payment(State.CANCELLED, time_ms)) == (forgotten_ms,)


def test_a_hold_ends_with_the_window_of_its_end_and_is_not_forgotten() -> None:
    authorized = Payment(State.AUTHORIZED, 5, HOLD, hold_expires_ms=34, held=100)
    assert timers(UNIFORM, authorized) == timers(LONGER, authorized) == (40,)


def test_a_notice_before_the_end_of_a_hold_has_a_timer_of_its_own() -> None:
    authorized = Payment(State.AUTHORIZED, 5, HOLD, hold_expires_ms=34, held=100, notice_ms=18)
    assert timers(UNIFORM, authorized) == (20, 40)
    told = [UNIFORM.message_of(authorized, until_ms) for until_ms in (20, 33, 34, 39, 40)]
    assert [type(each) for each in told] == [
        HoldEndsSoon,
        HoldEndsSoon,
        type(None),  # It is over, and its lapse says so.
        type(None),
        HoldEnds,
    ]
    made = Payment(State.COMPLETED, 5, MAKE)
    assert isinstance(UNIFORM.message_of(made, 110), WindowCloses)


def test_what_can_be_refunded_may_be_kept_longer() -> None:
    made = Payment(State.COMPLETED, 5, MAKE)
    assert timers(LONGER, made) == (510,)
    assert timers(LONGER, replace(made, refunded=99)) == (510,)
    assert timers(LONGER, replace(made, refunded=100)) == (110,)
    assert timers(LONGER, replace(made, request=Request("deposit", "abc", 100, "EUR"))) == (110,)


@pytest.mark.parametrize(("expiry", "kept_ms"), [(UNIFORM, 100), (LONGER, 500)])
def test_a_payment_that_was_only_made_is_not_decoded_for_its_timer(
    expiry: Expiry, kept_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was encoded just before, so this would be done for each payment."""
    monkeypatch.setattr("payments.stages.expiry.decode_payment", None)
    made = Payment(State.COMPLETED, 5, MAKE, metadata={"order": "7"})
    assert timers(expiry, made) == (10 + kept_ms,)
    deposited = replace(made, request=Request("deposit", '"refunded":1', 100, "EUR"))
    assert timers(expiry, deposited) == (110,)


@pytest.mark.parametrize("expiry", [UNIFORM, LONGER], ids=["uniform", "longer"])
@pytest.mark.parametrize("payment", STORED, ids=lambda payment: payment.state.value)
def test_a_payment_has_a_timer_where_the_table_lets_time_change_it(
    expiry: Expiry, payment: Payment
) -> None:
    changes = any(
        decide(payment, event, time_ms=10**6, policy=Policy()).payment is not payment
        for event in (WindowCloses(), HoldEnds())
    )
    assert bool(timers(expiry, payment)) is changes


@given(st.integers(0, 10**13), st.text(max_size=20))
def test_no_text_of_a_client_passes_for_the_time_of_a_payment(time_ms: int, text: str) -> None:
    request = Request("make", f'"time_ms":7,{text}', 100, "EUR")
    payment = Payment(State.COMPLETED, time_ms, request, metadata={"refunded": text})
    assert timers(UNIFORM, payment) == ((time_ms // 10 + 1) * 10 + 100,)
    assert timers(LONGER, payment) == ((time_ms // 10 + 1) * 10 + 500,)


@pytest.mark.parametrize(
    "row", [b"bar", b"{}", b'{"state":"completed","time_ms":x,"y":1}', b'{"state":"other"}']
)
def test_what_is_no_payment_is_an_error(row: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's own is one
        UNIFORM.timers(b"p1", row)
