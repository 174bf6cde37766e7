"""What ``payments journal inspect`` and ``payments doctor`` read from damaged or strange journals.

On a broker: foreign records (``test_repair_on_broker.py``); a worker's own refusals of the same:
``tests/engine/test_consistency.py``.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from exactstage.errors import UNDECODABLE_BATCH, NewerFormat, NotOurs
from exactstage.log import Bounds, Log, TopicPartition
from payments.recovery.fitting import misfit
from payments.recovery.inspecting import inspect
from payments.recovery.installation import stages_of
from payments.testing import PaymentsTestbed

JOURNAL = TopicPartition("payments-payments-changelog", 0)
MAKE = {"type": "make", "account": "abc", "amount": 100}


async def test_a_batch_that_can_not_be_read_is_listed_and_passed_over() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        await payments.quiet()
        batch = payments.log.produce_unreadable(JOURNAL, 2, UNDECODABLE_BATCH)
        payments.log.produce(JOURNAL, b"behind", b"it")
        stages = stages_of(payments.settings)
        found = await inspect(payments.log, stages, range(payments.settings.partitions))
    damaged = {each.held.at: each.held for each in found if each.held.unreadable}
    assert list(damaged) == [JOURNAL]
    [unreadable] = damaged[JOURNAL].unreadable
    assert (unreadable.offset, unreadable.last_offset) == (batch.offset, batch.last_offset)
    assert UNDECODABLE_BATCH in unreadable.why
    assert b"behind" in damaged[JOURNAL].rows


async def test_a_newer_versions_checkpoint_is_no_foreign_record() -> None:
    """A repair would put an older one in its place."""
    async with PaymentsTestbed() as payments:
        payments.log.produce(JOURNAL, b"\x001", b'{"n":1,"format":99,"published":0}')
        with pytest.raises(NewerFormat, match="start that version again"):
            await inspect(payments.log, stages_of(payments.settings), [0])


async def test_what_a_worker_would_not_take_over_is_known_without_a_claim() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        await payments.quiet()
        log, stages = payments.log, stages_of(payments.settings)
        partitions = payments.settings.partitions
        found = await inspect(log, stages, range(partitions))
        assert await misfit(log, payments.settings.app_id, stages, partitions, found) is None
        failure = await misfit(log, "another", stages, partitions, found)
        assert isinstance(failure, NotOurs)
        log.produce(JOURNAL, b"row", b"of a worker at work")
        assert await misfit(log, "another", stages, partitions, found) is None


class GoesOn:
    """A log of which a worker goes on writing between two looks: here before the public ends."""

    def __init__(self, payments: PaymentsTestbed) -> None:
        self._payments = payments

    def __getattr__(self, name: str) -> object:
        return getattr(self._payments.log, name)

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Answer as the log does, once the worker has gone on."""
        if any(tp.topic == self._payments.settings.topics.results for tp in at):
            await self._payments.send("meanwhile", {"type": "get"})
        return await self._payments.log.bounds(at)


async def test_a_worker_that_goes_on_meanwhile_has_lost_nothing() -> None:
    """A journal has each commit before its outputs are seen, so it is read again behind its end.

    That what is really lost is found beside running workers too: the test below. What else
    ``doctor`` compares is of one moment, or not compared (``misfit``).
    """
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as payments:
        await payments.send("p1", MAKE)
        log = cast("Log", GoesOn(payments))
        [journal] = await inspect(log, stages_of(payments.settings)[:1], [0])
        assert journal.held.last is not None
        tail = journal.tails[payments.settings.topics.results]
        assert tail.output_id[0] > journal.held.last.n, "the worker went on"
        assert journal.tails_ahead == []


async def test_outputs_that_the_journal_does_not_know_are_named() -> None:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as payments:
        await payments.send("p1", MAKE)
        results = payments.settings.topics.results
        lost = [("ce_id", b"payments/0/99/0")]
        payments.log.produce(TopicPartition(results, 0), b"p2", b"{}", lost)
        [journal] = await inspect(payments.log, stages_of(payments.settings)[:1], [0])
        assert journal.tails_ahead == [results]
