"""What a worker relies on in the configuration of its topics, and refuses to run without.

Each refusal is one line: topic, value, and the command that brings the topic back. The same kind:
topics that do not exist (``test_auto_create``), or have another number of partitions.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exactstage.errors import EXIT_FAIL_STOP, FailStop
from exactstage.kafka.configs import (
    losses,
    read_configs,
    read_retention,
    require,
    shortest_tombstone_seconds,
)
from exactstage.kafka.connection import Connection
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.topics.file import read_topics
from tests.broker.client import WorkerProcess
from tests.broker_fixture import TOPICS, Installations

JOURNAL = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}
INPUT = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        ("journal", "cleanup.policy", "compact,delete"),
        ("journal", "cleanup.policy", "delete,compact"),
        ("journal", "cleanup.policy", "delete"),
        ("journal", "cleanup.policy", ""),
        ("journal", "message.timestamp.type", "CreateTime"),
        ("input", "cleanup.policy", "compact"),
        ("input", "cleanup.policy", "compact,delete"),
        ("input", "message.timestamp.type", "CreateTime"),
    ],
)
def test_a_topic_that_loses_records_or_time_is_refused(topic: str, name: str, value: str) -> None:
    configs: dict[str, dict[str, str]] = {"journal": dict(JOURNAL), "input": dict(INPUT)}
    require(configs, inputs=["input"], journals=["journal"])
    configs[topic][name] = value
    with pytest.raises(FailStop, match=rf"^{topic} has {name}={value}, .*payments topics apply$"):
        require(configs, inputs=["input"], journals=["journal"])


def answering(code: int, *entries: tuple[str, str]) -> Connection:
    """Return a connection to a broker that answers so for the topic ``journal``."""

    async def send(_node: int, _request: object) -> Any:
        return SimpleNamespace(resources=[(code, "no", 2, "journal", entries)])

    client = SimpleNamespace(get_random_node=lambda: 1)
    arguments = {"bootstrap_servers": "kafka:9092"}
    return cast(
        "Connection",
        SimpleNamespace(
            client=client, send=send, delivery_timeout_seconds=0.1, arguments=arguments
        ),
    )


async def test_a_missing_right_is_named() -> None:
    with pytest.raises(
        FailStop, match=r"not authorized: .*lacks DescribeConfigs on journal.*--operation"
    ):
        await read_configs(answering(29), ["journal"])


async def test_other_refusals_are_named() -> None:
    with pytest.raises(FailStop, match="journal can't be read: InvalidTopicError"):
        await read_configs(answering(17), ["journal"])


async def test_the_shortest_life_of_a_tombstone_counts() -> None:
    configs: Mapping[str, Mapping[str, str]] = {
        "a": await _read({"delete.retention.ms": "300000"}),
        "b": await _read({"delete.retention.ms": "86400000"}),
    }
    assert shortest_tombstone_seconds(configs, ["a", "b"]) == 300.0


async def _read(values: Mapping[str, str]) -> Mapping[str, str]:
    return (await read_configs(answering(0, *values.items()), ["journal"]))["journal"]


@pytest.mark.kafka39
async def test_a_worker_refuses_topics_that_were_made_by_a_broker_and_names_all_of_them(
    installations: Installations,
) -> None:
    by_default = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}
    both = {"cleanup.policy": "compact,delete"}
    settings = await installations.make(
        configs={"{app}-payments-changelog": both, "{app}-accounts-changelog": by_default}
    )
    worker = WorkerProcess(settings)
    worker.spawn()
    assert await worker.ended() == EXIT_FAIL_STOP
    (line,) = [each for each in worker.log.read_text().splitlines() if "CRITICAL" in each]
    for problem in (
        f"{settings.changelog('payments')} has cleanup.policy=compact,delete",
        f"{settings.changelog('accounts')} has cleanup.policy=delete",
        f"{settings.changelog('accounts')} has message.timestamp.type=CreateTime",
        "payments topics apply",
    ):
        assert problem in line
    worker.log.unlink()


RETENTION = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retention.ms", "86399999", 86_400.0),
        ("retention.ms", "604800000", math.inf),
        ("retention.bytes", "1000000000", 86_400.0),
        ("cleanup.policy", "compact", math.inf),
        ("cleanup.policy", "compact,delete", 86_400.0),
    ],
)
def test_a_retention_that_loses_what_is_needed_is_named(
    name: str, value: str, seconds: float
) -> None:
    for kept, found in ((RETENTION, 0), ({**RETENTION, "retention.ms": "86400000"}, 0)):
        assert len(losses({"a": kept}, {"a": 86_400.0})) == found
    [told] = losses({"a": {**RETENTION, name: value}}, {"a": seconds})
    needed = "for ever" if math.isinf(seconds) else "for 86400 s at least"
    assert told == (
        f"a has {name}={value}, and its records have to be kept {needed}; bring it back with: "
        f"payments topics apply"
    )


async def test_a_configuration_that_may_not_be_seen_is_no_loss() -> None:
    """The worker's least rights do not include it for the ledger and the results."""
    assert await read_retention(answering(29), ["journal"]) == {}


async def test_a_worker_warns_once_of_a_ledger_that_is_not_kept(
    installations: Installations,
) -> None:
    settings = await installations.make(
        configs={
            "accounts.ledger": {"retention.ms": "604800000", "retention.bytes": "1000000000"},
            "payments.commands": {"retention.ms": "3600000"},
        }
    )
    worker = WorkerProcess(settings)
    try:
        await worker.start()
        warned = "records will be lost that are still needed: "
        await worker.until(lambda: warned in worker.log.read_text(), "is silent")
        [line] = [each for each in worker.log.read_text().splitlines() if " WARNING " in each]
        for topic, problem in (
            ("payments.commands", "retention.ms=3600000, and its records have to be kept for 691"),
            ("accounts.ledger", "retention.ms=604800000, retention.bytes=1000000000, and its re"),
        ):
            assert f"{settings.topic(topic)} has {problem}" in line
    finally:
        await worker.kill()
        worker.log.unlink()


def test_the_project_s_file_asks_for_what_a_worker_needs() -> None:
    settings = Settings(app_id="shop")
    by_default = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}
    configs = {
        topic.name: by_default | dict(topic.configs) for topic in read_topics(TOPICS, settings)
    }
    stages = [payments_stage(settings), accounts_stage(settings)]
    require(
        configs,
        inputs=[topic for stage in stages for topic in stage.inputs],
        journals=[stage.changelog for stage in stages],
    )
    assert {c["message.timestamp.type"] for c in configs.values()} == {"LogAppendTime"}
    keeps = {topic: kept for stage in stages for topic, kept in stage.keeps.items()}
    kept = {topic: RETENTION | configs[topic] for topic in keeps}
    assert losses(kept, keeps) == []


def test_commands_and_results_are_kept_for_the_longest_life_of_a_payment() -> None:
    """A hold of the default length, then the retention, or the time for refunds, and a window."""
    keeps = payments_stage(Settings(hold_seconds=10, retention_seconds=5, window_seconds=2)).keeps
    assert keeps == {"payments.commands": 17, "payments.inbox": 5, "payments.results": 17}
    longer = Settings(hold_seconds=10, retention_seconds=5, refund_seconds=7, window_seconds=2)
    assert longer.longest_life_seconds == 19
    assert payments_stage(longer).keeps["payments.inbox"] == 7
    a_week = {**RETENTION, "retention.ms": "604800000"}
    [told] = losses({"results": a_week}, {"results": Settings().longest_life_seconds})
    assert "retention.ms=604800000, and its records have to be kept for 691260 s at least" in told
