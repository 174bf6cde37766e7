"""Payments kept decoded while they are in flight: never anything but what the journal has."""

import pytest

from exactstage import partition_of
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


def test_so_many_payments_are_kept_decoded_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payments, "MAX_IN_FLIGHT", 3)
    held = InFlight()
    for number in range(10):
        held.put(b"%d" % number, ROW, PENDING)
    found = [held.get(b"%d" % number, ROW) for number in range(10)]
    assert found == [PENDING] * 10
    assert sum(payment is PENDING for payment in found) == 3


def test_all_that_wait_are_counted_and_the_oldest_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payments, "MAX_IN_FLIGHT", 1)
    held = InFlight()
    assert held.waiting() == (0, None)
    for number, time_ms in enumerate([30, 10, 20]):
        payment = Payment(State.PENDING, time_ms)
        held.put(b"%d" % number, encode_payment(payment), payment)
    assert held.waiting() == (3, 10)
    held.forget(b"1")
    assert held.waiting() == (2, 20)


def test_those_of_a_partition_that_is_given_up_are_dropped() -> None:
    held = InFlight()
    keys = [b"%d" % number for number in range(20)]
    for key in keys:
        held.put(key, ROW, PENDING)
    held.released(1, 4)
    kept = [key for key in keys if held.get(key, ROW) is PENDING]
    assert kept == [key for key in keys if partition_of(key, 4) != 1]
    assert held.waiting().payments == len(kept) < len(keys)


def test_a_payment_that_is_forgotten_is_decoded() -> None:
    held = InFlight()
    held.put(b"k", ROW, PENDING)
    held.forget(b"k")
    held.forget(b"never-kept")
    found = held.get(b"k", ROW)
    assert found == PENDING
    assert found is not PENDING
