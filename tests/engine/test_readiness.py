"""Readiness: what stands still for long makes a worker not ready, and is logged once."""

from collections.abc import Sequence

import pytest

from exactstage.memory.log import MemoryReader
from exactstage.outage import OUTAGE
from exactstage.readiness import REPEAT_SECONDS, Readiness
from exactstage.troubles import Trouble

from .harness import PARTITIONS, Worker, new_log
from .wordcount import word_count

BLOCKED = Trouble("blocked", "a/0", 0.0, "end the transaction", "end 3", partition=True)
SILENT = Trouble("Kafka does not answer", "a fetch", 2.0)


def test_what_is_over_soon_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(5.0)
    assert readiness.look([BLOCKED, SILENT], 4.9) == []
    assert readiness.look([], 6.0) == []
    assert caplog.records == []


def test_a_trouble_that_lasts_is_logged_once_and_then_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    readiness = Readiness(5.0)
    for now in (5.0, 6.0, 7.0, 300.0):
        assert readiness.look([BLOCKED], now) == ["blocked: a/0 (end 3): end the transaction"]
    OUTAGE.forget()
    readiness.look([BLOCKED._replace(detail="end 4")], 301.0)
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("not ready since ")
    assert said.endswith("UTC: blocked: a/0 (end 3): end the transaction")
    assert (readiness.standing_partitions, readiness.standing_seconds) == (1, 301.0)
    OUTAGE.forget()
    readiness.look([BLOCKED], 6.0 + REPEAT_SECONDS)
    assert len(caplog.records) == 2
    assert readiness.look([], 7.0 + REPEAT_SECONDS) == []
    assert caplog.records[-1].getMessage() == "ready again: nothing stands still any more"
    assert readiness.standing_partitions == 0


def test_two_warnings_are_never_close_together(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(5.0)
    readiness.look([BLOCKED], 5.0)
    assert len(readiness.look([BLOCKED, SILENT], 8.0)) == 2
    assert len(caplog.records) == 1


def test_many_partitions_are_one_sentence() -> None:
    many = [BLOCKED._replace(where=f"a/{partition:02}", detail="") for partition in range(14)]
    [sentence] = Readiness(0.0).look(many, 1.0)
    assert "a/08, a/09 and 4 more: end the transaction" in sentence


async def test_a_worker_without_partitions_is_ready() -> None:
    """There may be more workers than partitions."""
    worker = await Worker(new_log()[0], word_count()).open()
    assert not worker.engine.counts().ready, "it does not know yet that there are none"
    await worker.assign(range(0))
    assert worker.engine.look() == []
    assert worker.engine.counts().ready
    assert worker.engine.counts().owned_partitions == 0
    await worker.stop()


async def test_what_stood_still_is_not_held_against_a_worker_that_has_lost_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def troubles(reader: MemoryReader) -> Sequence[Trouble]:
        return [BLOCKED._replace(where=str(at), since=-1e9) for at in reader.positions()]

    monkeypatch.setattr(MemoryReader, "troubles", troubles)
    log, _ = new_log()
    worker = await Worker(log, word_count()).start()
    while not worker.engine.look():
        await log.grown(0.001)  # It has not begun to read.
    assert worker.engine.counts().standing_partitions == PARTITIONS * 2
    await worker.engine.drain()
    await worker.assign(range(0))
    assert worker.engine.look() == []
    assert worker.engine.counts().ready
    await worker.stop()
