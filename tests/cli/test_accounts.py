"""The commands for accounts on the command line: what they print, and their exit codes.

Balances and entries are in ``test_payments.py``, ``test_holds.py`` and ``test_money.py``.
"""

import json

import pytest

from payments.records.record_models import AccountResult

from .conftest import Embedded, run

NOBODY = "127.0.0.1:1"
MAKE = ("make", "p1", "--account", "abc", "--amount", "50.00")


def test_an_account_is_opened_limited_frozen_and_closed(embedded: Embedded) -> None:
    ended = [
        embedded.run("account", "open", "abc", "--credit-limit", "50.00"),
        embedded.run("account", "open", "abc", "--credit-limit-minor", "5000"),
        embedded.run(*MAKE),
        embedded.run("account", "limit", "abc", "--credit-limit", "70"),
        embedded.run("account", "freeze", "abc"),
        embedded.run("account", "freeze", "abc"),
        embedded.run("account", "abc"),
        embedded.run("account", "show", "abc"),
        embedded.run("account", "unfreeze", "abc"),
        embedded.run("account", "abc"),
    ]
    limited = "-50.00 EUR, credit limit 70.00 EUR, available 20.00 EUR"
    opened = "0.00 EUR, credit limit 50.00 EUR, available 50.00 EUR"
    assert [(one.exit_code, one.stdout, one.stderr) for one in ended] == [
        (0, f"abc: completed open, {opened}\n", ""),
        (0, f"abc: completed open, {opened} [replayed]\n", ""),
        (0, "p1: completed 50.00 EUR account abc\n", ""),
        (0, f"abc: completed open, {limited}\n", ""),
        (0, f"abc: completed frozen, {limited}\n", ""),
        (0, f"abc: completed frozen, {limited} [replayed]\n", ""),
        (0, f"abc: {limited}, frozen\n", ""),
        (0, f"abc: {limited}, frozen\n", ""),
        (0, f"abc: completed open, {limited}\n", ""),
        (0, f"abc: {limited}\n", ""),
    ]
    embedded.run("deposit", "in", "--account", "abc", "--amount", "50.00")
    assert embedded.run("account", "limit", "abc", "--credit-limit", "0").exit_code == 0
    closed = embedded.run("account", "close", "abc")
    assert (closed.exit_code, closed.stdout) == (0, "abc: completed closed, 0.00 EUR\n")
    declined = embedded.run(*MAKE[:1], "p2", *MAKE[2:])
    assert declined.exit_code == 3
    assert declined.stderr == "payment p2 is declined: account abc is closed; no money was moved\n"


def test_json_is_the_result(embedded: Embedded) -> None:
    shown = embedded.run("account", "open", "abc", "--currency", "JPY", "--id", "c1", "--json")
    result = AccountResult.model_validate_json(shown.stdout)
    assert (result.command, result.status, result.currency) == ("c1", "open", "JPY")
    assert list(json.loads(shown.stdout)) == list(AccountResult.model_fields)


@pytest.mark.parametrize(
    ("arguments", "reason", "told"),
    [
        (("freeze", "nobody"), "(unknown_account)", "there is no account nobody"),
        (("close", "abc"), "(not_zero)", "account abc is at 950.00 EUR"),
        (("open", "abc", "--currency", "JPY"), "(wrong_currency)", "is kept in EUR"),
        (("open", "abc", "--credit-limit", "5.00"), "(different_limit)", "change it with limit"),
    ],
)
def test_what_is_not_carried_out_is_exit_code_3_with_the_reason(
    embedded: Embedded, arguments: tuple[str, ...], reason: str, told: str
) -> None:
    embedded.run(*MAKE)
    shown = embedded.run("account", *arguments)
    assert shown.exit_code == 3
    assert f"rejected {reason}" in shown.stdout
    assert told in shown.stderr


def test_a_limit_is_in_the_currency_of_the_account(embedded: Embedded) -> None:
    embedded.run("account", "open", "yen", "--currency", "JPY")
    assert embedded.run("account", "limit", "yen", "--credit-limit", "1999").stdout == (
        "yen: completed open, 0 JPY, credit limit 1,999 JPY, available 1,999 JPY\n"
    )
    wrong = embedded.run("account", "limit", "yen", "--credit-limit", "19.99")
    assert wrong.exit_code == 2
    assert "JPY has no decimals" in wrong.stderr
    nobody = embedded.run("account", "limit", "nobody", "--credit-limit", "5.00")
    assert (nobody.exit_code, nobody.stdout) == (3, "")
    assert nobody.stderr == "Error: there is no account nobody; nothing was changed\n"


@pytest.mark.parametrize("command", ["open", "limit"])
def test_a_limit_may_be_as_large_as_a_balance(embedded: Embedded, command: str) -> None:
    if command == "limit":
        embedded.run("account", "open", "abc")
    largest = "10000000000000000.00"
    shown = embedded.run("account", command, "abc", "--credit-limit", largest, "--json")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["credit_limit"] == 10**18
    larger = embedded.run("account", command, "abc", "--credit-limit", "10000000000000000.01")
    assert larger.exit_code == 2
    assert "at most 10,000,000,000,000,000.00 EUR" in larger.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("limit", "abc"), "give the limit once"),
        (("limit", "abc", "--credit-limit", "5", "--credit-limit-minor", "5"), "limit once"),
        (("open", "abc", "--credit-limit", "-5"), "is no amount"),
        (("open", "abc", "--credit-limit-minor", "5.0"), "no whole number of minor units"),
        (("open", "abc", "--credit-limit-minor", "1000000000000000001"), "0 to 10^18"),
        (("open", "abc", "--currency", "euro"), "euro"),
        (("freeze",), "Missing argument 'ACCOUNT'"),
        (("frezee", "abc"), "No such command 'frezee'. Did you mean freeze"),
    ],
)
def test_a_usage_error_sends_nothing(arguments: tuple[str, ...], told: str) -> None:
    refused = run("account", *arguments, PAYMENTS_BROKERS=NOBODY)
    assert refused.exit_code == 2
    assert told in refused.stderr


def test_without_a_broker_nothing_was_sent() -> None:
    away = run("account", "freeze", "abc", "--deadline", "0.5", PAYMENTS_BROKERS=NOBODY)
    assert (away.exit_code, away.stdout) == (69, "")


def test_a_space_at_an_end_of_a_name_is_seen_where_there_is_no_such_account(
    embedded: Embedded,
) -> None:
    missing = embedded.run("account", "abc ")
    assert (missing.exit_code, missing.stderr) == (3, 'there is no account "abc "\n')


def test_an_account_with_the_name_of_a_command_is_shown_too(embedded: Embedded) -> None:
    embedded.run("deposit", "in", "--account", "open", "--amount", "5.00")
    assert embedded.run("account", "show", "open").stdout == "open: 1,005.00 EUR\n"
    assert embedded.run("account", "--json", "open").exit_code == 0
