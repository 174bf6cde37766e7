"""Dead letters on the command line: list, show, and replays that happen once."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import payments.stages.accounts
import payments.stages.payments
from exactstage.errors import UNDECODABLE_BATCH
from exactstage.log import TopicPartition
from payments.dead_letters.reading import DeadLetters
from payments.domain.results import Outcome

from .conftest import Embedded

MAKE = b'{"type":"make","account":"abc","amount":100,"id":"c-1"}'
BAD = b'{"type":"make","account":"abc","amount":1.5}'
ESCAPE = b"\x1b]0;title\x07"


def lines(shown: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown.stdout.splitlines()]


def position_of(embedded: Embedded, **wanted: object) -> str:
    """Return the position of the one dead letter that ``list --json`` shows like this."""
    listed = lines(embedded.run("dead-letters", "list", "--json"))
    [found] = [letter for letter in listed if letter.items() >= wanted.items()]
    return str(found["position"])


def moved(embedded: Embedded) -> list[tuple[str | None, int]]:
    entries = embedded.bed.ledger("abc")
    return [(entry.payment, entry.amount) for entry in entries if entry.kind == "make"]


@pytest.fixture
def met_a_defect(embedded: Embedded) -> str:
    """Return the position of a make that met a defect, which has been mended since."""
    with pytest.MonkeyPatch.context() as defect:

        def decide(*_: object, **__: object) -> None:
            message = "a defect"
            raise ZeroDivisionError(message)

        defect.setattr(payments.stages.payments, "decide", decide)
        embedded.receive(b"pay-1", MAKE)
    return position_of(embedded, reason="internal_error")


def test_the_list_has_position_age_reason_key_and_message(embedded: Embedded) -> None:
    embedded.receive(b"pay-1", BAD)
    embedded.receive(None, MAKE)
    shown = embedded.run("dead-letters", "list")
    assert (shown.exit_code, shown.stderr) == (0, "dead letters: 2\n")
    head, *rows = shown.stdout.splitlines()
    assert head.split() == ["POSITION", "AGE", "REASON", "KEY", "MESSAGE"]
    whole = "\n".join(rows)
    assert re.search(r"payments.dead-letters/\d/\d+ +\d+ d +amount_not_integer +pay-1 +", whole)
    assert re.search(r"payments.dead-letters/\d/\d+ +\d+ d +null_key +null +", whole)
    chosen = lines(embedded.run("dead-letters", "list", "--reason", "null_key", "--json"))
    assert [(letter["key"], letter["value_bytes"]) for letter in chosen] == [(None, len(MAKE))]
    assert lines(embedded.run("dead-letters", "list", "--stage", "accounts", "--json")) == []


def test_the_list_marks_what_was_replayed(embedded: Embedded, met_a_defect: str) -> None:
    embedded.receive(b"pay-2", BAD)
    embedded.run("dead-letters", "replay", met_a_defect, "--yes")
    listed = lines(embedded.run("dead-letters", "list", "--json"))
    assert {letter["position"]: letter["replayed"] for letter in listed} == {
        letter["position"]: letter["position"] == met_a_defect for letter in listed
    }
    assert len(listed) == 2
    rows = embedded.run("dead-letters", "list").stdout.splitlines()
    assert [" [replayed] " in row for row in rows if met_a_defect in row] == [True]
    assert sum(" [replayed" in row for row in rows) == 1


def test_the_list_says_where_a_replay_could_have_been_forgotten(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.receive(b"pay-1", BAD)
    asked: list[int] = []

    async def long_ago(_: object, time_ms: int, _topic: str) -> bool:
        asked.append(time_ms)
        return False

    monkeypatch.setattr(DeadLetters, "reach_back_to", long_ago)
    [letter] = lines(embedded.run("dead-letters", "list", "--json"))
    assert letter["replayed"] is None
    assert asked
    assert " [replayed?] " in embedded.run("dead-letters", "list").stdout


def test_a_whole_batch_is_listed_as_a_notice_and_not_as_what_may_have_been_replayed(
    embedded: Embedded,
) -> None:
    """Of the same kind, what ``payments journal skip`` gave up: ``test_skip_on_broker.py``."""

    async def receive() -> None:
        at = TopicPartition(embedded.bed.settings.topics.commands, 0)
        embedded.bed.log.produce_unreadable(at, 3, UNDECODABLE_BATCH)
        await embedded.bed.quiet()

    embedded.do(receive())
    embedded.min_retention_ms = 0
    [letter] = lines(embedded.run("dead-letters", "list", "--json"))
    assert (letter["replayed"], letter["notice"]) == (False, True)
    shown = embedded.run("dead-letters", "list").stdout
    assert " [notice] " in shown
    assert "[replayed" not in shown


def test_a_letter_is_shown_whole_and_its_bytes_never_reach_the_terminal_raw(
    embedded: Embedded,
) -> None:
    embedded.receive(b"k" + ESCAPE, ESCAPE + b"\n\xff")
    position = position_of(embedded, reason="key_not_printable")
    page = embedded.run("dead-letters", "show", position).stdout
    assert "\x1b" not in page
    assert r"k\x1b]0;title\x07" in page
    assert r"\xff" in page
    shown = json.loads(embedded.run("dead-letters", "show", position, "--json").stdout)
    assert shown["value"] == {"base64": "G10wO3RpdGxlBwr/"}
    assert shown["source"].startswith("payments.commands/")


def test_json_values_are_set_out_and_defects_have_their_trace(
    embedded: Embedded, met_a_defect: str
) -> None:
    page = embedded.run("dead-letters", "show", met_a_defect).stdout
    assert '\n    "account": "abc",\n' in page
    assert "ZeroDivisionError: a defect" in page


def test_a_replay_is_a_dry_run_unless_it_is_told_to_send(
    embedded: Embedded, met_a_defect: str
) -> None:
    shown = embedded.run("dead-letters", "replay", met_a_defect)
    assert (shown.exit_code, shown.stderr) == (0, "Dry run: nothing was sent. Send with --yes.\n")
    assert shown.stdout.startswith(f"{met_a_defect}  would send  pay-1: ")
    command = json.loads(shown.stdout.partition("pay-1: ")[2])
    assert command == {**json.loads(MAKE), "id": f"replay/{met_a_defect}"}
    assert moved(embedded) == []


def test_what_met_a_defect_is_sent_once_it_is_mended_and_never_twice(
    embedded: Embedded, met_a_defect: str
) -> None:
    sent = embedded.run("dead-letters", "replay", met_a_defect, "--yes", "--json")
    assert sent.exit_code == 0
    [told] = lines(sent)
    assert (told["action"], told["result"]["outcome"]) == ("sent", "completed")
    assert told["result"]["command"] == f"replay/{met_a_defect}"

    second = embedded.run("dead-letters", "replay", met_a_defect, "--yes", "--json")
    assert second.exit_code == 3
    [refused] = lines(second)
    assert refused["action"] == "refused"
    assert "it was replayed before as payment pay-1: completed" in refused["message"]
    assert moved(embedded) == [("pay-1", -100)]

    again = embedded.run("dead-letters", "replay", met_a_defect, "--yes", "--again", "--json")
    assert lines(again)[0]["result"]["replayed"] is True
    assert moved(embedded) == [("pay-1", -100)]


def test_a_replay_under_another_payment_id_is_recognised_too(
    embedded: Embedded, met_a_defect: str
) -> None:
    first = ("dead-letters", "replay", met_a_defect, "--yes")
    for number in range(6):
        key = ("--key", f"other-{number}")
        assert embedded.run(*first, *key).exit_code == (3 if number else 0)
    assert embedded.run(*first).exit_code == 3
    assert moved(embedded) == [("other-0", -100)]


def test_a_replay_that_was_sent_and_has_no_result_yet_is_recognised(
    embedded: Embedded, met_a_defect: str
) -> None:
    embedded.do(embedded.bed.__aexit__(None, None, None))
    command = ("dead-letters", "replay", met_a_defect, "--yes", "--deadline", "0.2")
    assert embedded.run(*command).exit_code == 75
    refused = embedded.run(*command)
    embedded.do(embedded.bed.__aenter__())
    assert refused.exit_code == 3
    assert "its command has no result yet" in refused.stdout
    embedded.do(embedded.bed.quiet())
    assert moved(embedded) == [("pay-1", -100)]


def test_only_what_is_well_formed_is_sent(embedded: Embedded, tmp_path: Path) -> None:
    embedded.receive(b"pay-1", BAD)
    position = position_of(embedded, reason="amount_not_integer")
    replay = ("dead-letters", "replay", position, "--yes")
    refused = embedded.run(*replay)
    assert refused.exit_code == 3
    assert "amount_not_integer" in refused.stdout
    assert embedded.run(*replay, "--value", '{"type":"make"}').exit_code == 3
    assert len(embedded.bed.results("pay-1")) == 1

    corrected = tmp_path / "corrected.json"
    corrected.write_bytes(BAD.replace(b"1.5", b"150") + b"\n")
    sent = embedded.run(*replay, "--value-file", str(corrected), "--json")
    assert sent.exit_code == 0
    assert moved(embedded) == [("pay-1", -150)]
    assert embedded.run(*replay, "--value", MAKE.decode()).exit_code == 3
    assert moved(embedded) == [("pay-1", -150)]


def test_a_replay_that_would_be_refused_again_says_why_and_how_to_correct_it(
    embedded: Embedded, tmp_path: Path
) -> None:
    """Not "send with --yes". Of the same kind: a key (``--key``), and several letters at once."""
    embedded.receive(b"pay-1", BAD)
    embedded.receive(b"pay-2", b"\xef\xbb\xbf" + MAKE)
    embedded.receive(None, MAKE)
    amount, mark, key = (
        position_of(embedded, reason=reason)
        for reason in ("amount_not_integer", "not_json", "null_key")
    )
    replay = ("dead-letters", "replay")
    refused = embedded.run(*replay, amount, mark, key)
    assert refused.exit_code == 3
    of_amount, of_mark, of_key = refused.stdout.splitlines()
    assert "refused  it would be refused again, amount_not_integer: " in of_amount
    assert of_amount.endswith("; correct it with --value or --value-file")
    assert "starts with a byte order mark" in of_mark
    assert of_key.endswith("; correct it with --key")
    assert "Send with --yes" not in refused.stderr
    assert "--yes would send nothing either" in refused.stderr

    edited = tmp_path / "edited.json"
    shown = json.loads(embedded.run("dead-letters", "show", mark, "--json").stdout)
    edited.write_text(shown["value"])
    dry_run = embedded.run(*replay, mark, "--value-file", str(edited))
    assert (dry_run.exit_code, "Send with --yes." in dry_run.stderr) == (0, True)
    assert moved(embedded) == []
    assert embedded.run(*replay, mark, "--value-file", str(edited), "--yes").exit_code == 0
    assert moved(embedded) == [("pay-2", -100)]


def test_bytes_that_are_no_text_are_refused_in_a_corrected_value_too(embedded: Embedded) -> None:
    embedded.receive(b"pay-1", BAD)
    position = position_of(embedded, reason="amount_not_integer")
    refused = embedded.run("dead-letters", "replay", position, "--value", "\udcff")
    assert refused.exit_code == 3
    assert "not_utf8" in refused.stdout


def test_a_letter_without_a_key_is_sent_with_one_that_is_given(embedded: Embedded) -> None:
    embedded.receive(None, MAKE)
    position = position_of(embedded, reason="null_key")
    assert embedded.run("dead-letters", "replay", position, "--yes").exit_code == 3
    value_on_stdin = (
        "dead-letters",
        "replay",
        position,
        "--yes",
        "--key",
        "p",
        "--value-file",
        "-",
    )
    assert embedded.run(*value_on_stdin, stdin=MAKE).exit_code == 0
    assert moved(embedded) == [("p", -100)]


def test_a_declined_replay_ends_with_exit_code_3(embedded: Embedded) -> None:
    embedded.receive(b"pay-1", BAD)
    position = position_of(embedded, reason="amount_not_integer")
    much = MAKE.replace(b"100", b"1000000").decode()
    shown = embedded.run("dead-letters", "replay", position, "--value", much, "--yes")
    assert shown.exit_code == 3
    assert embedded.bed.results("pay-1")[-1].outcome is Outcome.DECLINED


def test_a_command_for_an_account_that_met_a_defect_is_replayed_once(embedded: Embedded) -> None:
    embedded.receive(b"abc", b'{"type":"open"}', for_account=True)
    with pytest.MonkeyPatch.context() as defect:
        defect.delattr(payments.stages.accounts, "decide_account")
        embedded.receive(b"abc", b'{"type":"freeze","id":"c-1"}', for_account=True)
    embedded.receive(b"pay-1", BAD)
    position = position_of(embedded, reason="internal_error")
    replay = ("dead-letters", "replay", position)
    [would] = lines(embedded.run(*replay, "--json"))
    assert (would["action"], would["payment"], would["account"]) == ("would send", None, "abc")
    assert would["command"] == {"type": "freeze", "id": f"replay/{position}"}
    assert embedded.run("account", "abc").stdout == "abc: 0.00 EUR\n"

    sent = embedded.run(*replay, "--yes")
    assert (sent.exit_code, sent.stderr) == (0, "")
    assert sent.stdout == f"{position}  sent  abc: completed frozen, 0.00 EUR\n"
    assert embedded.run("account", "abc").stdout == "abc: 0.00 EUR, frozen\n"
    embedded.run("account", "unfreeze", "abc")

    for key in ((), ("--key", "other")):
        refused = embedded.run(*replay, "--yes", *key)
        assert refused.exit_code == 3
        assert "it was replayed before as account abc: completed" in refused.stdout
    assert embedded.run("account", "abc").stdout == "abc: 0.00 EUR\n"
    listed = lines(embedded.run("dead-letters", "list", "--json"))
    marks = {letter["position"]: letter["replayed"] for letter in listed}
    assert len(marks) == 2
    assert {at for at, was_replayed in marks.items() if was_replayed} == {position}


def test_a_command_for_an_account_is_corrected_by_its_own_rules(embedded: Embedded) -> None:
    embedded.receive(b"abc", b'{"type":"open","credit_limit":-5}', for_account=True)
    position = position_of(embedded, reason="invalid_credit_limit")
    replay = ("dead-letters", "replay", position, "--yes")
    as_it_is = embedded.run(*replay)
    assert as_it_is.exit_code == 3
    assert as_it_is.stdout.endswith("; correct it with --value or --value-file\n")
    of_a_payment = embedded.run(*replay, "--value", MAKE.decode())
    assert of_a_payment.exit_code == 3
    assert "make is a command for payments and belongs on payments.commands" in of_a_payment.stdout
    counter = embedded.run(*replay, "--value", '{"type":"open"}', "--key", "sales/1")
    assert counter.exit_code == 3
    assert counter.stdout.endswith("; correct it with --key\n")
    corrected = ("--value", '{"type":"open","credit_limit":5}')
    assert embedded.run(*replay, *corrected).exit_code == 0
    assert embedded.run("account", "abc", "--json").stdout.count('"credit_limit": 5,') == 1


def test_a_replay_that_the_account_refuses_ends_with_exit_code_3(embedded: Embedded) -> None:
    embedded.receive(b"abc", b'{"type":"limit"}', for_account=True)
    position = position_of(embedded, reason="missing_field")
    shown = embedded.run(
        "dead-letters", "replay", position, "--value", '{"type":"freeze"}', "--yes"
    )
    assert shown.exit_code == 3
    assert "abc: rejected (unknown_account)" in shown.stdout


def test_messages_between_the_stages_are_never_sent(embedded: Embedded) -> None:
    async def forge() -> None:
        inbox = embedded.bed.settings.topics.inbox
        embedded.bed.produce(inbox, b"pay-1", MAKE)
        await embedded.bed.quiet()

    embedded.do(forge())
    position = position_of(embedded, reason="missing_position")
    refused = embedded.run("dead-letters", "replay", position, "--value", MAKE.decode(), "--yes")
    assert refused.exit_code == 3
    assert "it is no command" in refused.stdout
    assert embedded.bed.results("pay-1") == []


@pytest.mark.parametrize(
    "position", ["payments.dead-letters/0/99", "payments.results/0/0", "x/99/0"]
)
@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_position_without_a_letter_is_told(
    embedded: Embedded, command: str, position: str
) -> None:
    embedded.receive(b"pay-1", MAKE)
    failed = embedded.run("dead-letters", command, position)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert f"there is no dead letter at {position}" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["17"], "is no address"),
        (["a/b/c"], "is no address"),
        (["t/0/1", "--value", "x", "--value-file", "-"], "not by both"),
        (["t/0/1", "t/0/2", "--key", "p"], "give one position"),
        ([], "Missing argument"),
    ],
)
def test_arguments_that_make_no_sense_are_usage_errors(
    embedded: Embedded, arguments: list[str], told: str
) -> None:
    failed = embedded.run("dead-letters", "replay", *arguments)
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert told in failed.stderr
