"""Money as people read and write it: in major units, with the decimals of its currency.

Programs exchange whole numbers of minor units, with the exponent of ``currencies``. This module is
the only place that converts them to text and back.
"""

import re

from payments.domain.commands import MAX_AMOUNT
from payments.domain.currencies import CURRENCY_RULE, EXPONENTS

_WRITTEN = re.compile(r"[0-9]+(?:\.([0-9]+))?")
_LONGEST = 40


def money_text(minor: int, currency: str) -> str:
    """Return an amount for a person: ``1,999.00 EUR``, ``1,999 JPY``, ``-1.999 KWD``.

    A currency that ISO 4217 has withdrawn is shown in minor units, with the words "minor units".
    """
    if currency not in EXPONENTS:
        return f"{minor:,} minor units of {currency}"
    return f"{_decimal(minor, EXPONENTS[currency], ',')} {currency}"


def money_decimal(minor: int, currency: str) -> str | None:
    """Return an amount as a decimal number for a program, ``1999.00``; None without an exponent.

    As text it keeps all digits where numbers are 64-bit floats, as in JavaScript and jq 1.6: they
    are exact up to 2^53 only, and a balance may be up to 10^18.
    """
    exponent = EXPONENTS.get(currency)
    return None if exponent is None else _decimal(minor, exponent, "")


def minor_units(text: str, currency: str, *, most: int = MAX_AMOUNT) -> int:
    """Return the minor units of an amount in major units, ``19.99``.

    The text has the digits 0 to 9: a whole number (``20`` is 20.00 EUR), or one with a point before
    exactly as many decimals as the currency has. ``most`` is the largest number of minor units.
    Raises ``ValueError`` with the rule that the text breaks.
    """
    if currency not in EXPONENTS:
        raise ValueError(f"currency {_shortened(currency)} {CURRENCY_RULE}")
    exponent = EXPONENTS[currency]
    example = _decimal(1999, exponent, "")
    written = _WRITTEN.fullmatch(text)
    if written is None:
        point = " and a point before the decimals" if exponent else ""
        message = (
            f"{_shortened(text)} is no amount: write the digits 0 to 9{point}, as in {example}; "
            "no comma, space, sign, underscore or power of ten"
        )
        raise ValueError(message)
    decimals = len(written[1] or "")
    if decimals not in {0, exponent}:
        raise ValueError(_precision(text, currency, decimals))
    digits = text.replace(".", "") + "0" * (exponent - decimals)
    minor = int(digits) if len(digits) <= _LONGEST else most + 1
    if minor < 1:
        raise ValueError(f"the amount must be at least {money_text(1, currency)}")
    if minor > most:
        raise ValueError(f"the amount must be at most {money_text(most, currency)}")
    return minor


def _precision(text: str, currency: str, decimals: int) -> str:
    """Return why a number of decimals is refused, and what to write."""
    exponent, shown = (
        EXPONENTS[currency],
        text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...",
    )
    if exponent == 0:
        return f"{currency} has no decimals: {shown} can't be paid in it"
    if decimals > exponent:
        return f"{currency} has {exponent} decimals: {shown} can't be paid in it"
    padded = f"{shown}{'0' * (exponent - decimals)}"
    return f"{currency} has {exponent} decimals: write all of them, {padded}, or none"


def _decimal(minor: int, exponent: int, separator: str) -> str:
    whole, part = divmod(abs(minor), 10**exponent)
    text = f"{whole:{separator}}"
    return f"{'-' if minor < 0 else ''}{text}" + (f".{part:0{exponent}d}" if exponent else "")


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
