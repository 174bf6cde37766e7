"""The log of a process: lines of text as they always were, or one JSON object for each."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from payments.process import logs
from payments.settings import Settings
from payments.stages import accounts
from payments.stages.payments import PaymentsLogic
from payments.testing import PaymentsTestbed

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the lines of JSON that this process logs."""
    handler = logs.StandardError(as_json=True)
    handler.setFormatter(logs.JsonFormatter())
    written: list[str] = []
    monkeypatch.setattr(handler, "say", written.append)
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def run(code: str, form: str) -> list[str]:
    """Run code that logs as a worker does; return its lines."""
    code = "import logging; from payments.process import logs; logs.configure('info'); " + code
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={"PAYMENTS_LOG_FORMAT": form},
    )  # fmt: skip
    return ran.stderr.splitlines()


def test_a_line_of_text_has_time_level_logger_and_message() -> None:
    [line] = run("logging.getLogger('a.b').warning('%d lines', 3, extra={'payment': 'p1'})", "")
    assert line.endswith(" WARNING a.b: 3 lines")
    assert "p1" not in line


def test_a_line_of_json_has_the_same_and_the_facts() -> None:
    [line] = run("logging.getLogger('a.b').warning('a\\nb', extra={'payment': 'p\u20ac'})", "json")
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "message": "a\nb", "logger": "a.b", "payment": "p\u20ac"}


def test_a_traceback_is_one_line_of_json() -> None:
    code = "\ntry:\n 1 / 0\nexcept ZeroDivisionError:\n logging.exception('it failed')"
    [line] = run(code, "json")
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_the_last_line_of_a_command_is_json_too() -> None:
    [line] = run("logs.say('Error: no broker')", "json")
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "error",
        "message": "Error: no broker",
        "logger": "payments.process.logs",
    }
    [plain] = run("logs.say('Error: no broker')", "text")
    assert plain == "Error: no broker"


def test_another_format_is_refused_with_the_setting() -> None:
    with pytest.raises(ValidationError, match="log_format"):
        Settings(log_format="xml")


async def test_a_line_about_a_record_names_it(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect of the stage")

    async with PaymentsTestbed(opening_balance=1000) as testbed:
        monkeypatch.setattr(PaymentsLogic, "_apply", fails)
        await testbed.send("p1", {"type": "make", "account": "abc", "amount": 100})
    [found] = [json.loads(line) for line in lines if "internal_error" in line]
    assert found["key"] == found["payment"] == "p1"
    assert found["topic"] == "payments.commands"
    assert (found["stage"], found["offset"]) == ("payments", 0)
    assert "account" not in found
    assert isinstance(found["partition"], int)
    assert "a defect of the stage" in found["exception"]


async def test_a_line_about_a_record_of_an_account_names_that(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect of the stage")

    monkeypatch.setattr(accounts, "decide_account", fails)
    async with PaymentsTestbed() as testbed:
        await testbed.send_account("abc", {"type": "open"})
    [found] = [json.loads(line) for line in lines if "internal_error" in line]
    assert found["key"] == found["account"] == "abc"
    assert "payment" not in found


def test_what_is_no_text_or_number_is_no_fact(lines: list[str]) -> None:
    logging.getLogger("a").warning("a line", extra={"payment": None, "topic": ["t"], "offset": 7})
    [found] = [json.loads(line) for line in lines]
    assert found["offset"] == 7
    assert not {"payment", "topic"} & set(found)
