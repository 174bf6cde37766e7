"""The consumer group: who is a member, and which partitions each member has.

The eager protocol, as Faust uses it: at a rebalance every member gives up, joins again, and gets
its partitions when all have joined or the time for it is over. Who did not join in time, or was
silent for longer than the session, is out, and may not know it for long: it goes on with what it
has.
"""

from random import Random

from .loop import SimulatedLoop
from .network import Reply
from .trace import Trace

_CHECK_SECONDS = 0.5
_MOVED_ANYWAY = 0.2


class Group:
    """Coordinator of one group; an assignment is a set of partition numbers."""

    def __init__(
        self,
        loop: SimulatedLoop,
        random: Random,
        trace: Trace,
        *,
        partitions: int,
        session_timeout_seconds: float,
        rebalance_timeout_seconds: float,
    ) -> None:
        self._loop, self._random, self._trace = loop, random, trace
        self._partitions = partitions
        self._session_timeout_seconds = session_timeout_seconds
        self._rebalance_timeout_seconds = rebalance_timeout_seconds
        self._last_seen: dict[str, float] = {}
        self._joining: dict[str, list[Reply]] | None = None
        """What is to be told to each member that has joined; one may have asked twice."""
        self._owners: dict[int, str] = {}
        self._deaf_until: dict[str, float] = {}
        self._generation = 0
        self.gives_one_twice = False
        """The next assignment names two owners of one partition."""
        self._check()

    @property
    def is_settled(self) -> bool:
        """Whether no rebalance is in flight."""
        return self._joining is None

    def join(self, member: str, reply: Reply) -> None:
        """Join; the reply is a generation and partitions, when the rebalance is done."""
        self.rebalance()
        assert self._joining is not None
        self._joining.setdefault(member, []).append(reply)
        self._last_seen[member] = self._loop.time()
        self._complete_if_all_joined()

    def heartbeat(self, member: str, generation: int) -> bool:
        """Whether the member still has what it was given; else it has to join again."""
        if self._deaf_until.get(member, 0.0) > self._loop.time():
            return True
        if member not in self._last_seen:
            return False
        self._last_seen[member] = self._loop.time()
        return self._joining is None and generation == self._generation

    def deafen(self, member: str, seconds: float) -> None:
        """Let a member believe for a while that all is well, and hear nothing of it."""
        self._trace.note("group", f"hears nothing of {member} for {seconds:.3f} s")
        self._deaf_until[member] = self._loop.time() + seconds

    def leave(self, member: str) -> None:
        """Leave, so that the others need not wait for the session to end."""
        if self._last_seen.pop(member, None) is not None:
            self.rebalance()

    def heal(self) -> None:
        """Hear everyone again, and give each partition to one member."""
        self._deaf_until.clear()
        self.gives_one_twice = False
        self.rebalance()

    def rebalance(self) -> None:
        """Let every member join again."""
        if self._joining is None:
            self._joining = {}
            end = self._loop.time() + self._rebalance_timeout_seconds
            self._loop.in_no_process(end, self._time_out, self._generation)

    def _time_out(self, generation: int) -> None:
        if self._joining is not None and generation == self._generation:
            self._last_seen = {m: t for m, t in self._last_seen.items() if m in self._joining}
            self._complete()

    def _check(self) -> None:
        """Put out who was silent for too long."""
        now = self._loop.time()
        silent = [
            member
            for member, seen in self._last_seen.items()
            if now - seen > self._session_timeout_seconds and member not in (self._joining or ())
        ]
        for member in silent:
            self._trace.note("expelled", member)
            self.leave(member)
        if silent:
            self._complete_if_all_joined()
        self._loop.in_no_process(now + _CHECK_SECONDS, self._check)

    def _complete_if_all_joined(self) -> None:
        if self._joining and len(self._joining) == len(self._last_seen):
            self._complete()

    def _complete(self) -> None:
        assert self._joining is not None
        joined, self._joining = self._joining, None
        self._generation += 1
        shares = self._share(sorted(joined))
        text = ", ".join(f"{member} {sorted(share)}" for member, share in shares.items())
        self._trace.note("assignment", f"{self._generation}: {text}")
        for member, replies in joined.items():
            self._last_seen[member] = self._loop.time()
            for reply in replies:
                reply((self._generation, frozenset(shares[member])))

    def _share(self, members: list[str]) -> dict[str, set[int]]:
        """Give each member equally many; mostly what it had, as Faust's assignor does."""
        shares: dict[str, set[int]] = {member: set() for member in members}
        if not members:
            return shares
        most = -(-self._partitions // len(members))
        left = []
        for partition in range(self._partitions):
            owner = self._owners.get(partition)
            if owner in shares and len(shares[owner]) < most and not self._moves():
                shares[owner].add(partition)
            else:
                left.append(partition)
        for partition in left:
            fewest = min(members, key=lambda member: len(shares[member]))
            shares[fewest].add(partition)
        self._owners = {p: member for member, share in shares.items() for p in share}
        if self.gives_one_twice and len(members) > 1:
            self.gives_one_twice = False
            partition = int(self._random.random() * self._partitions)
            other = next(member for member in members if member != self._owners[partition])
            shares[other].add(partition)
        return shares

    def _moves(self) -> bool:
        return self._random.random() < _MOVED_ANYWAY
