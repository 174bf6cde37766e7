"""The steps of a rebuild; what needs a broker's administration is an argument."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from exactstage import Log
from exactstage.inspection import Show
from exactstage.recovery import Claimed
from payments.settings import Settings

from .forgetting import published_entries
from .gathering import Source
from .installation import stages_of
from .rebuilding import OldCommands, Plan, plan_rebuild
from .writing import journals_in_use, refuse_used, write


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's choices."""

    replace: bool = False
    """Delete journals that are not empty."""

    source: Source = field(default_factory=Source)
    old_commands: OldCommands | None = None
    """How to treat commands for payments whose results retention may have deleted."""

    old_account_commands: OldCommands | None = None
    """The same of commands for accounts."""

    accept_lost_entries: bool = False
    """Rebuild although the ledger has lost entries."""

    processes: int = 1
    """How many processes may read a long ledger; more than 1 needs a broker's log."""


async def rebuild(
    log: Log,
    settings: Settings,
    options: Options,
    *,
    dry_run: bool,
    require_offline: Callable[[], Awaitable[None]],
    recreate: Callable[[Sequence[str]], Awaitable[None]],
    now_ms: int,
    show: Show,
) -> Plan:
    """Rebuild the journals of an installation; with ``dry_run`` only return the plan.

    1. Require that no worker runs, and that the journals are empty or may be replaced.
    2. Claim every partition: no older owner publishes anything from now on.
    3. Read the public topics, and plan.
    4. Require again that no worker has started; ``recreate`` the topics of used journals.
    5. Write the journals, so that a half-built one is refused.

    Raises ``RecoveryRefused`` before anything was changed, ``Fenced`` when a worker starts
    during the rebuild: run it again then.
    """
    stages = stages_of(settings)
    await require_offline()
    used = await journals_in_use(log, stages, settings.partitions)
    if not options.replace:
        refuse_used(used)
    claimed = Claimed(log, settings.app_id, stages, settings.partitions)
    if not dry_run:
        await claimed.claim()
    published = None if options.accept_lost_entries else await published_entries(log, settings)
    plan = await plan_rebuild(
        log,
        settings,
        source=options.source,
        old_commands=options.old_commands,
        old_account_commands=options.old_account_commands,
        now_ms=now_ms,
        show=show,
        published=published,
        processes=options.processes,
    )
    if dry_run:
        return plan
    await require_offline()
    await claimed.require()
    if used:
        await recreate([stage.changelog for stage in stages])
    await write(log, plan, claimed, show)
    return plan
