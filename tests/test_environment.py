"""Variables that are no settings, empty ones, and those that don't fit each other."""

import re
import subprocess
import sys

import pytest

from payments.environment import known, unknown
from payments.settings import Settings
from tests import command_line
from tests.command_line import Ended


def run(*arguments: str, **variables: str) -> Ended:
    return command_line.run(*arguments, environment=variables)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("PAYMENTS_BROKER", "did you mean PAYMENTS_BROKERS?"),
        ("PAYMENTS_KAFKA_BROKERS", "did you mean PAYMENTS_BROKERS?"),
        ("PAYMENTS_INSTANCEID", "did you mean PAYMENTS_INSTANCE_ID?"),
        ("PAYMENTS_GATEWAY_TOKEN", "did you mean PAYMENTS_GATEWAY_TOKENS?"),
        ("payments_partition", "did you mean PAYMENTS_PARTITIONS?"),
        ("PAYMENTS_XYZ", "the README lists the settings"),
    ],
)
def test_a_misspelt_variable_is_warned_about_with_the_nearest_name(name: str, told: str) -> None:
    """Of the same kind: empty ones, and values that don't fit each other (below)."""
    assert unknown({name: "x", "HOME": "/"}, known()) == [
        f"{name} is no setting and does nothing: {told}"
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("PAYMENTS_BROKERS", "payments_brokers", "PAYMENTS_GATEWAY_PORT", "PAYMENTS_PROVIDER"),
        # Kubernetes, for services named payments, payments-gateway and payments-db.
        *("PAYMENTS_SERVICE_HOST", "PAYMENTS_SERVICE_PORT_HTTP", "PAYMENTS_PORT"),
        *("PAYMENTS_GATEWAY_PORT_8080_TCP_ADDR", "PAYMENTS_DB_PORT_5432_TCP", "PAYMENTS_DB_PORT"),
    ],
)
def test_settings_and_what_kubernetes_adds_are_not_warned_about(name: str) -> None:
    assert unknown({name: "x"}, known()) == []


def test_every_command_warns_on_standard_error_and_goes_on() -> None:
    done = run("asyncapi", "--json", PAYMENTS_BROKER="kafka:9092")
    assert done.exit_code == 0
    assert done.stderr == (
        "Warning: PAYMENTS_BROKER is no setting and does nothing: did you mean PAYMENTS_BROKERS?\n"
    )


@pytest.mark.parametrize("command", ["worker", "gateway"])
def test_in_a_log_the_warning_has_the_form_of_its_lines(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "payments.cli", command],
        env={"PAYMENTS_BROKER": "kafka:9092", "PAYMENTS_PARTITIONS": "none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 1
    warning, _ = done.stderr.splitlines()
    line = r"\d{4}-\S+ \S+ WARNING payments\.environment: PAYMENTS_BROKER is no setting.*"
    assert re.fullmatch(line, warning)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known():
        monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct()


def test_an_address_that_kubernetes_puts_into_a_setting_is_told_as_that() -> None:
    done = run("gateway", PAYMENTS_GATEWAY_PORT="tcp://10.0.0.1:8080")
    assert done.exit_code == 1
    assert "PAYMENTS_GATEWAY_PORT" in done.stderr
    assert "enableServiceLinks: false" in done.stderr
