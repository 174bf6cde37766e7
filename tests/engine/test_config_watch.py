"""A topic whose configuration is changed while a worker runs: the worker says so before the loss.

What is refused at a start is in ``tests/broker/test_identity.py``.
"""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from exactstage.config_watch import ConfigWatch
from exactstage.errors import FailStop
from exactstage.limits import Limits
from exactstage.memory.log import MemoryLog
from exactstage.stage import topics_of

from .harness import Worker
from .wordcount import word_count

DELETES = "words-changelog has cleanup.policy=delete; bring the topics back"


class Changed(MemoryLog):
    """A log whose topics somebody has changed; ``problem`` is what a start would be refused by."""

    problem: str | None = None
    lossy: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__(topics_of([word_count()]), 1)
        self.refused = asyncio.Event()
        self.looked = asyncio.Event()

    async def require_configs(self, **_: object) -> float:
        """Refuse as the brokers' configurations would have it."""
        if self.problem is not None:
            self.refused.set()
            raise FailStop(self.problem)
        return 1e9

    async def losses(self, keeps: Mapping[str, float]) -> Sequence[str]:
        """Return what the brokers' configurations would lose."""
        self.looked.set()
        return self.lossy if keeps else ()


async def test_a_change_for_the_worse_is_warned_of_once_and_its_end_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Changed()
    watch = ConfigWatch(
        log, inputs=["words"], journals=["changelog"], keeps={}, between_seconds=1.0
    )
    await watch.look()
    assert not caplog.messages
    log.problem = DELETES
    await watch.look()
    await watch.look()
    log.problem = None
    await watch.look()
    await watch.look()
    assert caplog.messages == [
        f"this worker continues, but its next start is refused: {DELETES}",
        "the next start is not refused any more: all fits again",
    ]


async def test_a_retention_that_loses_records_is_warned_of_at_once_and_its_end_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No start is refused by it. On a broker: ``tests/topics/test_configs.py``."""
    log = Changed()
    log.lossy = ["ledger has retention.ms=1"]
    watch = ConfigWatch(
        log, inputs=["words"], journals=["changelog"], keeps={"ledger": 9.0}, between_seconds=1e9
    )
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(30):
        await log.looked.wait()
    running.cancel()
    for _ in range(2):
        await watch.look_at_losses()
    log.lossy = []
    await watch.look_at_losses()
    await watch.look_at_losses()
    assert caplog.messages == [
        "records will be lost that are still needed: ledger has retention.ms=1",
        "the retention of the topics keeps what is needed again",
    ]


async def test_a_running_worker_looks_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    log = Changed()
    worker = Worker(log, word_count(), limits=Limits(configs_seconds=0.001))
    await worker.start(range(1))
    log.problem = DELETES
    async with asyncio.timeout(30):
        await log.refused.wait()
    await worker.kill()
    assert DELETES in caplog.text
