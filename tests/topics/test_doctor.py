"""``payments doctor``: what it says of brokers' configurations, and of a broker as it is."""

import asyncio

import pytest

import payments.doctor.examination
from exactstage.log import Bounds, TopicPartition
from payments.doctor.examination import judge_broker, judge_clock, judge_ledger
from payments.settings import Settings
from tests.broker_fixture import process_environment
from tests.command_line import run

FIT = {
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "message.max.bytes": "1048588",
    "group.min.session.timeout.ms": "6000",
    "group.max.session.timeout.ms": "1800000",
}


def levels(values: dict[str, str], *, brokers: int = 3, replication: int = 3) -> set[str]:
    """Return level and value of each finding."""
    settings = Settings(replication=replication)
    return {f"{f.level} {f.value}" for f in judge_broker(1, FIT | values, brokers, settings)}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, "ok its configuration fits"),
        ({"auto.create.topics.enable": "true"}, "warning auto.create.topics.enable=true"),
        ({"unclean.leader.election.enable": "true"}, "problem unclean.leader.election.enable=true"),
        (
            {"offsets.topic.replication.factor": "4"},
            "problem offsets.topic.replication.factor=4",
        ),
        (
            {"transaction.state.log.replication.factor": "1"},
            "warning transaction.state.log.replication.factor=1",
        ),
        ({"message.max.bytes": "1000"}, "warning message.max.bytes=1000"),
        ({"group.min.session.timeout.ms": "20000"}, "problem group.min.session.timeout.ms=20000"),
        ({"group.max.session.timeout.ms": "5000"}, "problem group.max.session.timeout.ms=5000"),
    ],
)
def test_a_brokers_configuration_is_judged(values: dict[str, str], found: str) -> None:
    assert levels(values) == {found}


def test_one_broker_for_trials_needs_no_copies() -> None:
    single = dict.fromkeys(
        (
            "offsets.topic.replication.factor",
            "transaction.state.log.replication.factor",
            "transaction.state.log.min.isr",
        ),
        "1",
    )
    assert levels(single, brokers=1, replication=1) == {"ok its configuration fits"}


@pytest.mark.parametrize(
    ("ahead_seconds", "level", "told"),
    [
        (0.0, "ok", "agrees"),
        (-4.9, "ok", "agrees"),
        (172_800.0, "warning", "172800 s ahead of"),
        (-60.0, "warning", "60 s behind"),
    ],
)
def test_a_clock_that_differs_is_a_warning(ahead_seconds: float, level: str, told: str) -> None:
    """The broker's clock decides, so nothing expires early or late."""
    found = judge_clock(ahead_seconds)
    assert found.level == level
    assert told in found.value


async def test_another_number_of_partitions_is_told_once_with_the_next_step(
    settings: Settings,
) -> None:
    environment = process_environment(settings) | {"PAYMENTS_PARTITIONS": "9"}
    given = {name: text for name, text in environment.items() if name.startswith("PAYMENTS_")}
    done = await asyncio.to_thread(run, "doctor", environment=given)
    assert done.exit_code == 2
    assert done.stdout.count("never changed in place") == 1
    assert "payments repartition" in done.stdout
    assert "see the message" not in done.stdout


def test_a_ledger_without_its_first_entries_is_named() -> None:
    """Workers go on without them, and only the day of a rebuild would tell."""
    ledger = [TopicPartition("accounts.ledger", partition) for partition in range(3)]
    held = {ledger[0]: Bounds(0, 9), ledger[1]: Bounds(4, 9), ledger[2]: Bounds(0, 0)}
    [found] = judge_ledger(held)
    assert (found.level, found.where) == ("warning", "accounts.ledger/1")
    assert "begins at offset 4" in found.value


def test_a_sound_installation_has_no_problem(settings: Settings) -> None:
    environment = process_environment(settings)
    given = {name: text for name, text in environment.items() if name.startswith("PAYMENTS_")}
    done = run("doctor", environment=given)
    assert done.exit_code == 0, done.output
    assert "problem" not in done.stdout
    assert "rights" in done.stdout
    assert "nothing is lost, nothing is foreign" in done.stdout
    assert "20 of 20 stale appends refused" in done.stdout
    assert "clock this machine: agrees with the broker's" in done.stdout
    without = run("doctor", "--no-fencing", environment=given)
    assert "stale appends" not in without.stdout
    assert "clock this machine: agrees with the broker's" in without.stdout
    other = run("doctor", environment={**given, "PAYMENTS_TOPIC_PREFIX": "no."})
    assert other.exit_code == 2
    assert "payments topics apply" in other.stdout


def test_without_a_broker_it_ends_soon_and_as_every_other_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All commands were tried so; only this one took 20 s, and ended with the code of a problem."""
    monkeypatch.setattr(payments.doctor.examination, "CONNECT_SECONDS", 0.1)
    failed = run("doctor", environment={"PAYMENTS_BROKERS": "127.0.0.1:1"})
    assert (failed.exit_code, failed.stdout) == (69, "")
    assert "no Kafka broker answers at 127.0.0.1:1" in failed.stderr
