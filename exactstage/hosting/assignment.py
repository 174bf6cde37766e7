"""Assignment with standbys: a partition goes where its rows are, and load is balanced afterwards.

Faust's own assignor gives a new worker its partitions at once, whether it has their rows or not. It
prefers standbys only as far as their workers have room, and leaves a new worker without partitions
where the others have no more than the share rounded up. Here a partition moves for balance only to
a worker that follows it already. What has to move is followed by its next owner first, in addition
to the standbys (as warm-up replicas of Kafka Streams, KIP-441).

The leader of the group decides for all members, and what it sends is in the form of Faust. Members
that can't follow (rows in memory, a version without standbys) get their part at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from faust.assignor.client_assignment import (
    ClientAssignment,
    ClientMetadata,
    CopartitionedAssignment,
)
from faust.assignor.cluster_assignment import ClusterAssignment
from faust.assignor.partition_assignor import PartitionAssignor

_FOLLOWS = " follows"
"""What a member that can follow says when it joins, where Faust's own members repeat the groups of
topics, which are not read. No topic has such a name."""

BALANCED = 1
"""The difference between the most and the fewest partitions of a worker that stays."""


@dataclass
class Share:
    """What one member has."""

    actives: set[int] = field(default_factory=set)
    standbys: set[int] = field(default_factory=set)
    follows: bool = True
    """Whether it can follow: it has rows on disk, and its version knows standbys."""

    def has_rows(self, partition: int) -> bool:
        """Whether it has, or had just now, the rows of a partition on its disk."""
        return partition in self.actives or partition in self.standbys


Shares = Mapping[str, Share]


def assign(before: Shares, partitions: int, standbys: int) -> Shares:
    """Return what each member has from now on, from what each had before."""
    assert before, "a group has members"
    members = sorted(before)
    after = {member: Share(follows=before[member].follows) for member in members}
    _keep_and_give(before, after, partitions)
    _balance(before, after)
    _follow(before, after, standbys)
    _warm_up(after)
    return after


def is_balanced(shares: Shares) -> bool:
    """Whether no member has much more than another one."""
    loads = [len(share.actives) for share in shares.values()]
    return max(loads) - min(loads) <= BALANCED


def _keep_and_give(before: Shares, after: Mapping[str, Share], partitions: int) -> None:
    """Leave partitions where they are; give those without an owner to who has their rows."""
    free: list[int] = []
    for partition in range(partitions):
        owner = next((m for m, share in before.items() if partition in share.actives), None)
        if owner is None:
            free.append(partition)
        else:
            after[owner].actives.add(partition)

    def followers(partition: int) -> list[str]:
        return [member for member in after if partition in before[member].standbys]

    for partition in sorted(free, key=lambda each: (not followers(each), len(followers(each)))):
        candidates = followers(partition) or list(after)
        chosen = min(candidates, key=lambda member: len(after[member].actives))
        after[chosen].actives.add(partition)


def _uneven(shares: Shares) -> list[tuple[str, str]]:
    """Return who has more than who by more than one partition, the largest difference first."""
    loads = {member: len(share.actives) for member, share in shares.items()}
    pairs = [(a, b) for a in loads for b in loads if loads[a] - loads[b] > BALANCED]
    return sorted(pairs, key=lambda pair: loads[pair[1]] - loads[pair[0]])


def _balance(before: Shares, after: Shares) -> None:
    """Move partitions from who has many to who has few, and has their rows or never will."""
    moved = True
    while moved:
        moved = False
        for source, target in _uneven(after):
            may_move = before[target].has_rows if before[target].follows else lambda _: True
            known = {p for p in after[source].actives if may_move(p)}
            if known:
                partition = min(known)
                after[source].actives.remove(partition)
                after[target].actives.add(partition)
                moved = True
                break


def _follow(before: Shares, after: Shares, standbys: int) -> None:
    """Let other members follow each partition: those of one owner are spread over all others.

    So each takes an equal part when that owner is gone. Who has the rows continues, if it can.
    """
    for owner, share in after.items():
        others = [member for member in after if member != owner and after[member].follows]
        if not others:
            continue
        number = min(standbys, len(others))
        most = -(-len(share.actives) * number // len(others))
        count = dict.fromkeys(others, 0)
        lacking: list[int] = []
        for partition in sorted(share.actives):
            knowing = [m for m in others if before[m].has_rows(partition) and count[m] < most]
            knowing.sort(key=lambda member: count[member])
            for member in knowing[:number]:
                after[member].standbys.add(partition)
                count[member] += 1
            lacking += [partition] * (number - len(knowing[:number]))
        for partition in lacking:
            free = [member for member in others if partition not in after[member].standbys]
            chosen = min(free, key=lambda member: (count[member], len(after[member].standbys)))
            after[chosen].standbys.add(partition)
            count[chosen] += 1


def _warm_up(after: Shares) -> None:
    """Let who has few partitions follow what it gets next, beside the standbys."""
    planned = {member: Share(set(share.actives)) for member, share in after.items()}
    assert all(after[target].follows for _, target in _uneven(planned)), "others got their part"
    while pairs := _uneven(planned):
        source, target = pairs[0]
        known = planned[source].actives & after[target].standbys
        partition = min(known or planned[source].actives)
        planned[source].actives.remove(partition)
        planned[target].actives.add(partition)
        if partition not in after[target].actives and after[target].follows:
            after[target].standbys.add(partition)


class StandbyAssignor(PartitionAssignor):
    """Faust's assignor, with the assignment of this module where there are standbys."""

    left_uneven = False
    """Whether this member led the group when it was assigned last, and left partitions to move."""

    def metadata(self, topics: set[str]) -> Any:
        """Return what this member says of itself when it joins."""
        self.left_uneven = False
        return super().metadata(topics)

    @property
    def _metadata(self) -> ClientMetadata:
        found = super()._metadata
        if self.replicas:
            found.topic_groups = {**found.topic_groups, _FOLLOWS: 1}
        return found

    def held(self) -> frozenset[tuple[str, frozenset[int]]]:
        """Return the partitions that each member owns, by its URL."""
        return frozenset(
            (url, frozenset(p for partitions in topics.values() for p in partitions))
            for url, topics in self.changelog_distribution.items()
        )

    def may_take(self) -> bool:
        """Whether partitions that this member follows would move to it now, for balance."""
        held = dict(self.held())
        here = held.get(str(self._url), frozenset())
        followed = {at.partition for at in self.assigned_standbys()}
        return any(len(each) - len(here) > BALANCED and each & followed for each in held.values())

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        if not self.replicas:
            return super()._perform_assignment(cluster, member_metadata)
        clients = {
            member: self._get_client_metadata(metadata)
            for member, metadata in member_metadata.items()
        }
        subscriptions = {m: list(each.subscription) for m, each in member_metadata.items()}
        known = ClusterAssignment()
        for member, metadata in clients.items():
            known.add_client(member, subscriptions[member], metadata)
        groups = self._get_copartitioned_groups(known.topics(), cluster, subscriptions)
        self._update_member_urls(clients)
        following = {member for member, each in clients.items() if _FOLLOWS in each.topic_groups}
        assignments = {m: ClientAssignment(actives={}, standbys={}) for m in member_metadata}
        group_of: dict[str, int] = {}
        for group, (partitions, topic_groups) in enumerate(sorted(groups.items())):
            for topics in topic_groups:
                group_of |= dict.fromkeys(topics, group)
                shares = self._assigned(known, topics, partitions, following)
                for member, share in shares.items():
                    assignments[member].add_copartitioned_assignment(share)
        return self._protocol_assignments(
            assignments,
            self._get_changelog_distribution(assignments),
            self._get_external_topic_distribution(assignments),
            group_of,
        )

    def _assigned(
        self, known: ClusterAssignment, topics: set[str], partitions: int, following: set[str]
    ) -> Mapping[str, CopartitionedAssignment]:
        before = {
            member: Share(each.actives, each.standbys, member in following)
            for member, each in known.copartitioned_assignments(topics).items()
        }
        after = assign(before, partitions, self.replicas)
        self.left_uneven = self.left_uneven or not is_balanced(after)
        return {
            member: CopartitionedAssignment(share.actives, share.standbys, topics)
            for member, share in after.items()
        }
