"""topics.yaml: what a file means for given settings, and how its mistakes are told."""

from pathlib import Path

import pytest

from payments.settings import Settings
from payments.topics.file import Topic, TopicsFileError, read_topics

PROJECT_FILE = Path(__file__).parent.parent.parent / "topics.yaml"
SMALL = """
defaults: {partitions: 3, replication: 2, configs: {retention.ms: 1000}}
topics:
  in: {}
  out:
    partitions: 1
    replication: 1
    configs: {retention.ms: -1, unclean.leader.election.enable: no}
  "{app}-journal": {configs: {cleanup.policy: compact}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_topic_takes_the_defaults_and_keeps_what_it_sets_itself(small: Path) -> None:
    assert read_topics(small, Settings(app_id="shop")) == (
        Topic("in", 3, 2, {"retention.ms": "1000"}),
        Topic("out", 1, 1, {"retention.ms": "-1", "unclean.leader.election.enable": "false"}),
        Topic("shop-journal", 3, 2, {"retention.ms": "1000", "cleanup.policy": "compact"}),
    )


def test_the_prefix_goes_before_public_names_and_the_app_id_into_the_others(small: Path) -> None:
    names = [t.name for t in read_topics(small, Settings(topic_prefix="eu.", app_id="shop"))]
    assert names == ["eu.in", "eu.out", "shop-journal"]


def test_the_variables_replace_the_defaults_of_the_file(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYMENTS_PARTITIONS", "5")
    monkeypatch.setenv("PAYMENTS_REPLICATION", "3")
    sizes = [(t.partitions, t.replication) for t in read_topics(small, Settings())]
    assert sizes == [(5, 3), (1, 1), (5, 3)]


def test_the_projects_own_file_has_every_topic_of_the_flow_with_one_partition_count() -> None:
    topics = {t.name: t for t in read_topics(PROJECT_FILE, Settings(app_id="app", partitions=8))}
    flow = {
        "payments.commands",
        "payments.transfers",
        "payments.inbox",
        "payments.results",
        "accounts.ledger",
        "payments.dead-letters",
        "accounts.commands",
        "accounts.results",
        "accounts.dead-letters",
        "app-payments-changelog",
        "app-accounts-changelog",
    }
    assert topics.keys() == flow | {"payments.fencing-check"}
    assert {topics[name].partitions for name in flow} == {8}
    assert topics["payments.commands"].configs["message.timestamp.type"] == "LogAppendTime"
    assert topics["app-payments-changelog"].configs["cleanup.policy"] == "compact"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("topics: [", "is not a YAML file"),
        ("", "the file: Input should be a valid dictionary"),
        ("defaults: {}", "topics: Field required"),
        ("topics: {a: {partition: 3}}", "topics > a > partition: Extra inputs are not permitted"),
        ("topics: {a: {partitions: 0}}", "topics > a > partitions"),
        (
            "topics: {a: {configs: {x: [1]}}}",
            "topics > a > configs > x: Input should be a valid str",
        ),
        ("topics: {a: {configs: {x: null}}}", "topics > a > configs > x"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(
    tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(TopicsFileError) as refused:
        read_topics(path, Settings())
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TopicsFileError, match=r"none\.yaml cannot be read: No such file"):
        read_topics(tmp_path / "none.yaml", Settings())


@pytest.mark.parametrize(("replication", "expected"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_three_copies_need_two_in_sync(replication: int, expected: str | None) -> None:
    topics = read_topics(PROJECT_FILE, Settings(replication=replication))
    assert {topic.configs.get("min.insync.replicas") for topic in topics} == {expected}
