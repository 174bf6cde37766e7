"""The commands for payments and accounts: what they print where, and their exit codes."""

import json
import threading
from typing import Any

import pytest

from payments.cli import options
from payments.dead_letters import reading
from payments.records.record_models import LedgerEntry, Result

from .conftest import OPENING, Embedded, run

NOBODY = "127.0.0.1:1"
MAKE = ("make", "pay-1", "--account", "abc", "--amount-minor", "100")


def test_make_deposit_cancel_and_get_say_what_became_of_the_payment(embedded: Embedded) -> None:
    said = [
        embedded.run(*MAKE),
        embedded.run(*MAKE),
        embedded.run(
            "deposit", "in-1", "--account", "abc", "--amount-minor", "5", "--currency", "EUR"
        ),
        embedded.run("get", "pay-1"),
        embedded.run("cancel", "pay-1"),
        embedded.run("cancel", "pay-1"),
    ]
    assert [(r.exit_code, r.stdout, r.stderr) for r in said] == [
        (0, "pay-1: completed 1.00 EUR account abc\n", ""),
        (0, "pay-1: completed 1.00 EUR account abc [replayed]\n", ""),
        (0, "in-1: completed 0.05 EUR account abc\n", ""),
        (0, "pay-1: found 1.00 EUR account abc state completed\n", ""),
        (0, "pay-1: cancelled (rolled_back) 1.00 EUR account abc\n", ""),
        (0, "pay-1: cancelled (rolled_back) 1.00 EUR account abc [replayed]\n", ""),
    ]


@pytest.mark.parametrize(
    ("arguments", "outcome", "reason"),
    [
        ((*MAKE[:-1], str(OPENING + 1)), "declined", "insufficient_funds"),
        ((*MAKE[:-1], "99"), "rejected", "different_amount"),
        (("deposit", *MAKE[1:]), "rejected", "different_type"),
        (("make", "gone", *MAKE[2:]), "cancelled", "prevented"),
        (("get", "nobody"), "not_found", None),
    ],
)
def test_what_was_not_done_is_printed_and_ends_with_exit_code_3(
    embedded: Embedded, arguments: tuple[str, ...], outcome: str, reason: str | None
) -> None:
    embedded.run("cancel", "gone")
    if reason != "insufficient_funds":
        embedded.run(*MAKE)
    shown = embedded.run(*arguments, "--json")
    assert shown.exit_code == 3
    result = json.loads(shown.stdout)
    assert (result["outcome"], result["reason"]) == (outcome, reason)


def test_json_is_the_result_record_on_one_line(embedded: Embedded) -> None:
    shown = embedded.run(*MAKE, "--id", "c-1", "--json")
    assert shown.stdout.count("\n") == 1
    result = Result.model_validate_json(shown.stdout)
    assert (result.command, result.amount) == ("c-1", 100)


def test_what_was_not_done_is_said_in_words_on_standard_error(embedded: Embedded) -> None:
    embedded.run(*MAKE)
    rejected = embedded.run(*MAKE, "--currency", "USD")
    assert rejected.stdout == "pay-1: rejected (different_currency) 1.00 EUR account abc\n"
    assert (rejected.exit_code, rejected.stderr) == (3, "the payment's currency is EUR, not USD\n")
    declined = embedded.run("make", "pay-2", "--account", "abc", "--amount", "2000")
    told = (
        "payment pay-2 is declined: account abc has less than 2,000.00 EUR available; "
        "no money was moved"
    )
    assert declined.stdout == "pay-2: declined (insufficient_funds) 2,000.00 EUR account abc\n"
    assert (declined.exit_code, declined.stderr) == (3, f"{told}\n")
    by_program = embedded.run("make", "pay-2", "--account", "abc", "--amount", "2000", "--json")
    assert json.loads(by_program.stdout)["message"] == told
    missing = embedded.run("get", "pay-3")
    assert missing.stderr.startswith("there is no payment pay-3: ")


def test_a_balance_is_printed_in_major_units_and_in_both_for_programs(embedded: Embedded) -> None:
    embedded.run(*MAKE)
    assert embedded.run("account", "abc").stdout == "abc: 999.00 EUR\n"
    shown = json.loads(embedded.run("account", "abc", "--json").stdout)
    assert shown == {
        "account": "abc",
        "balance": 99_900,
        "currency": "EUR",
        "exponent": 2,
        "balance_decimal": "999.00",
        "sequence": 2,
        "held": 0,
        "available": 99_900,
        "held_decimal": "0.00",
        "available_decimal": "999.00",
        "credit_limit": 0,
        "credit_limit_decimal": "0.00",
        "status": "open",
    }


@pytest.mark.parametrize("options", [(), ("--entries",), ("--entries", "--after", "7")])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_account_that_never_was_is_exit_code_3_also_for_its_entries(
    embedded: Embedded, options: tuple[str, ...], form: tuple[str, ...]
) -> None:
    missing = embedded.run("account", "nobody", *options, *form)
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr == "there is no account nobody\n"


