"""Amounts on the command line: entered and shown as people write them, exact for programs.

The rules of the amounts themselves are in ``tests/domain/test_money.py``.
"""

import json
import shutil
import subprocess

import pytest

from .conftest import Embedded, run

TO = ("--account", "abc")
NOBODY = "127.0.0.1:1"
JQ, NODE = shutil.which("jq"), shutil.which("node")
LARGE = 2**53 + 1


@pytest.mark.parametrize(
    ("amount", "minor", "currency", "shown"),
    [
        ("19.99", "1999", "EUR", "19.99 EUR"),
        ("1999.00", "199900", "EUR", "1,999.00 EUR"),
        ("20", "2000", "EUR", "20.00 EUR"),
        ("1999", "1999", "JPY", "1,999 JPY"),
        ("1.999", "1999", "KWD", "1.999 KWD"),
        ("0.1999", "1999", "CLF", "0.1999 CLF"),
    ],
)
def test_an_amount_is_entered_either_way_and_shown_in_major_units(
    embedded: Embedded, amount: str, minor: str, currency: str, shown: str
) -> None:
    to = ("--account", f"in-{currency}", "--currency", currency)
    first = embedded.run("deposit", "d-1", *to, "--amount", amount)
    assert first.stdout == f"d-1: completed {shown} account in-{currency}\n"
    again = embedded.run("deposit", "d-1", *to, "--amount-minor", minor, "--json")
    result = json.loads(again.stdout)
    assert (result["replayed"], result["amount"]) == (True, int(minor))
    assert result["exponent"] == len(shown.split(maxsplit=1)[0].partition(".")[2])


def test_the_default_currency_is_that_of_the_settings(embedded: Embedded) -> None:
    asked = ("deposit", "d", *TO, "--amount", "19.99")
    failed = run(*asked, PAYMENTS_DEFAULT_CURRENCY="JPY", PAYMENTS_BROKERS=NOBODY)
    assert failed.exit_code == 2
    assert "JPY has no decimals: 19.99 can't be paid in it" in failed.stderr


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (("--amount", "19.9"), "EUR has 2 decimals: write all of them, 19.90, or none"),
        (("--amount", "19.999"), "EUR has 2 decimals: 19.999 can't be paid in it"),
        (("--amount", "19,99"), "as in 19.99; no comma"),
        (("--amount", "1e3"), "power of ten"),
        (("--amount", "+5.00"), "sign"),
        (("--amount", "-5.00"), "sign"),
        (("--amount", " 5.00"), "space"),
        (("--amount", "5.00", "--currency", "XAU"), "currency code of ISO 4217 with minor units"),
        (("--amount", "5.00", "--currency", "eur"), "currency code of ISO 4217 with minor units"),
        (("--amount", "5.00", "--amount-minor", "500"), "give the amount once"),
        ((), "give the amount once"),
        (("--amount-minor", "1.5"), "no whole number of minor units"),
        (("--amount-minor", "1_000"), "no whole number of minor units"),
        (("--amount-minor", "+5"), "no whole number of minor units"),
        (("--amount-minor", "\uff15"), "no whole number of minor units"),
        (("--amount-minor", "0"), "no whole number of minor units"),
        (("--amount-minor", str(10**15 + 1)), "no whole number of minor units"),
    ],
)
@pytest.mark.parametrize("command", ["make", "deposit"])
def test_any_other_amount_is_a_usage_error_before_anything_is_sent(
    command: str, amount: tuple[str, ...], told: str
) -> None:
    failed = run(command, "p", *TO, *amount, PAYMENTS_BROKERS=NOBODY)
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert told in " ".join(failed.stderr.split())


def test_another_amount_is_refused_in_major_units(embedded: Embedded) -> None:
    embedded.run("make", "p", *TO, "--amount", "1.00")
    refused = embedded.run("make", "p", *TO, "--amount", "0.99")
    assert refused.exit_code == 3
    assert refused.stderr == "the payment's amount is 1.00 EUR, not 0.99 EUR\n"


def test_a_balance_over_2_to_53_keeps_its_digits_as_text(embedded: Embedded) -> None:
    for number in range(9):
        embedded.run("deposit", f"d-{number}", *TO, "--amount-minor", str(10**15))
    embedded.run("deposit", "last", *TO, "--amount-minor", str(LARGE - 9 * 10**15 - 100_000))
    assert embedded.run("account", "abc").stdout == "abc: 90,071,992,547,409.93 EUR\n"
    balance = embedded.run("account", "abc", "--json").stdout
    entry = embedded.run("account", "abc", "--entries", "--after", "10", "--json").stdout
    for document in (balance, entry):
        assert json.loads(document)["balance"] == LARGE
        assert json.loads(document)["balance_decimal"] == "90071992547409.93"
        if JQ:
            shown = subprocess.run(
                [JQ, "-r", ".balance_decimal"],
                input=document,
                capture_output=True,
                text=True,
                check=True,
            )
            assert shown.stdout == "90071992547409.93\n"
        if NODE:
            code = "process.stdout.write(JSON.parse(require('fs').readFileSync(0)).balance_decimal)"
            shown = subprocess.run(
                [NODE, "-e", code], input=document, capture_output=True, text=True, check=True
            )
            assert shown.stdout == "90071992547409.93"


def test_a_counter_account_has_a_balance_for_each_currency(embedded: Embedded) -> None:
    # The account's partition is that of its counter-accounts.
    embedded.run("deposit", "d-1", *TO, "--amount", "5.00")
    embedded.run("deposit", "d-2", "--account", "abc-2", "--currency", "JPY", "--amount", "5")
    entries = embedded.run("account", "abc", "--entries", "--json").stdout.splitlines()
    world = json.loads(entries[-1])["counter_account"]
    shown = embedded.run("account", world)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert f"{world}: -1,005.00 EUR" in shown.stdout.splitlines()
    [first, *_] = embedded.run("account", world, "--json").stdout.splitlines()
    assert json.loads(first) == {
        "account": world,
        "balance": -100_500,
        "currency": "EUR",
        "exponent": 2,
        "balance_decimal": "-1005.00",
        "held": 0,
        "held_decimal": "0.00",
    }
    missing = embedded.run("account", "world/4095")
    assert (missing.exit_code, missing.stderr) == (3, "there is no account world/4095\n")
    refused = embedded.run("account", world, "--entries")
    assert refused.exit_code == 2
    assert "counter-account" in refused.stderr
