"""Fitting: whether a worker could take over the journals as they were inspected."""

from collections.abc import Sequence

from exactstage import FailStop, Log, Stage
from exactstage.inspection import FoundJournal, takeover_failure

from .inspecting import Inspected


async def misfit(
    log: Log, app_id: str, stages: Sequence[Stage], partitions: int, found: Sequence[Inspected]
) -> FailStop | None:
    """Return the failure with which a worker would refuse these journals; None for no failure.

    Also None where they have grown since they were inspected.
    """
    journals = [
        FoundJournal(
            stage=each.stage,
            at=each.held.at,
            held=each.held.bounds,
            checkpoints=each.held.checkpoints.values(),
            tails=each.tails,
        )
        for each in found
    ]
    return await takeover_failure(log, app_id, stages, partitions, journals)
