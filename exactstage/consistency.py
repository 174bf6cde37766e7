"""Consistency: whether what a worker takes over fits together, before anything is decided on it.

Journals, topics and cluster must be those of one installation, and nothing that was acknowledged
may be missing: a journal is never behind what others know of it. Each check refuses with one line,
which names what was found, where, and the command that comes next (docs/design.md 4.5).
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .advice import command, setting
from .checkpoint import Checkpoint
from .errors import NotOurs, RecordsLost
from .identity import Identity, differing_settings, require_same
from .journal import Journal
from .log import Bounds, Cluster, TopicPartition
from .outputs import OutputId
from .stage import Stage, topics_of
from .tails import NOTHING, Tail

logger = logging.getLogger(__name__)

_TAKEN_OVER = 2
"""A journal with an identity and two commits was owned: the first takeover writes one commit to
each journal, and is complete when all have it; only then come others. A version before wrote none
to a journal that had nothing to store."""


@dataclass(frozen=True)
class Surroundings:
    """What this worker is, and what its broker has."""

    app: str
    stages: Sequence[Stage]
    partitions: int
    cluster: Cluster

    @cached_property
    def _topics(self) -> Mapping[str, str]:
        return {topic: self.cluster.topics[topic] for topic in topics_of(self.stages)}

    @property
    def new_installation(self) -> str:
        """Return the name of the installation where no journal names another."""
        return f"{self.app}/{self.cluster.topics[self.stages[0].changelog]}"

    def identity(self, stage: str, partition: int, installation: str) -> Identity:
        """Return the identity of a journal that this worker would write."""
        [(rows, settings)] = [(s.row_format, s.settings) for s in self.stages if s.name == stage]
        return Identity(
            installation=installation,
            app=self.app,
            cluster=self.cluster.id,
            stage=stage,
            partition=partition,
            partitions=self.partitions,
            topics=self._topics,
            rows=rows,
            settings=settings,
        )


@dataclass(eq=False)
class Evidence:
    """What is known of one journal when it is taken over."""

    journal: Journal
    checkpoints: Sequence[Checkpoint]
    held: Bounds
    """What its partition held."""

    tails: Mapping[str, Tail] = field(default_factory=dict)
    """Ends of the stage's public partitions, by topic."""

    @property
    def recorded(self) -> Identity | None:
        """What the journal says of itself; None when it is empty, or of a version before."""
        recorded = (checkpoint.identity for checkpoint in reversed(self.checkpoints))
        return next((identity for identity in recorded if identity is not None), None)


def recognise(
    around: Surroundings,
    recorded: Mapping[TopicPartition, Identity | None],
    tails: Mapping[TopicPartition, Tail],
) -> None:
    """Check what one partition states before anything is claimed. Raises ``NotOurs``.

    ``recorded`` is what journals say of themselves. Others may be writing, so numbers are
    not compared yet.
    """
    changelogs = {stage.changelog: stage.name for stage in around.stages}
    for at, identity in recorded.items():
        if identity is not None:
            stage = changelogs[at.topic]
            found = around.identity(stage, at.partition, identity.installation)
            require_same(str(at), identity, found)
    for at, tail in tails.items():
        _require_own_app(at, tail, around.app)


def _require_own_app(at: TopicPartition, tail: Tail, app: str) -> None:
    """Check that no installation with another app id has written to a public partition."""
    if tail.installation is None:
        return
    other = tail.installation.partition("/")[0]
    if other != app:
        message = (
            f"{at.address(tail.offset)} was written by installation {tail.installation}, but "
            f"this worker "
            f"belongs to that of {setting('APP_ID')} {app}: both would carry out every command; "
            f"set "
            f"{setting('APP_ID')} to {other}, or give this installation topics of its own "
            f"({setting('TOPIC_PREFIX')}, then: {command('topics apply')})"
        )
        raise NotOurs(message)


def identify(around: Surroundings, evidence: Sequence[Evidence], owned: Iterable[Journal]) -> None:
    """Give each journal the identity that it is written for.

    Raises ``NotOurs`` where a journal has another one.
    """
    names = {j.identity.installation: str(j.at) for j in owned if j.identity is not None}
    for each in evidence:
        if (recorded := each.recorded) is not None:
            journal = each.journal
            found = around.identity(journal.stage, journal.partition, recorded.installation)
            require_same(str(journal.at), recorded, found)
            names.setdefault(recorded.installation, str(journal.at))
    if len(names) > 1:
        listing = ", ".join(f"{where} belongs to {name}" for name, where in names.items())
        message = (
            f"journals of two installations were mixed: {listing}; look at each with: "
            f"{command('journal inspect')}"
        )
        raise NotOurs(message)
    installation = next(iter(names), around.new_installation)
    differing: dict[_Differing, list[int]] = {}
    for each in evidence:
        journal = each.journal
        identity = around.identity(journal.stage, journal.partition, installation)
        if (recorded := each.recorded) is not None:
            rows = max(identity.rows, recorded.rows)
            _note_settings(journal, recorded, identity, differing)
            identity = replace(identity, rows=rows, copied=recorded.copied)
        journal.identify(identity)
    _log_settings(differing)


