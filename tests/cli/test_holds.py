"""Authorize, capture, void and refund on the command line: what they print, and their exit codes.

Amounts of makes and deposits are in ``test_money.py``, the exit codes of all in ``docs/cli.md``.
"""

import json

import pytest

from payments.records.record_models import OF_A_LIFE, Result

from .conftest import Embedded, run

NOBODY = "127.0.0.1:1"
HOLD = ("authorize", "p1", "--account", "abc", "--amount", "100.00")
UNTIL = "2026-01-08T00:00:00.000Z"


def test_a_payment_is_held_captured_in_parts_and_refunded(embedded: Embedded) -> None:
    part = ("capture", "p1", "--amount", "60.00", "--capture", "c1", "--not-final")
    ended = [
        embedded.run(*HOLD),
        embedded.run(*HOLD),
        embedded.run("account", "abc"),
        embedded.run(*part),
        embedded.run(*part),
        embedded.run("refund", "p1", "--refund", "r1", "--amount-minor", "2000"),
        embedded.run("get", "p1"),
        embedded.run("void", "p1"),
        embedded.run("cancel", "p1"),
    ]
    assert [(one.exit_code, one.stdout, one.stderr) for one in ended] == [
        (0, f"p1: authorized 100.00 EUR account abc: held 100.00 EUR until {UNTIL}\n", ""),
        (
            0,
            f"p1: authorized 100.00 EUR account abc: held 100.00 EUR until {UNTIL} [replayed]\n",
            "",
        ),
        (0, "abc: 1,000.00 EUR, held 100.00 EUR, available 900.00 EUR\n", ""),
        (
            0,
            (
                "p1: captured part c1 (60.00 EUR) of 100.00 EUR account abc: captured 60.00 EUR, "
                f"held 40.00 EUR until {UNTIL}\n"
            ),
            "",
        ),
        (
            0,
            (
                "p1: captured part c1 (60.00 EUR) of 100.00 EUR account abc: captured 60.00 EUR, "
                f"held 40.00 EUR until {UNTIL} [replayed]\n"
            ),
            "",
        ),
        (
            0,
            (
                "p1: refunded part r1 (20.00 EUR) of 100.00 EUR account abc: captured 60.00 EUR, "
                f"refunded 20.00 EUR, held 40.00 EUR until {UNTIL}\n"
            ),
            "",
        ),
        (
            0,
            (
                "p1: found 100.00 EUR account abc state authorized: captured 60.00 EUR, "
                f"refunded 20.00 EUR, held 40.00 EUR until {UNTIL}\n"
            ),
            "",
        ),
        (
            0,
            (
                "p1: voided (voided) 100.00 EUR account abc: captured 60.00 EUR, "
                "refunded 20.00 EUR\n"
            ),
            "",
        ),
        (
            0,
            (
                "p1: cancelled (rolled_back) 100.00 EUR account abc: captured 60.00 EUR, "
                "refunded 60.00 EUR\n"
            ),
            "",
        ),
    ]


def test_json_has_the_amounts_and_the_metadata(embedded: Embedded) -> None:
    noted = ("--metadata", "order=7", "--metadata", "note=a=b, c")
    shown = embedded.run(*HOLD, *noted, "--hold-seconds", "60", "--json")
    result = json.loads(shown.stdout)
    assert {name: result[name] for name in OF_A_LIFE if name in result} == {
        "authorized": 10_000,
        "captured": 0,
        "refunded": 0,
        "held": 10_000,
        "hold_expires": "2026-01-01T00:01:00.000Z",
        "metadata": {"order": "7", "note": "a=b, c"},
    }
    captured = json.loads(embedded.run("capture", "p1", "--json").stdout)
    assert (captured["part"], captured["captured"], captured["held"]) == ("final", 10_000, 0)
    assert captured["part_amount"] == 10_000
    made = ("make", "m1", "--account", "abc", "--amount", "1.00", "--json")
    assert not set(json.loads(embedded.run(*made).stdout)) & set(OF_A_LIFE)


@pytest.mark.parametrize(
    ("arguments", "outcome", "reason"),
    [
        (("authorize", "p2", "--account", "abc", "--amount", "900.01"), "declined", "insufficient"),
        (("authorize", "gone", *HOLD[2:]), "cancelled", "prevented"),
        (("capture", "p1", "--amount", "100.01"), "rejected", "over_capture"),
        (("capture", "nobody"), "rejected", "unknown_payment"),
        (("capture", "made"), "rejected", "not_authorized"),
        (("void", "made"), "rejected", "not_authorized"),
        (("refund", "p1", "--refund", "r1"), "rejected", "nothing_captured"),
        (("refund", "made", "--refund", "r1", "--amount", "0.02"), "rejected", "over_refund"),
    ],
)
def test_what_was_not_done_is_exit_code_3(
    embedded: Embedded, arguments: tuple[str, ...], outcome: str, reason: str
) -> None:
    embedded.run("void", "gone")
    embedded.run("make", "made", "--account", "other", "--amount", "0.01")
    embedded.run(*HOLD)
    ended = embedded.run(*arguments)
    assert (ended.exit_code, ended.stderr.count("\n")) == (3, 1)
    assert f": {outcome} ({reason}" in ended.stdout


