"""Fitting: whether a worker could go on from the journals as they were inspected.

The checks are those of a takeover (``engine/consistency``), over what was read without a claim.
"""

from collections.abc import Iterable, Sequence

from exactstage.checkpoint import Checkpoint
from exactstage.consistency import Evidence, Surroundings, identify, require_all_there
from exactstage.errors import FailStop
from exactstage.journal import Journal
from exactstage.limits import RING, Limits
from exactstage.log import Log, Writer
from exactstage.stage import Stage, topics_of

from .inspecting import Inspected

_NOBODY = Writer(-1, -1)


async def misfit(
    log: Log, app_id: str, stages: Sequence[Stage], partitions: int, found: Sequence[Inspected]
) -> FailStop | None:
    """Return with what a worker would refuse to take over these journals; None if with nothing.

    Also None where they have grown since they were inspected: workers are at work, and what was
    read is not of one moment.
    """
    inspected = {each.held.at: each.held.bounds for each in found}
    cluster = await log.describe(topics_of(stages))
    if await log.bounds(list(inspected)) != inspected:
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


def _evidence(stage: Stage, each: Inspected) -> Evidence:
    """Return what a takeover would know of a journal."""
    journal = Journal(
        stage=stage.name,
        partition=each.held.at.partition,
        changelog=stage.changelog,
        public=stage.public,
        emits=stage.emits,
        writer=_NOBODY,
        limits=Limits(),
    )
    checkpoints = _in_order(each.held.checkpoints.values())
    if checkpoints:
        journal.restore(checkpoints)
    return Evidence(journal, checkpoints, each.held.bounds, each.tails)


def _in_order(found: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints by number, the last ``RING`` of them at most."""
    ordered = sorted(found, key=lambda checkpoint: checkpoint.n)
    return [each for each in ordered if each.n > ordered[-1].n - RING]
