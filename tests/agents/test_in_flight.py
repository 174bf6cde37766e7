"""Payments kept decoded while they are in flight: never anything but what the journal has."""

import pytest

from payments.domain.payment import Payment
from payments.domain.payment_table import State
from payments.records.internal_codec import encode_payment
from payments.stages import payments
from payments.stages.payments import InFlight

PENDING, COMPLETED = Payment(State.PENDING, 1), Payment(State.COMPLETED, 2)
ROW = encode_payment(PENDING)


def test_a_payment_is_found_as_it_was_stored_while_the_journal_has_that_very_row() -> None:
    held = InFlight()
    held.put(b"k", ROW, PENDING)
    assert held.get(b"k", ROW) is PENDING


def test_another_row_is_decoded_although_one_is_kept() -> None:
    held = InFlight()
    held.put(b"k", ROW, PENDING)
    assert held.get(b"k", encode_payment(COMPLETED)) == COMPLETED
    assert held.get(b"other", ROW) == PENDING


def test_a_row_that_is_gone_is_gone_although_one_is_kept() -> None:
    held = InFlight()
    held.put(b"k", ROW, PENDING)
    assert held.get(b"k", None) is None


def test_so_many_payments_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payments, "MAX_IN_FLIGHT", 3)
    held = InFlight()
    for number in range(10):
        held.put(b"%d" % number, ROW, PENDING)
        assert len(held._held) <= 3


def test_a_payment_that_is_forgotten_is_decoded() -> None:
    held = InFlight()
    held.put(b"k", ROW, PENDING)
    held.forget(b"k")
    held.forget(b"never-kept")
    found = held.get(b"k", ROW)
    assert found == PENDING
    assert found is not PENDING
