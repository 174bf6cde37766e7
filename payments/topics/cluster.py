"""Topics on the cluster: compares them with ``topics.yaml``, and applies the differences.

Topics are compared by their own overrides: a configuration that a topic does not override is not
compared, whatever the broker's default. Topics are never deleted, and the number of partitions
and replicas is never changed in place: keys would move to other partitions.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from exactstage.kafka import Right, grant_command, hidden_topics, open_admin, rights_refusal
from payments.settings import Settings
from payments.topics.file import Topic

APPLY_LIMIT_SECONDS, CREATE_SECONDS = 30.0, 0.02
"""How long a plan may take, and how much longer for each partition that it creates."""

POLL_SECONDS = 0.1
TOPIC_OVERRIDE = 1
"""``config_source`` of a value that is set on the topic itself (DescribeConfigs, KIP-226)."""


class TopicsError(Exception):
    """The cluster's topics cannot be brought to what the file says; the message says why."""


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic of the cluster; ``ready`` means that each partition has a leader."""

    partitions: int
    replication: int
    configs: Mapping[str, str]
    ready: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: ``+`` to add, ``~`` to change, ``-`` to remove."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Topics to create, topics to reconfigure, and the same in lines."""

    create: tuple[Topic, ...]
    reconfigure: tuple[Topic, ...]
    changes: tuple[Change, ...]

    def summary(self) -> str:
        """Return the count of the lines by kind."""
        add, change, remove = (sum(c.sign == sign for c in self.changes) for sign in "+~-")
        return f"Plan: {add} to add, {change} to change, {remove} to remove"


def compare(wanted: Sequence[Topic], existing: Mapping[str, ExistingTopic]) -> Plan:
    """Return the plan that leads from the existing topics to the wanted ones.

    Raises TopicsError when a topic has another number of partitions or replicas.
    """
    if refused := [*_fixed_differences(wanted, existing)]:
        raise TopicsError("; ".join(refused))
    create = tuple(topic for topic in wanted if topic.name not in existing)
    changes = [_creation(topic) for topic in create]
    reconfigure = []
    for topic in wanted:
        found = existing.get(topic.name)
        different = list(_config_changes(topic, found.configs)) if found else []
        if different:
            reconfigure.append(topic)
            changes += different
    return Plan(create, tuple(reconfigure), tuple(changes))


def _fixed_differences(
    wanted: Sequence[Topic], existing: Mapping[str, ExistingTopic]
) -> Iterable[str]:
    """Yield a line for each difference that is not changed in place, with all its topics."""
    pairs = [(topic, existing[topic.name]) for topic in wanted if topic.name in existing]
    partitions = _by_difference((t.name, f.partitions, t.partitions) for t, f in pairs)
    for (found, asked), names in partitions.items():
        yield (
            f"{_have(names)} {_count(found, 'partition')}, wanted are {asked}: a partition count "
            f"is never changed in place, since keys would move; set PAYMENTS_PARTITIONS to the "
            f"present count, or copy the installation: payments repartition (docs/operations.md)"
        )
    copies = _by_difference((t.name, f.replication, t.replication) for t, f in pairs)
    for (found, asked), names in copies.items():
        yield (
            f"{_have(names)} a replication of {found}, wanted is {asked}: it is not changed here; "
            f"set PAYMENTS_REPLICATION to the present one, or change it with "
            f"kafka-reassign-partitions"
        )


def _by_difference(topics: Iterable[tuple[str, int, int]]) -> dict[tuple[int, int], list[str]]:
    """Return the names of the topics that differ, by the number found and the one asked for."""
    names: dict[tuple[int, int], list[str]] = {}
    for name, found, asked in topics:
        if found != asked:
            names.setdefault((found, asked), []).append(name)
    return names


