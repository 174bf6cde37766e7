"""Exit codes stay true, and output readable, whatever is at the other end of it.

Once a command may be in the log, no exit code says that it could not be done. Of the same kind:
missing topics and absent brokers in ``test_payments.py`` and ``test_on_broker.py``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from payments.cli.ending import Attempt
from payments.cli.exit_codes import SendAgain
from payments.cli.output import json_text, printable
from payments.cli.user_errors import NoBroker

from .conftest import run

MAKE = ("make", "pay-1", "--account", "abc", "--amount", "1.00")
LINE = "pay-1: completed 1.00 EUR account abc"
ROOT = Path(__file__).parents[2]


def process(
    *arguments: str,
    stdout: int | None = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.embedded_command", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | dict(environment or {}),
        cwd=ROOT,
        check=False,
        timeout=250,
    )


def test_a_full_disk_is_exit_code_74_and_the_answer_is_on_standard_error() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        ended = process(*MAKE, stdout=full.fileno())
    assert ended.returncode == 74
    assert b"No space left on device" in ended.stderr
    assert LINE.encode() in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("arguments", [MAKE, (*MAKE, "--json"), ("--help",)])
def test_a_closed_pipe_is_exit_code_74(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = process(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert ended.returncode == 74
    assert b"Traceback" not in ended.stderr
    assert (LINE.encode() in ended.stderr) == (arguments != ("--help",))


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "nowhere.UTF-8"},
    ],
)
def test_what_an_encoding_lacks_is_escaped_and_json_stays_json(environment: dict[str, str]) -> None:
    name = "pay-\u20ac"
    shown = process("make", name, *MAKE[2:], environment=environment)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode() in {f"{LINE.replace('pay-1', n)}\n" for n in (name, r"pay-\u20ac")}
    shown = process("make", name, *MAKE[2:], "--json", environment=environment)
    assert json.loads(shown.stdout.decode("utf-8"))["payment"] == name


def test_ctrl_c_says_whether_the_command_may_be_in_the_log() -> None:
    sent = process(*MAKE, environment={"MOMENT": "sent"})
    assert (sent.returncode, sent.stdout) == (75, b"")
    assert b"may still be carried out: send the same command again" in sent.stderr
    of_account = process("account", "unfreeze", "abc", environment={"MOMENT": "sent"})
    assert (of_account.returncode, of_account.stdout) == (75, b"")
    assert b"may still be carried out: look at the account first" in of_account.stderr
    assert b"only if no one else has changed it since" in of_account.stderr
    before = process(*MAKE, environment={"MOMENT": "connecting"})
    assert (before.returncode, before.stdout) == (130, b"")
    assert b"stopped by Ctrl-C" in before.stderr


@pytest.mark.parametrize(
    ("begun", "answered", "error", "code"),
    [
        (True, 0, click.ClickException("the broker refuses"), 75),
        (True, 0, RuntimeError("a defect"), 75),
        (True, 0, KeyboardInterrupt(), 75),
        (True, 0, NoBroker("the deadline passed, not sent"), 69),
        (True, 1, NoBroker("the second was not sent"), 75),
        (True, 0, click.UsageError("refused before it was sent"), 2),
        (False, 1, KeyboardInterrupt(), 75),
        (False, 0, click.ClickException("the broker refuses"), 1),
    ],
)
def test_what_goes_wrong_after_sending_never_says_that_it_could_not_be_done(
    begun: bool, answered: int, error: BaseException, code: int
) -> None:
    attempt = Attempt()
    for _ in range(answered):
        attempt.begin()
        attempt.answer()
    if begun:
        attempt.begin()
    with pytest.raises(click.ClickException) as ended, attempt.truthful():
        raise error
    assert ended.value.exit_code == code
    assert isinstance(ended.value, SendAgain) == (code == 75)


def test_nothing_that_is_shown_drives_the_terminal() -> None:
    hostile = "a\x1b[2J\x9b\u202eb\u2066\x07\x7f\r\n"
    shown = printable(hostile)
    assert shown == r"a\x1b[2J\x9b\u202eb\u2066\x07\x7f\r\n"
    text = json_text({"message": hostile, "plain": "\u00e9"})
    assert text.isprintable()
    assert json.loads(text) == {"message": hostile, "plain": "\u00e9"}
    refused = run("get", hostile)
    assert refused.exit_code == 2
    assert all(line.isprintable() for line in refused.stderr.splitlines())
    unknown = run(hostile)
    assert unknown.exit_code == 2
    assert all(line.isprintable() for line in unknown.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("mkae", "p"), "Did you mean make?"),
        (("dead-leters", "list"), "Did you mean dead-letters?"),
        (("topics", "aply"), "Did you mean apply?"),
        (("journal", "inspetc"), "Did you mean inspect?"),
        (("make", "p", "--acount", "abc"), "--account"),  # In the words of each click.
    ],
)
def test_a_misspelt_command_or_option_is_answered_with_the_one_that_is_meant(
    arguments: tuple[str, ...], hint: str
) -> None:
    failed = run(*arguments)
    assert failed.exit_code == 2
    assert hint in failed.stderr


def test_a_narrow_terminal_gets_the_whole_help() -> None:
    shown = run("make", "--help", COLUMNS="20")
    assert shown.exit_code == 0
    assert "--amount-minor" in shown.stdout
