"""Money as people read and write it, and the table of currencies behind it.

Of the same kind, where they are covered: the command's options and output in
``tests/cli/test_money.py``, messages over HTTP in ``tests/gateway/test_known_faults.py``, messages
in results in ``test_payment.py``, the audit's in ``tests/verify/test_shown_money.py``.
"""

import re
from pathlib import Path

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.domain.commands import MAX_AMOUNT
from payments.domain.currencies import CURRENCIES, EXPONENTS, PUBLISHED
from payments.domain.money import minor_units, money_decimal, money_text


def test_the_table_is_the_newest_list_of_the_standard() -> None:
    assert iso4217.__published__.isoformat() == PUBLISHED, "ISO 4217 has a newer list: compare"
    listed = {currency.code: currency.exponent for currency in iso4217.Currency}
    assert {code: n for code, n in listed.items() if n is not None} == EXPONENTS


@pytest.mark.parametrize("code", ["XXX", "XTS", "XAU", "XDR", "XBA", "BGN", "eur", "EURO", ""])
def test_what_has_no_minor_units_or_is_no_code_is_no_currency(code: str) -> None:
    assert code not in CURRENCIES
    with pytest.raises(ValueError, match="currency code of ISO 4217 with minor units"):
        minor_units("1.00", code)


@pytest.mark.parametrize(
    ("minor", "currency", "text", "decimal"),
    [
        (1999, "EUR", "19.99 EUR", "19.99"),
        (199_900, "EUR", "1,999.00 EUR", "1999.00"),
        (5, "EUR", "0.05 EUR", "0.05"),
        (0, "EUR", "0.00 EUR", "0.00"),
        (-5, "EUR", "-0.05 EUR", "-0.05"),
        (-199_900, "EUR", "-1,999.00 EUR", "-1999.00"),
        (1999, "JPY", "1,999 JPY", "1999"),
        (1999, "KWD", "1.999 KWD", "1.999"),
        (500, "KWD", "0.500 KWD", "0.500"),
        (1999, "CLF", "0.1999 CLF", "0.1999"),
        (12_345_678, "UYW", "1,234.5678 UYW", "1234.5678"),
        (2**53 + 1, "EUR", "90,071,992,547,409.93 EUR", "90071992547409.93"),
        (10**18, "JPY", "1,000,000,000,000,000,000 JPY", "1000000000000000000"),
        (1999, "BGN", "1,999 minor units of BGN", None),
    ],
)
def test_money_is_shown_with_the_decimals_of_its_currency(
    minor: int, currency: str, text: str, decimal: str | None
) -> None:
    assert (money_text(minor, currency), money_decimal(minor, currency)) == (text, decimal)


@given(st.integers(1, MAX_AMOUNT), st.sampled_from(sorted(CURRENCIES)))
def test_what_is_shown_can_be_entered(minor: int, currency: str) -> None:
    assert minor_units(money_decimal(minor, currency) or "", currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("20", "EUR", 2000), ("1999", "EUR", 199_900), ("1999", "JPY", 1999), ("2", "KWD", 2000)],
)
def test_a_whole_number_is_in_major_units(text: str, currency: str, minor: int) -> None:
    assert minor_units(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "rule"),
    [
        ("19.99", "JPY", "JPY has no decimals: 19.99 can't be paid in it"),
        ("19.999", "EUR", "EUR has 2 decimals: 19.999 can't be paid in it"),
        ("1.9999", "KWD", "KWD has 3 decimals: 1.9999 can't be paid in it"),
        ("19.9", "EUR", "EUR has 2 decimals: write all of them, 19.90, or none"),
        ("1.99", "KWD", "KWD has 3 decimals: write all of them, 1.990, or none"),
        ("10000000000001", "EUR", "the amount must be at most 10,000,000,000,000.00 EUR"),
        ("0.00", "EUR", "the amount must be at least 0.01 EUR"),
        ("0", "JPY", "the amount must be at least 1 JPY"),
        ("10000000000000.01", "EUR", "the amount must be at most 10,000,000,000,000.00 EUR"),
        ("9" * 5000, "JPY", "the amount must be at most 1,000,000,000,000,000 JPY"),
    ],
)
def test_another_precision_or_size_is_refused_by_the_rule_of_the_currency(
    text: str, currency: str, rule: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        minor_units(text, currency)


def test_a_caller_may_allow_more_than_the_largest_amount() -> None:
    assert minor_units("10000000000000000", "EUR", most=10**18) == 10**18
    with pytest.raises(ValueError, match=r"at most 10,000,000,000,000,000\.00 EUR$"):
        minor_units("10000000000000000.01", "EUR", most=10**18)
    with pytest.raises(ValueError, match=r"at most 10,000,000,000,000,000\.00 EUR$"):
        minor_units("9" * 5000, "EUR", most=10**18)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "19,99", "1,999.00", "1.999,00", "1e3", "1E2", "1_000.00", "+5.00", "-5.00"),
        *(" 5.00", "5.00 ", "5.00\n", ".50", "5.", "5..0", "0x10", "inf", "nan", "EUR 5.00"),
        *("5.00 EUR", "\u06f5.\u06f0\u06f0", "\uff15.00", "\u00bd", "1\u00a0000.00", "1'000.00"),
    ],
)
def test_another_way_to_write_a_number_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no amount: write the digits 0 to 9 .* as in 19\.99"):
        minor_units(text, "EUR")


def test_the_page_about_money_is_of_this_table_and_its_code_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "money.md").read_text(encoding="utf-8")
    assert PUBLISHED in page
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, {})  # noqa: S102 - our own page
