"""The plan: which lines come out of wanted and existing topics."""

import pytest

from payments.topics.cluster import ExistingTopic, Plan, TopicsError, compare
from payments.topics.file import Topic


def existing(
    *, partitions: int = 4, replication: int = 1, configs: dict[str, str] | None = None
) -> ExistingTopic:
    return ExistingTopic(partitions, replication, configs or {}, ready=True)


def lines(plan: Plan) -> list[str]:
    return [f"{change.sign} {change.text}" for change in plan.changes]


def test_a_missing_topic_is_added_with_its_configuration() -> None:
    wanted = Topic("a", 4, 1, {"retention.ms": "1", "cleanup.policy": "delete"})
    plan = compare([wanted], {})
    assert plan.create == (wanted,)
    assert lines(plan) == [
        "+ topic a (4 partitions, replication 1) retention.ms=1, cleanup.policy=delete"
    ]


def test_one_partition_is_written_in_the_singular() -> None:
    assert lines(compare([Topic("a", 1, 1, {})], {})) == ["+ topic a (1 partition, replication 1)"]


def test_configurations_are_added_changed_and_removed() -> None:
    wanted = Topic("a", 4, 1, {"same": "1", "new": "2", "other": "3"})
    found = existing(configs={"same": "1", "other": "0", "gone": "9"})
    plan = compare([wanted], {"a": found})
    assert lines(plan) == ["+ config a new=2", "~ config a other: 0 -> 3", "- config a gone=9"]
    assert plan.reconfigure == (wanted,)
    assert plan.create == ()


def test_the_summary_counts_the_lines_by_kind() -> None:
    wanted = [Topic("a", 4, 1, {"x": "1", "y": "2"}), Topic("b", 4, 1, {"z": "3"})]
    plan = compare(wanted, {"a": existing(configs={"y": "0", "gone": "9", "gone.too": "9"})})
    assert plan.summary() == "Plan: 2 to add, 1 to change, 2 to remove"


def test_nothing_is_planned_for_topics_that_are_as_wanted_nor_for_others() -> None:
    found = {"a": existing(configs={"x": "1"}), "unrelated": existing(partitions=9)}
    plan = compare([Topic("a", 4, 1, {"x": "1"})], found)
    assert plan.changes == ()
    assert plan.summary() == "Plan: 0 to add, 0 to change, 0 to remove"


def test_another_number_of_partitions_or_replicas_is_refused_naming_all_of_them() -> None:
    wanted = [Topic("a", 8, 1, {}), Topic("b", 4, 3, {}), Topic("c", 4, 1, {})]
    with pytest.raises(TopicsError) as refused:
        compare(wanted, {"a": existing(), "b": existing(), "c": existing()})
    told = str(refused.value)
    assert "a has 4 partitions, wanted are 8" in told
    assert "never changed in place" in told
    assert "b has a replication of 1, wanted is 3" in told
    assert "c has" not in told
