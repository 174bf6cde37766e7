"""The payments command: its help, its exit codes, and one plain line for each mistake of a user."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exactstage.kafka.fencing import FencingReport
from payments.cli.topics import FENCING_ROUNDS
from payments.settings import Settings
from tests import command_line
from tests.broker_fixture import TOPICS, Installations, process_environment
from tests.command_line import Ended

NOBODY = "127.0.0.1:1"


def run(*arguments: str, **environment: str) -> Ended:
    return command_line.run(*arguments, environment=environment)


def run_with(settings: Settings, *arguments: str) -> Ended:
    given = {k: v for k, v in process_environment(settings).items() if k.startswith("PAYMENTS_")}
    return run(*arguments, "-f", str(TOPICS), **given)


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    made = ModuleType(name)
    for key, value in content.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.mark.parametrize("arguments", [[], ["topics"], ["topics", "check"], ["worker"]])
def test_help_shows_the_usage(arguments: list[str]) -> None:
    shown = run(*arguments, "--help")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: {' '.join(['payments', *arguments])} ")


def test_help_is_quick_since_it_loads_neither_faust_nor_a_client() -> None:
    code = (
        "import sys, payments.cli\n"
        "try: payments.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('faust', 'aiokafka', 'pydantic', 'yaml') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"PAYMENTS_PARTITIONS": "many"},
            "PAYMENTS_PARTITIONS=many: must be a whole number",
        ),
        ({"PAYMENTS_DEFAULT_CURRENCY": "euro"}, "PAYMENTS_DEFAULT_CURRENCY=euro"),
        (
            {"PAYMENTS_SECURITY_PROTOCOL": "SASL_SSL"},
            "=SASL_SSL needs PAYMENTS_SASL_USERNAME",
        ),
        (
            {"PAYMENTS_SECURITY_PROTOCOL": "SSL", "PAYMENTS_SSL_CAFILE": "/nowhere/ca.pem"},
            "PAYMENTS_SSL_CAFILE",
        ),
    ],
)
def test_a_users_mistake_is_told_in_one_line_with_exit_code_1(
    environment: dict[str, str], told: str
) -> None:
    failed = run("topics", "plan", "-f", str(TOPICS), **environment)
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("Error: ")
    assert told in failed.stderr
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["plan", "apply", "check"])
def test_that_no_broker_answers_has_an_exit_code_of_its_own(command: str) -> None:
    failed = run("topics", command, "-f", str(TOPICS), PAYMENTS_BROKERS=NOBODY)
    assert (failed.exit_code, failed.stdout) == (69, "")
    cause = f"({NOBODY}: nothing listens there (connection refused))"
    assert failed.stderr.startswith(f"Error: no Kafka broker answers at {NOBODY} {cause}: ")
    assert failed.stderr.count("\n") == 1


def test_a_wrong_setting_does_not_print_a_password() -> None:
    failed = run("topics", "plan", PAYMENTS_SASL_PASSWORD="top-secret", PAYMENTS_PARTITIONS="0")  # noqa: S106 - made up
    assert failed.exit_code == 1
    assert "PAYMENTS_PARTITIONS=0" in failed.stderr
    assert "top-secret" not in failed.output


def test_a_missing_file_is_told_with_its_name(tmp_path: Path) -> None:
    failed = run("topics", "plan", "-f", str(tmp_path / "none.yaml"))
    assert failed.exit_code == 1
    assert "none.yaml cannot be read" in failed.stderr


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web"])
def test_a_web_port_that_is_none_is_a_usage_error(port: str) -> None:
    failed = run("worker", f"--web-port={port}")
    assert failed.exit_code == 2
    assert "is neither a port number" in failed.stderr


def test_the_worker_gets_its_options_and_gives_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str | None, dict[str, Any]]] = []

    def run_worker(settings: Settings, **options: Any) -> int:
        calls.append((settings.instance_id, options))
        return 70

    module(monkeypatch, "payments.app", run_worker=run_worker)
    first = run("worker", "--instance-id", "w-1", "--log-level", "error", "--web-port", "6066")
    second = run("worker", PAYMENTS_INSTANCE_ID="from-environment")
    assert (first.exit_code, second.exit_code) == (70, 70)
    assert calls == [
        ("w-1", {"log_level": "error", "web_port": 6066}),
        ("from-environment", {"log_level": "info", "web_port": None}),
    ]


def test_plan_apply_and_check_on_a_broker(
    settings: Settings, installations: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    fencing(monkeypatch, refused=FENCING_ROUNDS, accepted=0)
    new = settings.model_copy(update={"app_id": f"{settings.app_id}-new"})
    installations.adopt(new)
    nothing = "Plan: 0 to add, 0 to change, 0 to remove\n"

    planned = run_with(new, "topics", "plan")
    assert planned.exit_code == 0
    assert f"+ topic {new.changelog('payments')} (4 partitions, replication 1)" in planned.stdout
    assert planned.stdout.endswith("Plan: 2 to add, 0 to change, 0 to remove\n")
    as_json = json.loads(run_with(new, "topics", "plan", "--json").stdout)
    assert [topic["name"] for topic in as_json["create"]] == [
        new.changelog("payments"),
        new.changelog("accounts"),
    ]
    assert as_json["changes"][0]["sign"] == "+"
    different = run_with(new, "topics", "check")
    assert different.exit_code == 2
    assert "run payments topics apply" in different.stderr
    different = run_with(new, "topics", "check", "--json")
    assert different.exit_code == 2
    assert json.loads(different.stdout) == {**as_json, "fencing": None}

    assert run_with(new, "topics", "apply").stdout == planned.stdout + "Applied.\n"
    assert run_with(new, "topics", "plan").stdout == nothing
    assert json.loads(run_with(new, "topics", "apply", "--json").stdout)["changes"] == []
    assert run_with(new, "topics", "apply").stdout == nothing + "Nothing to do.\n"
    checked = run_with(new, "topics", "check")
    assert checked.stdout == nothing + "fencing: 20 of 20 stale appends refused\n"
    assert checked.exit_code == 0
    checked = run_with(new, "topics", "check", "--json")
    assert checked.exit_code == 0
    proof = json.loads(checked.stdout)["fencing"]
    assert (proof["refused"], proof["accepted"]) == (FENCING_ROUNDS, 0)


def test_check_exits_with_2_where_the_partition_count_differs(settings: Settings) -> None:
    failed = run_with(settings.model_copy(update={"partitions": 7}), "topics", "check")
    assert failed.exit_code == 2
    assert "never changed in place" in failed.stderr


@pytest.mark.parametrize(("refused", "accepted"), [(19, 1), (0, 0)])
def test_check_exits_with_2_where_the_broker_does_not_fence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, refused: int, accepted: int
) -> None:
    fencing(monkeypatch, refused=refused, accepted=accepted)
    failed = run_with(settings, "topics", "check")
    assert failed.exit_code == 2
    assert f"fencing: {refused} of {refused + accepted} stale appends refused" in failed.stdout
    assert "run no worker on it" in failed.stderr


def fencing(monkeypatch: pytest.MonkeyPatch, *, refused: int, accepted: int) -> None:
    """Replace the proof, which is tested with the engine, by its outcome."""

    async def prove_fencing(connection: dict[str, Any], topic: str, rounds: int) -> FencingReport:
        assert connection["bootstrap_servers"]
        assert topic.endswith("payments.fencing-check")
        assert rounds == FENCING_ROUNDS
        return FencingReport(refused, accepted)

    module(monkeypatch, "exactstage.kafka.fencing", prove_fencing=prove_fencing)
