"""Topics on a real broker: apply makes the plan true, and only then."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from payments.settings import Settings
from payments.topics.cluster import TopicsError, cluster
from payments.topics.file import Topic, read_topics
from tests.broker_fixture import TOPICS, Installations

pytestmark = pytest.mark.kafka39


def with_configs(wanted: tuple[Topic, ...], index: int, configs: dict[str, str]) -> list[Topic]:
    changed = list(wanted)
    changed[index] = replace(changed[index], configs=configs)
    return changed


async def test_applied_topics_are_as_the_file_says_and_take_records(settings: Settings) -> None:
    wanted = read_topics(TOPICS, settings)
    async with cluster(settings) as connected:
        assert (await connected.plan(wanted)).changes == ()
    async with AIOKafkaProducer(**settings.connection(), acks="all") as producer:
        for topic in wanted:
            for partition in range(topic.partitions):
                # With a key, since a compacted topic refuses a record without one.
                await producer.send_and_wait(topic.name, b"value", key=b"key", partition=partition)


async def test_changed_added_and_removed_configurations_are_applied(settings: Settings) -> None:
    wanted = read_topics(TOPICS, settings)
    before = wanted[0].configs
    changed = with_configs(wanted, 0, {"retention.ms": "1000", "segment.ms": "2000"})
    async with cluster(settings) as connected:
        plan = await connected.plan(changed)
        assert {
            (c.sign, c.text.split()[2].partition("=")[0].rstrip(":")) for c in plan.changes
        } == {
            ("~", "retention.ms"),
            ("+", "segment.ms"),
            *(("-", name) for name in before.keys() - {"retention.ms"}),
        }
        await connected.apply(plan, changed)
        assert (await connected.plan(changed)).changes == ()
        await connected.apply(await connected.plan(wanted), wanted)
        assert (await connected.plan(wanted)).changes == ()


async def test_applying_at_the_same_time_from_two_places_ends_well(
    installations: Installations,
) -> None:
    first = await installations.make()
    # The other installation has the same public topics and journals of its own.
    settings = first.model_copy(update={"app_id": f"{first.app_id}-b"})
    installations.adopt(settings)
    wanted = read_topics(TOPICS, settings)

    async def apply() -> None:
        async with cluster(settings) as connected:
            await connected.apply(await connected.plan(wanted), wanted)

    await asyncio.gather(apply(), apply(), apply())
    async with cluster(settings) as connected:
        assert (await connected.plan(wanted)).changes == ()


async def test_another_partition_count_is_refused_and_changes_nothing(settings: Settings) -> None:
    wanted = read_topics(TOPICS, settings)
    more = with_configs(wanted, 1, {"retention.ms": "1"})
    more[0] = replace(more[0], partitions=wanted[0].partitions + 1)
    async with cluster(settings) as connected:
        with pytest.raises(TopicsError, match="never changed in place"):
            await connected.plan(more)
        assert (await connected.plan(wanted)).changes == ()


async def test_what_the_broker_refuses_is_told_with_the_topic(settings: Settings) -> None:
    wanted = read_topics(TOPICS, settings)
    async with cluster(settings) as connected:
        for configs in ({"retention.ms": "soon"}, {"no.such.config": "1"}):
            refused = with_configs(wanted, 0, configs)
            with pytest.raises(TopicsError, match=settings.topics.commands):
                await connected.apply(await connected.plan(refused), refused)
        new = [Topic(f"{settings.topic_prefix}new", 1, 1, {"retention.ms": "soon"})]
        with pytest.raises(TopicsError, match=f"{settings.topic_prefix}new is refused"):
            await connected.apply(await connected.plan(new), new)


async def test_deleting_a_topic_that_is_not_there_is_told(settings: Settings) -> None:
    async with cluster(settings) as connected:
        with pytest.raises(TopicsError, match="nowhere cannot be deleted"):
            await connected.delete(["nowhere"])


async def test_journals_are_there_again_although_their_renewal_was_interrupted(
    settings: Settings,
) -> None:
    """Ctrl-C in ``payments rebuild --replace``: the same command then finds them, and goes on."""
    journals = [settings.changelog(stage) for stage in ("payments", "accounts")]
    wanted = read_topics(TOPICS, settings)
    async with cluster(settings) as connected, cluster(settings) as looking:
        making = asyncio.create_task(connected.recreate(journals))
        async with asyncio.timeout(60):
            while set(journals) <= await looking.names():
                assert not making.done(), "it was over before it was interrupted"
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert (await looking.plan(wanted)).changes == ()
