"""Fitting: whether a worker could take over the journals as they were inspected.

The checks are those of a takeover (``exactstage.consistency``), without a claim.
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

_NO_WRITER = Writer(-1, -1)


async def misfit(
    log: Log, app_id: str, stages: Sequence[Stage], partitions: int, found: Sequence[Inspected]
) -> FailStop | None:
    """Return the failure with which a worker would refuse these journals; None for no failure.

    Also None where they have grown since they were inspected: workers run, and the journals were
    not read at one moment.
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
    """Return the evidence of a journal, as a takeover collects it."""
    journal = Journal(
        stage=stage.name,
        partition=each.held.at.partition,
        changelog=stage.changelog,
        public=stage.public,
        emits=stage.emits,
        writer=_NO_WRITER,
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
