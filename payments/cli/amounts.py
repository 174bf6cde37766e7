"""The amount of a payment as options: in major units, or in minor units."""

import re

import click

MAJOR, MINOR = "'--amount'", "'--amount-minor'"
_ONCE = f"give the amount once: {MAJOR} in major units or {MINOR} in minor units"


def amount_of(amount: str | None, amount_minor: str | None, currency: str) -> int:
    """Return the minor units that one of the two options gives; raises ``click.UsageError``."""
    if (amount is None) == (amount_minor is None):
        raise click.UsageError(_ONCE)
    return _minor(str(amount_minor)) if amount is None else _major(amount, currency)


def require_at_most_one(amount: str | None, amount_minor: str | None) -> None:
    """Raise ``click.UsageError`` where both options are given."""
    if amount is not None and amount_minor is not None:
        raise click.UsageError(_ONCE)


def currency_of(context: click.Context, option: click.Parameter, code: str | None) -> str | None:
    """Return the value of ``--currency``; raises ``click.BadParameter`` for no currency."""
    from payments.domain.currencies import CURRENCIES, CURRENCY_RULE

    if code is not None and code not in CURRENCIES:
        raise click.BadParameter(f"{code!r} {CURRENCY_RULE}", context, option)
    return code


def _major(text: str, currency: str) -> int:
    from payments.domain.money import minor_units

    try:
        return minor_units(text, currency)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=MAJOR) from error


def _minor(text: str) -> int:
    from payments.domain.commands import MAX_AMOUNT

    if not re.fullmatch(r"[0-9]{1,16}", text) or not 1 <= int(text) <= MAX_AMOUNT:
        message = f"{text!r} is no whole number of minor units, 1 to 10^15, in the digits 0 to 9"
        raise click.BadParameter(message, param_hint=MINOR)
    return int(text)
