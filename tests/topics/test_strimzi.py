"""Resources of Strimzi: all topics of topics.yaml, and users with the least rights of each role."""

from pathlib import Path

import pytest
import yaml

from payments.doctor.rights import GRANTS, JOURNALS
from payments.settings import Settings
from payments.topics.file import PACKAGED, Topic, TopicsFileError, read_topics
from payments.topics.strimzi import resource_name, topics, users
from tests import command_line


def test_each_topic_is_a_resource_with_its_configuration() -> None:
    settings = Settings(app_id="Shop_1", topic_prefix="eu.", replication=3, partitions=4)
    wanted = read_topics(PACKAGED, settings)
    found = {each["spec"]["topicName"]: each for each in topics(wanted, "kafka")}
    assert found.keys() == {topic.name for topic in wanted}
    commands = found["eu.payments.commands"]
    assert (commands["apiVersion"], commands["kind"]) == ("kafka.strimzi.io/v1beta2", "KafkaTopic")
    assert commands["metadata"]["labels"] == {"strimzi.io/cluster": "kafka"}
    assert (commands["spec"]["partitions"], commands["spec"]["replicas"]) == (4, 3)
    assert commands["spec"]["config"]["min.insync.replicas"] == "2"
    assert found["Shop_1-payments-changelog"]["metadata"]["name"] == "shop-1-payments-changelog"


def test_two_topics_with_one_name_in_kubernetes_are_refused() -> None:
    wanted = [Topic(name, 1, 1, {}) for name in ("Shop_1", "shop-1")]
    with pytest.raises(TopicsFileError, match="shop-1 and Shop_1 would both be the resource"):
        list(topics(wanted, "kafka"))


@pytest.mark.parametrize(
    ("name", "expected"), [("A_b.c", "a-b.c"), ("_x_", "x"), ("y" * 300, "y" * 253)]
)
def test_names_have_the_form_of_kubernetes(name: str, expected: str) -> None:
    assert resource_name(name) == expected


def test_each_role_is_a_user_with_its_rights_and_no_other() -> None:
    found = {each["metadata"]["name"]: each["spec"] for each in users(Settings(), "kafka", "tls")}
    assert found.keys() == {f"payments-{role}" for role in GRANTS}
    worker = found["payments-worker"]
    assert worker["authentication"] == {"type": "tls"}
    acls = worker["authorization"]["acls"]
    granted = {
        (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"]): set(
            acl["operations"]
        )
        for acl in acls
    }
    assert len(granted) == len(acls), "each resource is there once"
    assert granted["transactionalId", "payments-", "prefix"] == {"Write"}
    assert granted["group", "payments", "literal"] == {"Read"}
    assert granted["topic", "payments.commands", "literal"] == {"Read", "DescribeConfigs"}
    for journal in JOURNALS:
        name = journal.format(app="payments")
        assert granted["topic", name, "literal"] == {"Read", "Write", "DescribeConfigs"}
    operator = found["payments-operator"]["authorization"]["acls"]
    assert {"resource": {"type": "cluster"}, "operations": ["DescribeConfigs"]} in operator


def test_the_command_prints_them_without_a_broker(tmp_path: Path) -> None:
    shown = command_line.run(
        *("topics", "strimzi", "--cluster", "kafka", "--users", "scram-sha-512"),
        *("-f", str(PACKAGED)),
        environment={"PAYMENTS_BROKERS": "127.0.0.1:1"},
    )
    assert shown.exit_code == 0, shown.output
    kinds = [each["kind"] for each in yaml.safe_load_all(shown.stdout)]
    assert set(kinds) == {"KafkaTopic", "KafkaUser"}
    refused = command_line.run(
        *("topics", "strimzi", "--cluster", "kafka", "-f", str(tmp_path / "none.yaml")),
        environment={},
    )
    assert refused.exit_code == 1
    assert "cannot be read" in refused.output
