"""Does the simulator bite? Each of these deliberate faults of the engine is found by its seeds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from unittest import mock

import pytest

from exactstage import consistency, journal, tails, takeover
from exactstage.checkpoint import Checkpoint
from exactstage.clock import BrokerClock
from exactstage.committer import Committer
from exactstage.journal import Journal
from exactstage.local_delivery import LocalDelivery
from exactstage.log import Channel, Log, TopicPartition, Writer
from exactstage.partition_claims import PartitionClaims
from exactstage.pipeline import CommitRound
from exactstage.progress import Progress
from exactstage.senders import KnownSenders
from tools.simulator.chaos import draw_timed_faults
from tools.simulator.faults import Kind
from tools.simulator.log import SimulatedLog
from tools.simulator.run import RUN_COMMANDS, Outcome, Story, draw_story, play
from tools.simulator.shrink import shrink, told

# Measuring coverage would take far longer than the search.
pytestmark = pytest.mark.no_cover

HOURS, LONG_HOURS = 0.1, 0.25
MOST_SEEDS = 200
SLOW_SECONDS = 0.5
FIRST_SEEDS = {
    "a claim makes one empty transaction only": 516,
    "public outputs are not fenced": 449,
    "a journal behind its public topic is accepted": 62,
    "outputs are published before the journal has them": 8,
    "the tail is one too high": 11,
    "an owner that lost commits is not noticed": 7070,
    "a timer overtakes the backlog": 6,
}
"""Where the search begins for a fault that few stories bring to light; it goes on from there."""


_restore = Journal.restore


async def publish_before_the_journal_has_it(self: Committer) -> None:
    while True:
        pipeline = self._pipeline
        await pipeline.touched.wait()
        pipeline.touched.clear()
        if commits := pipeline.seal_ready():
            commit_round = CommitRound(commits)
            pipeline._journalled.append(commit_round)
            for job in self._local_delivery.route(commit_round):
                pipeline.to_publish.put_nowait(job)
            await self._log.append([commit.batch for commit in commits], Channel.JOURNAL)
            for callback in [each for commit in commits for each in commit.callbacks]:
                callback()


def local_delivery_is_always_open(self: LocalDelivery, at: TopicPartition) -> bool:
    return at.partition in self._journals.get(at.topic, {})


def forget_the_sources(self: Journal, checkpoints: Sequence[Checkpoint]) -> None:
    _restore(self, checkpoints)
    self.senders.positions.clear()


def read_sources_of_the_last_only(self: Journal, checkpoints: Sequence[Checkpoint]) -> None:
    _restore(self, checkpoints[-1:])


def tails_off_by(step: int) -> object:
    async def read_tails(
        log: Log, writers: Mapping[TopicPartition, str]
    ) -> Mapping[TopicPartition, tails.Tail]:
        found = await tails.read_tails(log, writers)
        return {
            tp: t._replace(output_id=(t.output_id[0], t.output_id[1] + step))
            for tp, t in found.items()
        }

    return read_tails


async def claim_with_one_transaction(
    self: SimulatedLog, name: str, fenced: Sequence[TopicPartition]
) -> Writer:
    writer: Writer = await self._ask("claiming", "init", lambda: self._brokers.initialise(name))
    await self.renew(name, writer, fenced)
    return writer


async def know_no_epochs(
    self: SimulatedLog,
    epochs: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    return {}


FENCING = {Kind.CRASH: 1.0, Kind.SLOW_MARKERS: 1.0}
"""What it takes to need a fence: a dead owner's request that comes while another takes over."""

NEEDS_FENCING = {
    "public outputs are not fenced",
    "a claim makes one empty transaction only",
}

NEEDS_SLOW_READS = {"a timer overtakes the backlog"}
"""What it takes to have a backlog while timers run: every answer takes as long as a tick."""

NEEDS_CLOCKS = {"payments expire by the clock of the worker's machine"}
MANY_JUMPS = 0.5
NEEDS_LOSS = {
    "a journal behind its public topic is accepted",
    "a public topic that lost records is accepted",
    "an input that lost what was handled is accepted",
}
"""What only a loss of acknowledged records brings to light."""

NEEDS_LOSS_AMONG_OTHERS = {"an owner that lost commits is not noticed"}
"""What a loss brings to light when partitions move between workers too."""

