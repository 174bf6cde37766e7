"""Moving: copies an installation to other topics, and marks its former journals as moved."""

from typing import Any

from exactstage import topics_of
from exactstage.inspection import Show, partitions_of
from exactstage.recovery import Claimed, Surroundings
from payments.settings import Settings

from .copying import COPIED, Copying
from .gathering import Source
from .installation import open_log, stages_of
from .offline import require_no_workers
from .run import Options, rebuild


async def preview(settings: Settings, new: Settings) -> dict[str, Any]:
    """Return the counts of offsets that would be copied, without changing anything."""
    found: dict[str, Any] = {}
    async with open_log(settings, grown=True) as log:
        for topic in COPIED:
            name = settings.topic(topic)
            at = partitions_of(name, log.partition_count(name))
            bounds = (await log.bounds(at)).values()
            words = f"offsets of {name} to {new.topic(topic)}"
            found[words] = sum(end - first for first, end in bounds)
    return found


async def move(settings: Settings, new: Settings, now_ms: int, show: Show) -> dict[str, Any]:
    """Copy to ``new``, whose topics are there and empty, and rebuild its journals.

    1. Claim every partition of the old installation: nothing more is published there.
    2. Copy the public topics, with partitions that were added in place, and rebuild the new
       journals from them.
    3. Mark the old journals: a worker that is started with the old settings is refused.
    """
    async with open_log(settings, grown=True) as old_log, open_log(new) as new_log:
        old_stages, new_stages = stages_of(settings), stages_of(new)
        claimed = Claimed(old_log, settings.app_id, old_stages, settings.partitions)
        await claimed.claim()
        identities = Surroundings(
            new.app_id,
            new_stages,
            new.partitions,
            await new_log.describe(topics_of(new_stages)),
        )
        copying = Copying((old_log, settings), (new_log, new), identities.new_installation)
        await copying.require_empty()
        await copying.run(show)

        async def offline() -> None:
            await require_no_workers(settings)
            await require_no_workers(new)

        async def keep(topics: object) -> None:
            del topics

        source = Source(copied=True, former_topic=settings.topics.commands, merged=True)
        plan = await rebuild(
            new_log,
            new,
            Options(source=source),
            dry_run=False,
            require_offline=offline,
            recreate=keep,
            now_ms=now_ms,
            show=show,
        )
        await claimed.require()
        where = f"PAYMENTS_APP_ID {new.app_id}, PAYMENTS_TOPIC_PREFIX {new.topic_prefix}"
        await claimed.mark_moved(where)
        return {**copying.counts, **plan.counts}
