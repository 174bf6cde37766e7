"""``python -m tools.dev.broker``: which broker it starts and stops."""

import pytest

from tools.dev import broker

OTHERS = "broker.example:9092"


class FakeBroker:
    """A broker of this checkout that runs until it is stopped."""

    bootstrap = "127.0.0.1:9192"

    def __init__(self) -> None:
        self.running = True

    def describe(self) -> str:
        """Return what is shown."""
        return "fake"

    def start(self) -> bool:
        """Do nothing: it runs."""
        return False

    def stop(self) -> None:
        """End."""
        self.running = False


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[int, FakeBroker]:
    """Return the brokers of this checkout that were asked for, by port."""
    found: dict[int, FakeBroker] = {}
    monkeypatch.setenv("PAYMENTS_BROKERS", OTHERS)
    monkeypatch.setenv("PAYMENTS_PROVIDER", "local")
    monkeypatch.setattr(
        broker, "local_broker", lambda _, port: found.setdefault(port, FakeBroker())
    )
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["broker", *arguments])
    return broker.main()


def test_a_port_that_is_given_wins_over_payments_brokers(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: dict[int, FakeBroker],
) -> None:
    assert run(monkeypatch, "down", "--port", "9192") == 0
    assert not found[9192].running
    assert capsys.readouterr().out == "The broker is stopped; its data stays\n"


@pytest.mark.parametrize("action", ["up", "down", "status"])
def test_without_a_port_the_broker_of_payments_brokers_is_left_alone(
    action: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: dict[int, FakeBroker],
) -> None:
    assert run(monkeypatch, action) == 0
    assert not found
    printed = capsys.readouterr().out
    assert f"the broker at {OTHERS} (from PAYMENTS_BROKERS): nothing to start or stop" in printed
    assert "--port" in printed


def test_without_both_it_is_the_port_of_payments_port(
    monkeypatch: pytest.MonkeyPatch, found: dict[int, FakeBroker]
) -> None:
    monkeypatch.delenv("PAYMENTS_BROKERS")
    monkeypatch.setenv("PAYMENTS_PORT", "9193")
    assert run(monkeypatch, "down") == 0
    assert not found[9193].running
