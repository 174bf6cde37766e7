"""``payments verify``: its exit codes, and what it prints."""

import json
from pathlib import Path

import pytest

from payments.cli import verify as command
from payments.verify import findings
from payments.verify.findings import Report
from tests import command_line
from tests.command_line import Ended

from .recording import Recording

NOBODY = "127.0.0.1:1"
DOCUMENT = Path(__file__).parents[2] / "docs" / "verify.md"


def run(*arguments: str, **environment: str) -> Ended:
    return command_line.run("verify", *arguments, environment=environment)


def reports(monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    """Let the command find this."""

    async def audit(*_: object) -> Report:
        return report

    monkeypatch.setattr(command, "_audit", audit)


def test_a_clean_audit_ends_with_0(monkeypatch: pytest.MonkeyPatch, recorded: Recording) -> None:
    report = recorded.audit()
    reports(monkeypatch, report)
    shown = run()
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "verified: no violation"
    assert f"read: {report.counts['commands']} commands" in shown.stdout


def test_violations_are_shown_with_their_places_and_end_with_1(
    monkeypatch: pytest.MonkeyPatch, run_with_doubled_result: Report
) -> None:
    reports(monkeypatch, run_with_doubled_result)
    shown = run()
    [violation] = run_with_doubled_result.violations
    topic, partition, offset = violation.place
    assert shown.exit_code == 1
    assert shown.stdout.splitlines()[0] == (
        f"surplus_result {topic}/{partition}/{offset}: a second result for its command"
    )
    assert shown.stdout.splitlines()[-1] == "VIOLATED: 1 surplus_result"


def test_json_has_the_violations_and_the_counts(
    monkeypatch: pytest.MonkeyPatch, run_with_doubled_result: Report
) -> None:
    reports(monkeypatch, run_with_doubled_result)
    shown = run("--json")
    [violation] = run_with_doubled_result.violations
    found = json.loads(shown.stdout)
    assert shown.exit_code == 1
    assert found["ok"] is False
    assert found["violations"] == [
        {
            "kind": "surplus_result",
            "topic": violation.place.topic,
            "partition": violation.place.partition,
            "offset": violation.place.offset,
            "message": "a second result for its command",
        }
    ]
    assert found["in_flight"] == 0
    assert found["counts"] == dict(run_with_doubled_result.counts)


@pytest.fixture
def run_with_doubled_result(run: Recording) -> Report:
    run.append(run.find("payments.results", payment="made"))
    return run.audit()


def test_of_very_many_violations_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch, run: Recording
) -> None:
    monkeypatch.setattr(findings, "MAX_KEPT", 2)
    for payment in ("made", "undone", "prevented"):
        run.append(run.find("payments.results", payment=payment))
    reports(monkeypatch, run.audit())
    assert run_lines()[2] == "... and 1 more"
    assert run_lines()[-1] == "VIOLATED: 3 surplus_result"


def run_lines() -> list[str]:
    return run().stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--nothing"], {}, "No such option"),
        ([], {"PAYMENTS_PARTITIONS": "many"}, "PAYMENTS_PARTITIONS=many"),
    ],
)
def test_what_prevents_an_audit_ends_with_2(
    arguments: list[str], environment: dict[str, str], told: str
) -> None:
    failed = run(*arguments, **environment)
    assert failed.exit_code == 2
    assert failed.stdout == ""
    assert told in failed.stderr


def test_that_no_broker_answers_has_an_exit_code_of_its_own() -> None:
    failed = run(PAYMENTS_BROKERS=NOBODY)
    assert (failed.exit_code, failed.stdout) == (69, "")
    assert f"no Kafka broker answers at {NOBODY}" in failed.stderr


@pytest.mark.parametrize("kind", findings.Kind)
def test_every_kind_of_violation_is_in_the_document(kind: findings.Kind) -> None:
    assert f"`{kind}`" in DOCUMENT.read_text()