_Differing = tuple[str, str, str, str]
"""A setting of journals that was another one: changelog, name, value before, and value now."""


def _note_settings(
    journal: Journal, recorded: Identity, found: Identity, into: dict[_Differing, list[int]]
) -> None:
    """Note each setting that the last owner decided by another value of."""
    differing = differing_settings(recorded, found)
    journal.changed_settings = differing.keys()
    for name, (before, now) in differing.items():
        into.setdefault((journal.at.topic, name, before, now), []).append(journal.partition)


def _log_settings(differing: Mapping[_Differing, Sequence[int]]) -> None:
    """Log each setting with another value once, with all partitions that it is about.

    An operator may have changed it on purpose, or this worker's settings are not those of the
    others: nothing is lost by either, so the takeover continues.
    """
    for (changelog, name, before, now), partitions in differing.items():
        logger.warning(
            "%s: the last owner of partitions %s decided with %s=%s, this worker does with %s: if "
            "that was not changed on purpose, give all workers the same value",
            changelog,
            ", ".join(map(str, sorted(partitions))),
            name,
            before,
            now,
        )


def missing_messages(
    evidence: Sequence[Evidence], stages: Sequence[Stage], ends: Mapping[TopicPartition, int]
) -> list[str]:
    """Return a line for each receiver that lacks messages which its sender has published.

    ``ends`` are the ends of the inputs. A message that counts as published was journalled by its
    receiver or acknowledged in the log. So a receiver that has read all that the log holds has
    taken it, unless the log has lost it, or the receiver's journal has lost a commit.
    """
    found: list[str] = []
    receivers = {
        (topic, each.journal.partition): each.journal
        for stage in stages
        for topic in stage.internal_inputs
        for each in evidence
        if each.journal.stage == stage.name
    }
    for each in evidence:
        sender = each.journal
        for (topic, partition), output_id in _last_messages(each).items():
            receiver = receivers.get((topic, partition))
            if receiver is None or receiver.inputs[topic] < ends[TopicPartition(topic, partition)]:
                continue
            taken = receiver.senders.positions.get(repr(sender), NOTHING)
            if taken < output_id:
                found.append(
                    f"{sender.at} was published up to {_printed(output_id)} for "
                    f"{topic}/{partition}, but {receiver.at} has read all of it and taken no more "
                    f"than {_printed(taken)}: acknowledged messages were lost (an unclean "
                    f"election, an older backup, deleted or given up by hand), and what "
                    f"waits for them may wait for ever; see which with: {command('verify')}"
                )
    return found


def _last_messages(each: Evidence) -> dict[tuple[str, int], OutputId]:
    """Return the last published message to each partition, as far as the checkpoints show."""
    journal, last = each.journal, dict[tuple[str, int], OutputId]()
    for checkpoint in each.checkpoints:
        if checkpoint.n > journal.published:
            break
        for index, output in enumerate(checkpoint.outputs):
            if output.topic not in journal.public:
                last[output.topic, output.partition] = (checkpoint.n, index)
    return last


def require_all_there(evidence: Sequence[Evidence], owned: Collection[Journal]) -> None:
    """Raise ``NotOurs`` or ``RecordsLost`` where journals or public topics lack something.

    The journals have been restored and identified.
    """
    for each in evidence:
        for topic, tail in each.tails.items():
            _require_own_tail(each, TopicPartition(topic, each.journal.partition), tail)
        if not each.checkpoints:
            _require_unused(each, [other for other in evidence if other is not each])
        _require_published(each)
    _require_known_senders([*owned, *(each.journal for each in evidence)])


