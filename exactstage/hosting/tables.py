"""Faust tables over the engine's rows, and the recovery hook in which the engine takes over.

The tables are read-only: only decisions write rows, through the journal. They have the rows of the
partitions that this worker owns.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from faust.stores.base import Store
from faust.tables import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.types import TP
from mode import Service

from exactstage.errors import as_fail_stop
from exactstage.log import TopicPartition
from exactstage.takeover import TakeoverReport

from .host import Host, host_of
from .membership import FAUST_LOGGER

logger = logging.getLogger(__name__)


class JournalStore(Store[bytes, bytes]):
    """The rows of one stage, of all owned partitions."""

    logger = FAUST_LOGGER

    @property
    def data(self) -> Mapping[bytes, bytes]:  # type: ignore[override] # this is read-only
        """The rows of all owned partitions, read-only."""
        return MappingProxyType(host_of(self.app).rows_in_memory(self.table_name))

    def apply_changelog_batch(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the engine restores."""
        message = "rows are restored by the engine"
        raise TypeError(message)

    def persisted_offset(self, tp: TP) -> int | None:
        """Return None: Faust has no offset of its own."""

    def reset_state(self) -> None:
        """Keep everything: the engine drops the rows of revoked partitions."""

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Do nothing: the journal is the backup."""

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """Do nothing: the journal is the backup."""


class JournalTable(Table[bytes, bytes]):
    """A read-only table of the engine's rows."""

    logger = FAUST_LOGGER

    def __setitem__(self, key: bytes, value: bytes) -> NoReturn:
        """Refuse: only decisions write rows."""
        message = "rows are written through the journal"
        raise TypeError(message)

    def __delitem__(self, key: bytes) -> NoReturn:
        """Refuse: only decisions remove rows."""
        self[key] = b""

    def _new_store(self) -> JournalStore:
        return JournalStore("memory://", self.app, self, table_name=self.name)

    def _changelog_topic_name(self) -> str:
        # The membership subscribes to this topic. With Faust's own name it would request a topic
        # that does not exist, which some brokers create.
        return host_of(self.app).changelog(self.name)


class EngineRecovery(Recovery):
    """Runs the engine's takeover instead of Faust's reading of changelogs."""

    logger = FAUST_LOGGER

    @property
    def _host(self) -> Host:
        return host_of(self.app)

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            self.signal_recovery_end.set()
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type] # mode knows only its own events
                return
            self.signal_recovery_start.clear()
            try:
                await self._take_over(self._generation_id)
            except Exception as error:  # noqa: BLE001 - half a takeover must end the process
                if self._host.should_stop:
                    # The next owner repeats the takeover: nothing was decided yet.
                    logger.info("the takeover was interrupted, the worker ends: %r", error)
                    return
                self._host.fail_stop(as_fail_stop("the takeover", error))

    async def _take_over(self, generation_id: int) -> None:
        app = self._host

        async def settle(report: TakeoverReport | None) -> None:
            await app.note_takeover(report)
            await app.on_rebalance_complete.send()
            await app._fetcher.maybe_start()  # noqa: SLF001 - Faust's own recovery does the same

        def is_superseded() -> bool:
            is_older = generation_id != app.consumer_generation_id
            return self.signal_recovery_start.is_set() or is_older or app.should_stop

        def on_ready() -> None:
            self.completed.set()
            app.flow_control.resume()
            self.tables.on_actives_ready()
            self.tables.on_standbys_ready()
            app.on_rebalance_end()
            app.was_ready = True
            logger.info("worker ready: %d partitions", len(app.engine.owned.partitions))

        assigned = {TopicPartition(*tp) for tp in app.assignor.assigned_actives()}
        # A standby has the same partitions of all topics that are assigned together.
        standbys = {at.partition for at in app.assignor.assigned_standbys()}
        await app.engine.rebalance(
            assigned,
            standbys=standbys,
            is_superseded=is_superseded,
            settle=settle,
            on_ready=on_ready,
        )

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Read nothing: the engine does."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Report nothing: the engine does."""


class JournalTableManager(TableManager):
    """Faust's table manager with the recovery above, and without its pause at the start."""

    logger = FAUST_LOGGER

    @property
    def recovery(self) -> Recovery:
        """Recovery service of the app."""
        if self._recovery is None:
            self._recovery = EngineRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Register the tables and start the recovery service."""
        await self._update_channels()
        await self.recovery.start()
