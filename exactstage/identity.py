"""Identity: which installation a journal belongs to, and which topics its positions are of.

A position in a topic means something only as long as the topic is the same one: a topic that was
deleted and recreated, or copied to another cluster, has the same name and other offsets. So a
journal says, in the first checkpoint of each ownership and in one of ``IDENTITY_EVERY`` after it,
what it was written for, and a takeover compares that with what the broker has (docs/design.md 4.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .advice import command, setting
from .errors import NotOurs

CHECKPOINT_FORMAT = 1
"""Oldest format of checkpoints that a reader has to know. It changes only when a worker of the
version before could not continue from what this one writes."""

IDENTITY_EVERY = 32
"""Every 32nd checkpoint has the identity: half the ring, so that the ring always has it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a journal was written for."""

    installation: str
    """``<app id>/<topic id of the first stage's changelog when the installation was first used>``.

    The broker makes topic ids at random, and all workers see the same one: so they agree on the
    name of a new installation without a word between them, and no two installations share one."""

    app: str
    cluster: str
    stage: str
    partition: int
    partitions: int
    """Partitions of each topic."""

    topics: Mapping[str, str]
    """Topic id, as Kafka's tools print it, of each topic of the application by its name."""

    rows: int = 1
    """Newest format of rows that the journal may hold (``Stage.row_format``)."""

    copied: bool = False
    """Whether a program that is no worker has copied the journal to where it is, so that older
    records may be of a producer without an id."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """What the stage of the last owner decided by (``Stage.settings``); nothing of versions before.
    """

    def as_fields(self) -> dict[str, Any]:
        """Return it as it is written to a checkpoint."""
        return {
            "installation": self.installation,
            "app": self.app,
            "cluster": self.cluster,
            "stage": self.stage,
            "partition": self.partition,
            "partitions": self.partitions,
            "topics": dict(self.topics),
            "rows": self.rows,
            "copied": self.copied,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``as_fields`` wrote. Raises ``KeyError`` when a field is missing."""
        return cls(
            installation=fields["installation"],
            app=fields["app"],
            cluster=fields["cluster"],
            stage=fields["stage"],
            partition=fields["partition"],
            partitions=fields["partitions"],
            topics=fields["topics"],
            rows=fields["rows"],
            copied=fields.get("copied", False),
            settings=fields.get("settings", {}),
        )


def differing_settings(recorded: Identity, found: Identity) -> Mapping[str, tuple[str, str]]:
    """Return the settings that are not what they were: by name, the former value and this one.

    One that only one of the two knows belongs to another version, and is none of them.
    """
    return {
        name: (before, found.settings[name])
        for name, before in recorded.settings.items()
        if found.settings.get(name, before) != before
    }


def require_same(where: str, recorded: Identity, found: Identity) -> None:
    """Raise ``NotOurs`` where a journal was written for something else than what is there.

    ``recorded`` is what the journal says of itself, ``found`` what this worker and its broker are.
    """
    if recorded.app != found.app:
        message = (
            f"{where} belongs to installation {recorded.installation} of {setting('APP_ID')} "
            f"{recorded.app}, "
            f"but this worker is {found.app}: set {setting('APP_ID')} to {recorded.app}, or use "
            f"topics of "
            f"its own ({setting('TOPIC_PREFIX')}) and make them with: {command('topics apply')}"
        )
        raise NotOurs(message)
    if (recorded.stage, recorded.partition) != (found.stage, found.partition):
        message = (
            f"{where} was written as {recorded.stage}/{recorded.partition}, not as "
            f"{found.stage}/{found.partition}: was it copied? Look at it with: "
            f"{command('journal inspect')}"
        )
        raise NotOurs(message)
    if recorded.partitions != found.partitions:
        message = (
            f"{where} was written for {recorded.partitions} partitions of each topic, but there "
            f"are "
            f"{found.partitions}: keys would move; go to another number with: "
            f"{command('repartition')}"
        )
        raise NotOurs(message)
    if recorded.rows > found.rows:
        message = (
            f"{where} has rows of format {recorded.rows}, this worker reads up to {found.rows}: a "
            f"newer version wrote them; start that version again"
        )
        raise NotOurs(message)
    _require_same_topics(where, recorded, found)


def _require_same_topics(where: str, recorded: Identity, found: Identity) -> None:
    lost, new = (
        recorded.topics.keys() - found.topics.keys(),
        found.topics.keys() - recorded.topics.keys(),
    )
    if lost and new:
        message = (
            f"{where} belongs to installation {recorded.installation} with the topics "
            f"{', '.join(sorted(lost))}, but this worker has {', '.join(sorted(new))} instead: set "
            f"{setting('TOPIC_PREFIX')} to what it was, or {setting('APP_ID')} to a name of its own"
        )
        raise NotOurs(message)
    if recorded.cluster != found.cluster:
        message = (
            f"{where} was written on cluster {recorded.cluster}, but this is cluster "
            f"{found.cluster}, "
            f"where its positions mean nothing: set {setting('BROKERS')} to the former one; or, "
            f"if the "
            f"topics were copied on purpose, make the journals anew with: "
            f"{command('rebuild --copied --replace')}"
        )
        raise NotOurs(message)
    for topic, id_ in recorded.topics.items():
        if (now := found.topics.get(topic, id_)) != id_:
            message = (
                f"{where} was written for {topic} with the topic id {id_}, but the broker has one "
                f"with the id {now}: it was deleted and recreated, so positions in it mean "
                f"nothing; see what differs with: {command('journal adopt')}"
            )
            raise NotOurs(message)