def _require_own_tail(each: Evidence, at: TopicPartition, tail: Tail) -> None:
    """Check that the public partition is this installation's, and not ahead of the journal."""
    journal = each.journal
    assert journal.identity is not None, "identify() comes first"
    ours, theirs = journal.identity.installation, tail.installation
    _require_own_app(at, tail, journal.identity.app)
    if tail.output_id[0] > journal.n:
        message = (
            f"{at} is at commit {tail.output_id[0]} (offset {tail.offset}), the journal "
            f"{journal.at} ends at {journal.n}: acknowledged records of the journal were lost "
            f"(deleted and recreated, emptied, an unclean election, an older backup), or another "
            f"program wrote to {at.topic}; restore the journal, or make it anew from the public "
            f"topics with: {command('rebuild')}"
        )
        raise RecordsLost(message)
    if theirs is not None and theirs != ours:
        message = (
            f"{at.address(tail.offset)} was written by installation {theirs}, but the journal "
            f"{journal.at} belongs to {ours}: one of the two topics was deleted and recreated, or "
            f"comes from a backup; see what differs with: {command('journal adopt')}"
        )
        raise NotOurs(message)


def _require_unused(each: Evidence, others: Iterable[Evidence]) -> None:
    """Check that an empty journal is that of a new partition: that nothing was ever in it."""
    journal = each.journal
    if each.held.first > 0:
        message = (
            f"{journal.at} holds no checkpoint and begins at offset {each.held.first}: its records "
            f"were deleted (is its cleanup.policy other than compact? see: "
            f"{command('topics plan')}); "
            f"restore it, or make it anew from the public topics with: {command('rebuild')}"
        )
        raise RecordsLost(message)
    for other in others:
        if other.recorded is None or other.journal.partition != journal.partition:
            continue
        if other.journal.n >= _TAKEN_OVER:
            message = (
                f"{journal.at} holds no checkpoint, but {other.journal.at} is at commit "
                f"{other.journal.n}, and both are always taken over together: its records were "
                f"lost (deleted and recreated, emptied); restore it, or make it anew from the "
                f"public topics with: {command('rebuild')}"
            )
            raise RecordsLost(message)
    _require_unclaimed(each)


def _require_unclaimed(each: Evidence) -> None:
    """Check that only this app id has claimed public partitions beside a new journal.

    Of two that start in the same moment each has claimed before it looks: so one sees the other.
    """
    journal = each.journal
    own = journal.writer.producer_id
    if own < 0:
        return  # An inspection has claimed nothing.
    for topic, tail in each.tails.items():
        others = tail.claimants - {own}
        if others and tail.output_id == NOTHING:
            assert journal.identity is not None, "identify() comes first"
            message = (
                f"{topic}/{journal.partition} was claimed by producer id {min(others)} too, not "
                f"only by {own}, that of {setting('APP_ID')} {journal.identity.app}: another app "
                f"id "
                f"starts on the same topics, and both would carry out every command. Find its "
                f"name with: kafka-transactions.sh list; give it topics of its own "
                f"({setting('TOPIC_PREFIX')}, then: {command('topics apply')}). The one that "
                f"stays needs, "
                f"with all workers of both stopped: {command('rebuild')}"
            )
            raise NotOurs(message)


def _require_published(each: Evidence) -> None:
    """Check that public records which were acknowledged are there, unless retention took them."""
    journal = each.journal
    for topic, output_id in journal.last_published.surely.items():
        tail = each.tails[topic]
        # Retention removes the beginning of a partition: all of it, or none of its last records.
        if tail.output_id < output_id and not (tail.output_id == NOTHING and tail.held.first > 0):
            at = TopicPartition(topic, journal.partition)
            message = (
                f"{at} ends with output {_printed(tail.output_id)} of {journal}, but the journal "
                f"{journal.at} says that {_printed(output_id)} was published: acknowledged records "
                f"of {topic} were lost (an unclean election, an older backup, deleted by hand); "
                f"restore it, or see what is missing with: {command('journal inspect')}"
            )
            raise RecordsLost(message)


def _printed(output_id: OutputId) -> str:
    return "no record" if output_id == NOTHING else f"{output_id[0]}/{output_id[1]}"


def _require_known_senders(journals: Collection[Journal]) -> None:
    """Check that no journal has accepted messages of commits that their sender does not have.

    Each receiver notes the present owner of each sender, with the commit at which that one began:
    later commits of former owners, whose messages may still arrive, are noticed by that.
    """
    by_name = {repr(journal): journal for journal in journals}
    for receiver in journals:
        for name, taken in receiver.senders.positions.items():
            sender = by_name.get(name)
            if sender is None:
                continue
            if taken[0] > sender.n:
                message = (
                    f"{receiver.at} has taken a message of commit {taken[0]} of {name}, the "
                    f"journal {sender.at} ends at {sender.n}: acknowledged records of it were lost "
                    f"(an unclean election, an older backup, emptied); restore it, or make it anew "
                    f"from the public topics with: {command('rebuild')}"
                )
                raise RecordsLost(message)
            if sender.owner is not None:
                receiver.senders.meet_here(name, sender.owner)
