"""Commands: what they are made of, and the currencies."""

import pytest

from payments.domain.commands import Cancel
from payments.domain.currencies import CURRENCIES


def test_a_command_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Cancel(id="c1").id = "c2"  # type: ignore[misc]  # that is what must fail


def test_currencies_are_iso_4217_codes_with_minor_units() -> None:
    assert {"EUR", "USD", "JPY", "KWD", "CHF"} <= CURRENCIES
    assert not {"XXX", "XTS", "XAU", "XDR", "DEM", "HRK"} & CURRENCIES
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
