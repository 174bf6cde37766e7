"""The assignment with standbys: who owns what, who follows what, and what moves."""

import zlib
from collections import Counter
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from yarl import URL

from exactstage.hosting import EngineApp
from exactstage.hosting.assignment import Share, Shares, StandbyAssignor, assign, is_balanced
from exactstage.hosting.balance import PATIENCE_SECONDS, Balance
from exactstage.memory import MemoryLog
from exactstage.stage import topics_of

from .test_hosting import CONNECTION
from .wordcount import word_count

ROUNDS = 4
"""Assignments within which a group is balanced when nobody comes or goes."""


def owners(shares: Shares) -> dict[int, str]:
    """Return who owns each partition; nobody owns one twice."""
    found = [(p, member) for member, share in shares.items() for p in share.actives]
    assert len(found) == len(dict(found))
    return dict(found)


def followers(shares: Shares) -> Counter[int]:
    return Counter(p for share in shares.values() for p in share.standbys)


def joined(shares: Shares, *members: str) -> Shares:
    return {**shares, **{member: Share() for member in members}}


def without(shares: Shares, *members: str) -> Shares:
    return {member: share for member, share in shares.items() if member not in members}


def settled(shares: Shares, partitions: int, standbys: int = 1) -> Shares:
    """Return what a group has once nothing moves any more."""
    for _ in range(ROUNDS):
        shares = assign(shares, partitions, standbys)
    return shares


def group(members: str, partitions: int, standbys: int = 1) -> Shares:
    return settled(joined({}, *members), partitions, standbys)


def test_partitions_of_a_lost_worker_go_to_who_followed_them_in_equal_parts() -> None:
    before = group("abc", 12)
    after = assign(without(before, "a"), 12, 1)
    moved = {p: m for p, m in owners(after).items() if owners(before)[p] != m}
    assert len(moved) == 4
    assert all(p in before[m].standbys for p, m in moved.items())
    assert Counter(moved.values()) == {"b": 2, "c": 2}


def test_a_new_worker_follows_first_and_owns_its_part_with_the_next_assignment() -> None:
    before = group("ab", 12)
    first = assign(joined(before, "c"), 12, 1)
    assert owners(first) == owners(before)
    assert len(first["c"].standbys) >= 4
    second = assign(first, 12, 1)
    assert {m: len(share.actives) for m, share in second.items()} == {"a": 4, "b": 4, "c": 4}
    assert second["c"].actives <= first["c"].standbys


def test_a_member_that_can_not_follow_gets_its_part_at_once_and_no_standbys() -> None:
    before = {**group("ab", 12), "old": Share(follows=False)}
    after = assign(before, 12, 1)
    assert {m: len(share.actives) for m, share in after.items()} == {"a": 4, "b": 4, "old": 4}
    assert not after["old"].standbys
    assert all(followers(after)[p] == 1 for p in range(12))
    alone = assign({"a": Share(set(range(12))), "old": Share(follows=False)}, 12, 1)
    assert len(alone["old"].actives) == 6
    assert alone["a"].standbys == alone["old"].actives


def test_a_new_group_is_balanced_at_once() -> None:
    shares = assign(joined({}, *"abcde"), 12, 1)
    assert is_balanced(shares)


@pytest.mark.parametrize("standbys", [1, 2, 3])
def test_whatever_comes_and_goes_each_partition_has_one_owner_who_has_its_rows(
    standbys: int,
) -> None:
    random = Random(standbys)
    for partitions in (1, 4, 12, 64):
        shares = joined({}, "m0")
        for number in range(1, 60):
            if len(shares) > 1 and random.random() < 0.4:
                shares = without(shares, random.choice(sorted(shares)))
            elif len(shares) < 9:
                shares = joined(shares, f"m{number}")
            members = shares
            shares = assign(shares, partitions, standbys)
            assert sorted(owners(shares)) == list(range(partitions))
            for partition, owner in owners(shares).items():
                assert partition not in shares[owner].standbys
                knowing = [m for m in members if members[m].has_rows(partition)]
                assert owner in knowing or not knowing, "it reads all rows, and need not"
            wanted = min(standbys, len(shares) - 1)
            assert all(followers(shares)[p] >= wanted for p in range(partitions))
            if random.random() < 0.5:
                shares = settled(shares, partitions, standbys)
                assert is_balanced(shares)
                assert owners(assign(shares, partitions, standbys)) == owners(shares)
                assert all(followers(shares)[p] == wanted for p in range(partitions))


def test_two_members_that_believe_to_own_a_partition_end_with_one_owner() -> None:
    """As after a worker that was taken for dead comes back."""
    zombie = {"a": Share({0, 1}), "b": Share({1, 2, 3})}
    assert sorted(owners(assign(zombie, 4, 1))) == [0, 1, 2, 3]


# --- in Faust's form -----------------------------------------------------------------------------


def app_with(standbys: int, partitions: int = 4) -> EngineApp:
    stage = word_count()
    app = EngineApp(
        "words",
        stages=[stage],
        partitions=partitions,
        connection=CONNECTION,
        log=MemoryLog(topics_of([stage]), partitions),
        open_state=lambda: pytest.fail("it does not start"),
        standbys=standbys,
    )
    app.rows(stage)
    return app


