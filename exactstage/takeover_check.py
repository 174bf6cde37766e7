"""Whether a worker could take journals over, found out without a claim.

The checks are those of a takeover (``exactstage.consistency``).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from .checkpoint import Checkpoint
from .consistency import Evidence, Surroundings, identify, require_all_there
from .errors import FailStop
from .journal import Journal
from .limits import RING, Limits
from .log import Bounds, Log, TopicPartition, Writer
from .stage import Stage, topics_of
from .tails import Tail

_NO_WRITER = Writer(-1, -1)


class FoundJournal(NamedTuple):
    """What was read of one journal, and around it."""

    stage: str
    at: TopicPartition
    held: Bounds
    """What its partition held when it was read."""

    checkpoints: Collection[Checkpoint]
    tails: Mapping[str, Tail]
    """Ends of the stage's public partitions, by topic."""


async def takeover_failure(
    log: Log, app_id: str, stages: Sequence[Stage], partitions: int, found: Sequence[FoundJournal]
) -> FailStop | None:
    """Return the failure with which a worker would refuse these journals; None for no failure.

    Also None where they have grown since they were read: workers run, and the journals were not
    read at one moment.
    """
    read = {each.at: each.held for each in found}
    cluster = await log.describe(topics_of(stages))
    if await log.bounds(list(read)) != read:
        return None
    by_name = {stage.name: stage for stage in stages}
    evidence = [_evidence(by_name[each.stage], each) for each in found]
    around = Surroundings(app_id, stages, partitions, cluster)
    try:
        identify(around, evidence, ())
        require_all_there(evidence, ())
    except FailStop as failure:
        return failure
    return None


def _evidence(stage: Stage, found: FoundJournal) -> Evidence:
    """Return the evidence of a journal, as a takeover collects it."""
    journal = Journal(
        stage=stage.name,
        partition=found.at.partition,
        changelog=stage.changelog,
        public=stage.public,
        emits=stage.emits,
        writer=_NO_WRITER,
        limits=Limits(),
    )
    checkpoints = _in_order(found.checkpoints)
    if checkpoints:
        journal.restore(checkpoints)
    return Evidence(journal, checkpoints, found.held, found.tails)


def _in_order(found: Collection[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints by number, the last ``RING`` of them at most."""
    ordered = sorted(found, key=lambda checkpoint: checkpoint.n)
    return [each for each in ordered if each.n > ordered[-1].n - RING]