FAULTS: dict[str, tuple[object, str, object]] = {
    "outputs are published before the journal has them": (
        Committer,
        "_journal_loop",
        publish_before_the_journal_has_it,
    ),
    "public outputs are not fenced": (PartitionClaims, "public_at", lambda *_: []),
    "a claim makes one empty transaction only": (SimulatedLog, "claim", claim_with_one_transaction),
    "a locally delivered message may overtake one in the log": (
        LocalDelivery,
        "_is_open",
        local_delivery_is_always_open,
    ),
    "positions of sources are not restored": (Journal, "restore", forget_the_sources),
    "positions of sources are read from one checkpoint": (
        Journal,
        "restore",
        read_sources_of_the_last_only,
    ),
    "the tail is one too low": (takeover, "read_tails", tails_off_by(-1)),
    "the tail is one too high": (takeover, "read_tails", tails_off_by(1)),
    "a timer overtakes the backlog": (
        Progress,
        "read_until_ms",
        lambda _progress, _journal, now_ms: now_ms,
    ),
    "payments expire by the clock of the worker's machine": (
        BrokerClock,
        "__call__",
        lambda clock: clock.wall_ms(),
    ),
    "a journal behind its public topic is accepted": (
        consistency,
        "_require_own_tail",
        lambda *_: None,
    ),
    "a public topic that lost records is accepted": (
        consistency,
        "_require_published",
        lambda *_: None,
    ),
    "an owner that lost commits is not noticed": (KnownSenders, "meet", lambda *_: None),
    "an input that lost what was handled is accepted": (
        SimulatedLog,
        "epoch_ends",
        know_no_epochs,
    ),
    "the ring has one slot": (journal, "checkpoint_key", lambda _: b"\x000"),
}


ALSO: dict[str, tuple[object, str, object]] = {
    "an owner that lost commits is not noticed": (KnownSenders, "meet_here", lambda *_: None),
}
"""What would notice the fault too."""


def losing(story: Story, seed: int) -> Story:
    """Return the story with a few losses of acknowledged records as its only faults."""
    random = Random(f"losing {seed}")
    shape = story.shape._replace(local_delivery=False)
    rates = {Kind.LOST_TAIL: 0.4}
    timed = draw_timed_faults(random, rates, story.seconds)
    return story._replace(shape=shape, rates=rates, timed=timed)


@contextmanager
def fault(name: str) -> Iterator[None]:
    with mock.patch.object(*FAULTS[name]), mock.patch.object(*ALSO.get(name, FAULTS[name])):
        yield


def first_failure(name: str) -> tuple[Story, Outcome]:
    first = FIRST_SEEDS.get(name, 1)
    for seed in range(first, first + MOST_SEEDS):
        story = draw_story(seed, RUN_COMMANDS, HOURS)
        if name in NEEDS_LOSS_AMONG_OTHERS:
            story = draw_story(seed, RUN_COMMANDS, LONG_HOURS, losing_runs=1.0)
        if name in NEEDS_CLOCKS and story.rates.get(Kind.CLOCK_JUMP, 0.0) < MANY_JUMPS:
            continue
        if name in NEEDS_SLOW_READS:
            shape = story.shape._replace(latency_seconds=SLOW_SECONDS)
            story = story._replace(shape=shape, rates={Kind.CRASH: 1.0}, timed=[])
        if name in NEEDS_FENCING:
            story = story._replace(rates=FENCING, timed=[])
        if name in NEEDS_LOSS:
            story = losing(story, seed)
        outcome = play(story)
        if outcome.findings:
            assert "Defect(" not in str(outcome.findings), "the fault itself does not fit any more"
            return story, outcome
    pytest.fail(f"not found by {MOST_SEEDS} seeds")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_engine_is_found(name: str) -> None:
    with fault(name):
        _, outcome = first_failure(name)
    assert outcome.findings


def test_a_failure_is_shrunk_to_a_story_that_still_fails() -> None:
    with fault(name := "the ring has one slot"):
        story, outcome = first_failure(name)
        shorter = shrink(story, outcome, trials=25)
        lines = list(told(shorter, lines=50))
        again = play(shorter)
    assert again.findings
    assert len(shorter.commands) < len(story.commands) // 2
    assert len(again.injected) < len(outcome.injected)
    assert lines[0] == (
        f"seed {story.seed}: {len(shorter.commands)} commands, {len(again.injected)} faults"
    )
    assert lines[-1].strip() == again.findings[-1]
    assert play(shorter).findings == [], "without the fault nothing is wrong"