def said_by(follows: bool) -> Mapping[str, int]:
    """Return what a member says beside its assignment."""
    assignor = app_with(int(follows)).assignor
    joining = ClientMetadata.loads(cast("Any", assignor).metadata({"words"}).user_data)
    return cast("Mapping[str, int]", joining.topic_groups)


def shared_out(
    leader: StandbyAssignor, members: Mapping[str, ClientAssignment], follow: str = "ab"
) -> dict[str, Any]:
    stage = word_count()
    topics = [*stage.assigned_inputs, stage.changelog]
    cluster = SimpleNamespace(partitions_for_topic=lambda _: set(range(4)))
    metadata = {
        member: ConsumerProtocolMemberMetadata(
            4,
            topics,
            ClientMetadata(
                assignment=each,
                url=f"http://{member}",
                changelog_distribution={},
                topic_groups=dict(said_by(member in follow)),
            ).dumps(),
        )
        for member, each in members.items()
    }
    return dict(leader.assign(cast("Any", cluster), metadata))


def assignment_of(assigned: Any) -> ClientAssignment:
    found = ClientMetadata.loads(zlib.decompress(assigned.user_data)).assignment
    return cast("ClientAssignment", found)


def nothing() -> ClientAssignment:
    return ClientAssignment(actives={}, standbys={})


@pytest.mark.parametrize("member_standbys", [0, 1])
def test_every_member_takes_what_a_leader_with_standbys_decides(member_standbys: int) -> None:
    leader = cast("StandbyAssignor", app_with(1).assignor)
    members = {"a": nothing(), "b": nothing()}
    decided = shared_out(leader, members)
    app = app_with(member_standbys)
    app.conf.canonical_url = URL("http://b")
    cast("StandbyAssignor", app.assignor).on_assignment(decided["b"])
    assert len({at.partition for at in app.assignor.assigned_actives()}) == 2
    assert len({at.partition for at in app.assignor.assigned_standbys()}) == 2
    assert "changelog" in str(sorted(at.topic for at in app.assignor.assigned_standbys()))


def test_a_member_of_a_version_without_standbys_gets_its_part_at_once() -> None:
    leader = cast("StandbyAssignor", app_with(1).assignor)
    alone = assignment_of(shared_out(leader, {"a": nothing()})["a"])
    decided = shared_out(leader, {"a": alone, "old": nothing()})
    assert not leader.left_uneven
    old, new = assignment_of(decided["old"]), assignment_of(decided["a"])
    assert len({at.partition for at in old.active_tps}) == 2
    assert not old.standby_tps
    assert new.standby_tps == old.active_tps


def test_a_leader_without_standbys_takes_all_of_them_back() -> None:
    with_standbys = cast("StandbyAssignor", app_with(1).assignor)
    decided = shared_out(with_standbys, {"a": nothing(), "b": nothing()})
    members = {member: assignment_of(each) for member, each in decided.items()}
    assert any(each.standby_tps for each in members.values())
    plain = cast("StandbyAssignor", app_with(0).assignor)
    again = shared_out(plain, members)
    assert not any(assignment_of(each).standby_tps for each in again.values())


# --- joining again -------------------------------------------------------------------------------


class Group:
    """A worker of a group as ``Balance`` sees it."""

    should_stop = rebalancing = False

    def __init__(self) -> None:
        self.is_complete = self.is_reading = self.left_uneven = self.takes = False
        self.engine = SimpleNamespace(standbys=self, is_reading=True)
        self.distribution = frozenset({("http://a", frozenset({0, 1}))})
        self.balance = Balance(cast("Any", self), cast("Any", self))

    def held(self) -> Any:
        """Return who owns what."""
        return self.distribution

    def may_take(self) -> bool:
        """Return whether partitions would move here."""
        return self.takes


def test_a_worker_joins_again_once_for_what_it_has_read() -> None:
    group = Group()
    group.takes = True
    assert not group.balance.should_move(0), "it has not read it yet"
    group.is_complete = True
    assert group.balance.should_move(1)
    assert not group.balance.should_move(2), "the same again changes nothing"
    group.distribution = frozenset({("http://a", frozenset({0}))})
    assert group.balance.should_move(3)


def test_a_leader_joins_again_when_nobody_follows_for_long() -> None:
    group = Group()
    group.left_uneven = True
    assert not group.balance.should_move(0)
    assert not group.balance.should_move(PATIENCE_SECONDS)
    assert group.balance.should_move(PATIENCE_SECONDS + 1)
    assert not group.balance.should_move(2 * PATIENCE_SECONDS)


def test_a_worker_may_take_what_it_follows_of_one_that_has_more() -> None:
    leader = cast("StandbyAssignor", app_with(1).assignor)
    alone = assignment_of(shared_out(leader, {"a": nothing()})["a"])
    decided = shared_out(leader, {"a": alone, "b": nothing()})
    assert leader.left_uneven
    app = app_with(1)
    assignor = cast("StandbyAssignor", app.assignor)
    app.conf.canonical_url = URL("http://b")
    assignor.on_assignment(decided["b"])
    assert not assignor.assigned_actives()
    assert assignor.may_take()
    members = {member: assignment_of(each) for member, each in decided.items()}
    even = shared_out(leader, members)
    assignor.on_assignment(even["b"])
    assert len({at.partition for at in assignor.assigned_actives()}) == 2
    assert not assignor.may_take()