def _have(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _creation(topic: Topic) -> Change:
    configs = ", ".join(f"{name}={value}" for name, value in topic.configs.items())
    size = f"{_count(topic.partitions, 'partition')}, replication {topic.replication}"
    return Change("+", f"topic {topic.name} ({size}) {configs}".rstrip())


def _config_changes(topic: Topic, present: Mapping[str, str]) -> Iterable[Change]:
    for name, value in topic.configs.items():
        if name not in present:
            yield Change("+", f"config {topic.name} {name}={value}")
        elif present[name] != value:
            yield Change("~", f"config {topic.name} {name}: {present[name]} -> {value}")
    for name in sorted(present.keys() - topic.configs.keys()):
        yield Change("-", f"config {topic.name} {name}={present[name]}")


class Cluster:
    """The topics of one Kafka cluster, over one admin connection."""

    def __init__(self, admin: AIOKafkaAdminClient, arguments: Mapping[str, Any]) -> None:
        self._admin = admin
        self._arguments = arguments

    async def plan(self, wanted: Sequence[Topic]) -> Plan:
        """Compare the wanted topics with the cluster."""
        return compare(wanted, await self._existing(wanted))

    async def names(self) -> set[str]:
        """Return the names of all topics."""
        # All topics are asked for: asking for a missing one by name could create it.
        return {topic["topic"] for topic in await self._admin.describe_topics()}

    async def apply(self, plan: Plan, wanted: Sequence[Topic]) -> None:
        """Carry out a plan, then wait until the cluster shows all of it and every leader.

        Raises TopicsError when the cluster refuses a change, or when it takes too long.
        """
        if plan.create:
            await self._create(plan.create)
        if plan.reconfigure:
            await self._reconfigure(plan.reconfigure)
        limit = APPLY_LIMIT_SECONDS + CREATE_SECONDS * sum(t.partitions for t in plan.create)
        deadline = time.monotonic() + limit
        while not await self._shows(wanted):
            if time.monotonic() > deadline:
                message = f"the cluster does not show the topics after {limit:.0f} s"
                raise TopicsError(message)
            await asyncio.sleep(POLL_SECONDS)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete topics."""
        response = await self._admin.delete_topics(list(names))
        for name, code in response.topic_error_codes:
            _raise_for(code, f"topic {name} cannot be deleted")

    async def recreate(self, names: Sequence[str]) -> None:
        """Delete topics with all they hold, and make them again with the same configuration.

        ``payments rebuild --replace`` does it to journals. Ctrl-C waits until they are there again:
        otherwise the next run would find neither them nor their configuration. Raises TopicsError.
        """
        making = asyncio.create_task(self._recreate(names))
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            await making
            raise

    async def _recreate(self, names: Sequence[str]) -> None:
        wanted = [Topic(name, 0, 0, {}) for name in names]
        found = await self._existing(wanted)
        topics = tuple(
            Topic(name, topic.partitions, topic.replication, dict(topic.configs))
            for name, topic in found.items()
        )
        await self.delete(list(found))
        deadline = time.monotonic() + APPLY_LIMIT_SECONDS
        while set(found) & await self.names():
            if time.monotonic() > deadline:
                message = f"the cluster still shows {', '.join(found)} after they were deleted"
                raise TopicsError(message)
            await asyncio.sleep(POLL_SECONDS)
        await self.apply(Plan(topics, (), ()), topics)

    async def min_retention_ms(self, name: str) -> float:
        """Return the minimum retention in ms; 0 where ``retention.bytes`` may delete earlier."""
        [response] = await self._admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name)]
        )
        [(code, message, _, _, entries)] = response.resources
        problem = f"the configuration of {name} cannot be read: {message}"
        self._raise_for(code, problem, "DescribeConfigs", name)
        values = {entry[0]: entry[1] for entry in entries}
        if values["retention.bytes"] != "-1":
            return 0
        retention_ms = int(values["retention.ms"])
        return math.inf if retention_ms < 0 else retention_ms

    async def _shows(self, wanted: Sequence[Topic]) -> bool:
        existing = await self._existing(wanted)
        if compare(wanted, existing).changes:
            return False
        return all(topic.ready for topic in existing.values())

    async def _existing(self, wanted: Sequence[Topic]) -> dict[str, ExistingTopic]:
        # All topics are asked for: asking for a missing one by name could create it.
        names = {topic.name for topic in wanted}
        shown = await self._admin.describe_topics()
        found = {topic["topic"]: topic["partitions"] for topic in shown if topic["topic"] in names}
        await self._require_visible(names - found.keys())
        configs = await self._configs(list(found)) if found else {}
        return {
            name: ExistingTopic(
                partitions=len(partitions),
                replication=min((len(p["replicas"]) for p in partitions), default=0),
                configs=configs[name],
                ready=bool(partitions) and all(p["leader"] >= 0 for p in partitions),
            )
            for name, partitions in found.items()
            if name in configs
        }

    async def _require_visible(self, names: Collection[str]) -> None:
        """Raise TopicsError for topics that are not shown because this user may not see them."""
        if not names:
            return
        hidden = await hidden_topics(self._admin, names)
        if hidden:
            lacking = {topic: [Right.DESCRIBE] for topic in hidden}
            raise TopicsError(rights_refusal(lacking, self._arguments))

    def _raise_for(self, code: int, message: str, operation: str, topic: str) -> None:
        """Raise TopicsError for a code; for a missing right, with the command that grants it."""
        if code in {TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno}:
            command = grant_command(self._arguments, [operation], "topic", [topic])
            message = (
                f"not authorized: this user lacks {operation} on {topic} ({message}). Grant it: "
                f"{command}"
            )
            raise TopicsError(message)
        _raise_for(code, message)

    async def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = {}
        for response in await self._admin.describe_configs(resources):
            for code, message, _, name, entries in response.resources:
                if code == UnknownTopicOrPartitionError.errno:
                    continue  # just created: this broker has not heard of it yet
                problem = f"the configuration of {name} cannot be read: {message}"
                self._raise_for(code, problem, "DescribeConfigs", name)
                configs[name] = {e[0]: e[1] or "" for e in entries if e[3] == TOPIC_OVERRIDE}
        return configs

    async def _create(self, topics: Sequence[Topic]) -> None:
        # One by one: Kafka's controller refuses a request for more than 10,000 partitions.
        for t in topics:
            new = NewTopic(t.name, t.partitions, t.replication, topic_configs=dict(t.configs))
            response = await self._admin.create_topics([new])
            [result] = response.to_object()["topic_errors"]
            # Another program has created it just now: ``_shows`` compares it afterwards.
            if result["error_code"] != TopicAlreadyExistsError.errno:
                detail = result.get("error_message")
                problem = f"topic {t.name} is refused: {detail}"
                self._raise_for(result["error_code"], problem, "Create", t.name)

    async def _reconfigure(self, topics: Sequence[Topic]) -> None:
        # AlterConfigs replaces all overrides of a topic, so the whole set is sent.
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, t.name, dict(t.configs)) for t in topics
        ]
        for response in await self._admin.alter_configs(resources):
            for code, message, _, name in response.resources:
                problem = f"the configuration of {name} is refused: {message}"
                self._raise_for(code, problem, "AlterConfigs", name)


def _raise_for(code: int, message: str) -> None:
    if code:
        error: Any = for_code(code)
        reason = f"{message} ({error.__name__})"
        raise TopicsError(reason)


@asynccontextmanager
async def cluster(settings: Settings) -> AsyncIterator[Cluster]:
    """Connect to the cluster of these settings for as long as the block lasts."""
    arguments = settings.connection()
    async with open_admin(arguments) as admin:
        yield Cluster(admin, arguments)