def test_an_amount_is_in_the_currency_of_its_payment(embedded: Embedded) -> None:
    """With the default currency, 1000.00 of a payment in JPY would be taken for 100,000 JPY."""
    yen = ("--account", "yen", "--currency", "JPY")
    embedded.run("deposit", "in", *yen, "--amount", "5000")
    embedded.run("authorize", "p1", *yen, "--amount", "3000")
    refused = embedded.run("capture", "p1", "--amount", "1000.00")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "JPY has no decimals: 1000.00 can't be paid in it" in refused.stderr
    captured = embedded.run("capture", "p1", "--amount", "1000", "--json")
    assert Result.model_validate_json(captured.stdout).captured == 1000
    refunded = embedded.run("refund", "p1", "--refund", "r1", "--amount", "400", "--json")
    assert Result.model_validate_json(refunded.stdout).refunded == 400
    missing = embedded.run("capture", "nobody", "--amount", "1.00")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith("Error: there is no payment nobody: ")
    assert missing.stderr.endswith("; nothing was sent\n")
    commands = embedded.bed.records("payments.commands")
    assert [record.value for record in commands if record.key == b"nobody"][1:] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("capture", "p", "--not-final"), "'--capture'"),
        (("capture", "p", "--capture", ""), "1 to 64 characters"),
        (("capture", "p", "--amount", "1", "--amount-minor", "100"), "give the amount once"),
        (("capture", "p", "--amount-minor", "0"), "'--amount-minor'"),
        (("refund", "p"), "'--refund'"),
        (("refund", "p", "--refund", "r" * 65), "1 to 64 characters"),
        (("authorize", "p", "--account", "abc"), "give the amount once"),
        ((*HOLD, "--hold-seconds", "0"), "from 1 to 31536000"),
        ((*HOLD, "--hold-seconds", "1.5"), "'--hold-seconds'"),
        ((*HOLD, "--metadata", "order"), "'order' is not KEY=VALUE"),
        ((*HOLD, "--metadata", "=7"), "'=7' is not KEY=VALUE"),
        ((*HOLD, "--metadata", "a=1", "--metadata", "a=2"), "'a' is given twice"),
        ((*HOLD, "--metadata", f"a={'x' * 4096}"), "has 4097 bytes"),
    ],
)
def test_a_malformed_argument_is_a_usage_error(
    embedded: Embedded, arguments: tuple[str, ...], told: str
) -> None:
    failed = embedded.run(*arguments)
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert told in " ".join(failed.stderr.split())
    assert embedded.bed.records("payments.commands") == []


@pytest.mark.parametrize(
    "arguments",
    [HOLD, ("capture", "p", "--amount", "1.00"), ("void", "p"), ("refund", "p", "--refund", "r")],
)
def test_no_broker_is_exit_code_69(arguments: tuple[str, ...]) -> None:
    failed = run(*arguments, "--deadline", "0.3", PAYMENTS_BROKERS=NOBODY)
    assert (failed.exit_code, failed.stdout) == (69, "")


def test_text_that_python_could_not_read_in_its_locale_is_utf_8(embedded: Embedded) -> None:
    """As of the ids of payments and accounts: without a locale Python takes ASCII."""
    unread = "\udcc3\udca9"
    embedded.run(*HOLD, "--metadata", f"{unread}={unread}")
    captured = embedded.run("capture", "p1", "--capture", unread, "--json")
    result = Result.model_validate_json(captured.stdout)
    assert (result.part, result.metadata) == ("\u00e9", {"\u00e9": "\u00e9"})


def test_a_lapsed_hold_is_shown_and_a_void_of_it_is_done(embedded: Embedded) -> None:
    embedded.run(*HOLD, "--hold-seconds", "60")
    embedded.do(embedded.bed.advance(60 + embedded.bed.settings.window_seconds))
    found, void = embedded.run("get", "p1"), embedded.run("void", "p1")
    assert found.stdout == "p1: found (hold_expired) 100.00 EUR account abc state lapsed\n"
    assert void.stdout == "p1: lapsed (hold_expired) 100.00 EUR account abc [replayed]\n"
    late = embedded.run("capture", "p1")
    assert (found.exit_code, void.exit_code, late.exit_code) == (0, 0, 3)
    assert late.stderr == "the hold has ended; a new payment id is needed\n"


def test_a_counter_account_shows_the_opposite_of_what_is_held(embedded: Embedded) -> None:
    embedded.run(*HOLD)
    [entry, *_] = embedded.run(
        "account", "abc", "--entries", "--after", "1", "--json"
    ).stdout.splitlines()
    sales = json.loads(entry)["counter_account"]
    assert embedded.run("account", sales).stdout == f"{sales}: 0.00 EUR, held -100.00 EUR\n"
    shown = json.loads(embedded.run("account", sales, "--json").stdout)
    assert shown == {
        "account": sales,
        "balance": 0,
        "currency": "EUR",
        "exponent": 2,
        "balance_decimal": "0.00",
        "held": -10_000,
        "held_decimal": "-100.00",
    }


def test_entries_of_an_account_with_holds_show_what_is_held_and_available(
    embedded: Embedded,
) -> None:
    embedded.run(*HOLD)
    embedded.run("capture", "p1", "--amount", "60.00")
    table = embedded.run("account", "abc", "--entries").stdout.splitlines()
    assert " HELD CHANGE  HELD    AVAILABLE  CURRENCY" in table[0]
    assert table[2].split()[2:] == [
        *("hold", "p1", "0.00", "1,000.00", "100.00", "100.00", "900.00", "EUR")
    ]
    assert table[3].split()[2:] == [
        *("capture", "p1", "-60.00", "940.00", "-100.00", "0.00", "940.00", "EUR")
    ]
