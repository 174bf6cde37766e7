"""Commands: made in code, they keep the rules of their fields."""

import pytest
from pydantic import ValidationError

from payments.domain.commands import Cancel, Make
from payments.domain.currencies import CURRENCIES


def test_a_command_made_in_code_needs_a_currency_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="currency"):
        Make(account="abc", amount=100)
    with pytest.raises(ValidationError, match="frozen"):
        Cancel(id="c1").id = "c2"  # type: ignore[misc]  # that is what must fail


def test_currencies_are_iso_4217_codes_with_minor_units() -> None:
    assert {"EUR", "USD", "JPY", "KWD", "CHF"} <= CURRENCIES
    assert not {"XXX", "XTS", "XAU", "XDR", "DEM", "HRK"} & CURRENCIES
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