def test_entries_are_a_table_or_json_lines_from_any_sequence_on(embedded: Embedded) -> None:
    for number in range(4):
        embedded.run("make", f"pay-{number}", "--account", "abc", "--amount-minor", "1")
    table = embedded.run("account", "abc", "--entries").stdout.splitlines()
    assert table[0].split() == [
        *("SEQUENCE", "TIME", "KIND", "PAYMENT", "AMOUNT", "BALANCE", "CURRENCY")
    ]
    assert table[5].split()[2:] == ["make", "pay-3", "-0.01", "999.96", "EUR"]
    lines = embedded.run(
        *["account", "abc", "--entries", "--after", "1", "--limit", "3", "--json"]
    ).stdout
    entries = [LedgerEntry.model_validate_json(line) for line in lines.splitlines()]
    assert [entry.sequence for entry in entries] == [2, 3, 4]


def test_watch_prints_what_comes_and_ends_after_a_count(embedded: Embedded) -> None:
    watching: list[Any] = []
    thread = threading.Thread(
        target=lambda: watching.append(embedded.run("watch", "pay-1", "--count", "2", "--json"))
    )
    thread.start()

    async def feed_until_watched() -> None:
        number = 0
        while thread.is_alive():
            await embedded.bed.send("pay-1", {"type": "get", "id": f"g-{number}"})
            number += 1

    embedded.do(feed_until_watched())
    thread.join(timeout=10)
    [shown] = watching
    assert shown.exit_code == 0
    results = [Result.model_validate_json(line) for line in shown.stdout.splitlines()]
    assert [r.outcome.value for r in results] == ["not_found"] * 2
    assert "watching pay-1" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*MAKE[:-1], "0"), "'--amount-minor'"),
        ((*MAKE[:-1], "1.5"), "'--amount-minor'"),
        (("make", " ", *MAKE[2:]), "1 to 255 characters"),
        (("get", "a\nb"), "1 to 255 characters"),
        (("account", ""), "1 to 255 characters"),
        (("make", "pay-1"), "'--account'"),
        (("cancel", "p", "--deadline", "0"), "'--deadline'"),
        (("cancel", "p", "--deadline", "nan"), "'--deadline'"),
    ],
)
def test_a_malformed_argument_is_a_usage_error_before_anything_is_sent(
    arguments: tuple[str, ...], told: str
) -> None:
    failed = run(*arguments, PAYMENTS_BROKERS=NOBODY)
    assert failed.exit_code == 2
    assert failed.stdout == ""
    assert told in failed.stderr


def test_colors_are_for_terminals_and_never_with_no_color(embedded: Embedded) -> None:
    plain = embedded.run(*MAKE)
    colored = embedded.run(*MAKE, color=True)
    asked_not_to = embedded.run(*MAKE, color=True, NO_COLOR="1")
    assert "\x1b[" not in plain.stdout
    assert colored.stdout.startswith("\x1b[32mpay-1: completed")
    assert "\x1b[" not in asked_not_to.stdout


def test_what_only_the_rules_of_commands_know_is_a_usage_error_too(embedded: Embedded) -> None:
    failed = embedded.run(*MAKE, "--currency", "euro")
    assert failed.exit_code == 2
    assert "currency" in failed.stderr
    reserved = embedded.run("make", "p", "--account", "sales/1", "--amount-minor", "1")
    assert (reserved.exit_code, reserved.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "connect_seconds"),
    [
        (MAKE, 0.3),
        (("get", "p"), 0.3),
        (("get", "p"), 1.5),  # Longer than the patience with the brokers.
        (("account", "abc"), 0.3),
        (("watch", "p"), 0.3),
        (("dead-letters", "list"), 0.3),
    ],
)
def test_no_broker_is_told_with_a_hint_and_exit_code_69(
    arguments: tuple[str, ...], connect_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others: topics, verify and doctor, each with its own tests."""
    monkeypatch.setattr(options, "CONNECT_SECONDS", connect_seconds)
    monkeypatch.setattr(reading, "CONNECT_SECONDS", connect_seconds)
    failed = run(*arguments, PAYMENTS_BROKERS=NOBODY, PAYMENTS_DELIVERY_TIMEOUT_SECONDS="1")
    assert failed.exit_code == 69
    assert failed.stdout == ""
    assert failed.stderr.startswith(f"Error: no Kafka broker answers at {NOBODY}")
    assert failed.stderr.count("PAYMENTS_BROKERS") == 1
    assert failed.stderr.count(NOBODY) <= 2, "the setting, and the address that it stands for"
    assert "started again" not in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_no_answer_in_time_is_exit_code_75(embedded: Embedded) -> None:
    embedded.do(embedded.bed.__aexit__(None, None, None))
    failed = embedded.run(*MAKE, "--deadline", "0.2")
    embedded.do(embedded.bed.__aenter__())
    assert (failed.exit_code, failed.stdout) == (75, "")
    assert "send it again" in failed.stderr
