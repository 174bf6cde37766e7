"""The state directory of a worker, for ``payments verify``: its copies, and what they must be."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exactstage import Stage, TopicPartition
from exactstage.inspection import (
    SHARE_OF_TOMBSTONES,
    FoundCopies,
    belonging,
    open_copies,
    read_row,
)
from payments.stages import accounts_stage, payments_stage
from payments.verify.copies import CLOCKS_DIFFER_SECONDS, Ages, LocalCopies

if TYPE_CHECKING:
    from exactstage import Log
    from payments.settings import Settings


class StateDirectory:
    """The local copies of one worker, and the stages whose journals they are copies of."""

    def __init__(self, settings: "Settings", found: FoundCopies, stages: Sequence[Stage]) -> None:
        self._settings, self._found = settings, found
        self._stages = {stage.changelog: stage for stage in stages}

    async def copies(self, log: "Log") -> LocalCopies:
        """Return the copies for an audit; the log has been started."""
        partitions, topics = self._settings.partitions, list(self._stages)
        cluster = await log.describe(topics)
        tombstone_seconds = await log.require_configs(inputs=(), journals=topics)
        # Brokers state their time only to who writes: so it is this machine's, with a tolerance.
        limit_seconds = tombstone_seconds * SHARE_OF_TOMBSTONES - CLOCKS_DIFFER_SECONDS
        copies = LocalCopies(Ages(limit_seconds * 1000, int(time.time() * 1000)))
        for copy in self._found.copies:
            stage, at = self._stages[copy.at.topic], copy.at.partition
            belongs = belonging(
                self._settings.app_id, cluster, stage, partition=at, partitions=partitions
            )
            copies.add(copy, belongs, partial(read_row, stage))
        copies.missing = len(self._stages) * partitions - len(self._found.copies)
        for path in self._found.others:
            copies.add_other(path.name)
        return copies


@contextmanager
def open_state(settings: "Settings", directory: Path) -> Iterator[StateDirectory]:
    """Open the copies in a directory for as long as the block lasts; no worker can use it then.

    Raises ``FailStop`` where it can't be read, and ``ClickException`` where there is no copy.
    """
    stages = [payments_stage(settings), accounts_stage(settings)]
    journals = [
        TopicPartition(stage.changelog, partition)
        for stage in stages
        for partition in range(settings.partitions)
    ]
    with open_copies(directory, journals) as found:
        if not found.copies:
            message = (
                f"there is no local copy of a journal of {settings.app_id} in {directory}: is it "
                f"the PAYMENTS_STATE_DIR of a worker, and is PAYMENTS_APP_ID that worker's?"
            )
            raise click.ClickException(message)
        yield StateDirectory(settings, found, stages)
