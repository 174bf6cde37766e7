"""Settings: what is refused, and why."""

import pytest
from pydantic import ValidationError

from exactstage.limits import Limits
from payments.domain.commands import (
    MAX_AMOUNT,
    MAX_METADATA_BYTES,
    MAX_PART_CHARACTERS,
    Capture,
)
from payments.domain.currencies import CURRENCIES
from payments.domain.payment import MAX_PARTS, Part, Payment, Queued
from payments.domain.payment_table import State
from payments.domain.results import Reason, Request
from payments.gateway.settings import GatewaySettings
from payments.records.internal_codec import encode_payment
from payments.settings import MAX_WAITERS, Settings

LONGEST = "\U0001d11e" * 255  # 255 printable characters of 4 bytes each.


def largest_row(waiters: int) -> bytes:
    """Return the largest row: one command has joined, the others are queued, which takes more."""
    part = LONGEST[:MAX_PART_CHARACTERS]
    capture = Capture(part, MAX_AMOUNT, final=False)
    texts = {f"{number:02}": "x" * (MAX_METADATA_BYTES // 32 - 2) for number in range(32)}
    return encode_payment(
        Payment(
            max(State, key=len),
            10**13,
            Request("authorize", LONGEST, MAX_AMOUNT, "EUR"),
            max(Reason, key=len),
            ((LONGEST, "authorize", False),),
            hold_expires_ms=10**13,
            held=MAX_AMOUNT,
            captured=MAX_AMOUNT,
            refunded=MAX_AMOUNT,
            parts=(Part(part, MAX_AMOUNT, "refund", final=False, whole=False),) * MAX_PARTS,
            queue=(Queued(LONGEST, 10**13, capture),) * (waiters - 1),
            metadata=texts,
        )
    )


@pytest.mark.parametrize("code", ["EUR", "JPY"])
def test_the_default_currency_is_one_that_commands_may_name(code: str) -> None:
    assert Settings(default_currency=code).default_currency in CURRENCIES


@pytest.mark.parametrize("code", ["XXX", "ABC", "eur", "EURO", ""])
def test_any_other_default_currency_is_refused(code: str) -> None:
    with pytest.raises(ValidationError, match="must be a currency code of ISO 4217") as caught:
        Settings(default_currency=code)
    assert caught.value.errors()[0]["loc"] == ("default_currency",)


def test_a_row_with_as_many_longest_waiters_as_may_be_set_fits_into_the_journal() -> None:
    assert LONGEST.isprintable()
    assert len(largest_row(MAX_WAITERS)) <= Limits().row_bytes
    assert len(largest_row(MAX_WAITERS + 1)) > Limits().row_bytes, "MAX_WAITERS may be larger"


def test_quotes_in_ids_take_no_more_room_than_the_longest_characters() -> None:
    def row(own: str) -> bytes:
        return encode_payment(Payment(State.PENDING, 0, None, None, ((own, "make", False),)))

    assert max(len(row(character * 255)) for character in '"\\/\u00e9\U0001d11e') == len(
        row(LONGEST)
    )


@pytest.mark.parametrize("waiters", [0, MAX_WAITERS + 1])
def test_max_waiters_is_bounded(waiters: int) -> None:
    assert Settings().max_waiters == 100
    assert Settings(max_waiters=MAX_WAITERS).max_waiters == MAX_WAITERS
    with pytest.raises(ValidationError, match="max_waiters"):
        Settings(max_waiters=waiters)


def test_a_window_is_not_longer_than_the_retention() -> None:
    assert Settings(retention_seconds=5, window_seconds=5).window_seconds == 5
    with pytest.raises(ValidationError, match=r"PAYMENTS_WINDOW_SECONDS=.* must not exceed"):
        Settings(retention_seconds=5, window_seconds=5.1)


@pytest.mark.parametrize(
    "value", ["1000.00", "1_000", "1e3", "1,000", "\u0665", "0x10", 1000.0, True]
)
def test_a_whole_number_is_written_in_digits_alone(value: object) -> None:
    """Opening balances are in minor units: 1000.00 was taken for 10.00 EUR.

    Amounts of commands are in ``tests/domain/test_commands.py`` and ``tests/cli/test_money.py``.
    """
    for settings, name in ((Settings, "opening_balance"), (GatewaySettings, "max_streams")):
        with pytest.raises(ValidationError, match="must be a whole number, in the digits 0 to 9"):
            settings.model_validate({name: value})


@pytest.mark.parametrize("value", ["1000", " 1000\n", "01000", 1000])
def test_a_whole_number_may_have_spaces_around_it(value: object) -> None:
    assert Settings.model_validate({"opening_balance": value}).opening_balance == 1000
