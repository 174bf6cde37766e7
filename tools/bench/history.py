"""A history: payments as the real stages decide them, written to all topics that an audit reads.

No engine runs: each chunk of commands goes through the callbacks of the stages, and their messages
to each other are delivered here. Journals, checkpoints and published records are those of the
engine's own code.
Every tenth payment is cancelled after it was made, and every hundredth asks for more than there is.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence

from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import Channel, Log, NewRecord, Record, TopicPartition, Writer
from exactstage.outputs import Rounds, parse_source
from exactstage.partitioner import partition_of
from exactstage.stage import Stage
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage

ACCOUNTS = 1000
CHUNK_PER_PARTITION = 200
"""Payments of one chunk: a commit of theirs is far smaller than a batch may be."""

CANCELLED_EVERY, DECLINED_EVERY = 10, 100


class History:
    """Writes payments to one installation whose topics are empty."""

    def __init__(self, log: Log, settings: Settings, writer: Writer) -> None:
        self._log, self._settings, self._writer = log, settings, writer
        self._stages = (payments_stage(settings), accounts_stage(settings))
        self._public = frozenset[str]().union(*(stage.public for stage in self._stages))
        self._commands = settings.topic("payments.commands")
        self._time_ms = time.time_ns() // 1_000_000
        self._offsets: dict[TopicPartition, int] = {}
        """Next offset of the internal partitions, which are not written."""
        self._journals = [
            [self._journal(stage, partition) for partition in range(settings.partitions)]
            for stage in self._stages
        ]

    def _journal(self, stage: Stage, partition: int) -> Journal:
        stage.callbacks.restored(partition, {})
        return Journal(
            stage=stage.name,
            partition=partition,
            changelog=stage.changelog,
            public=stage.public,
            emits=stage.emits,
            writer=self._writer,
            limits=Limits(),
        )

    async def write(self, first: int, end: int) -> None:
        """Write the payments with these numbers, ``end`` not included."""
        chunk = CHUNK_PER_PARTITION * self._settings.partitions
        for begin in range(first, end, chunk):
            numbers = range(begin, min(begin + chunk, end))
            await self._settle(await self._send(_makes(numbers)))
            await self._settle(await self._send(_cancels(numbers)))

    async def _send(self, commands: Iterable[tuple[bytes, bytes]]) -> list[Record]:
        """Write commands as clients do; return them as the stage reads them."""
        rounds = Rounds(Limits().batch_bytes)
        for key, value in commands:
            partition = partition_of(key, self._settings.partitions)
            new: NewRecord = (key, value, [])
            rounds.add(self._commands, partition, self._writer, new, len(key) + len(value) + 40)
        sent: list[Record] = []
        for batches in rounds:
            offsets = await self._log.append(batches, Channel.PUBLISH)
            for batch in batches:
                sent += [
                    Record(*batch.at, offsets[batch.at] + index, self._time_ms, key, value, ())
                    for index, (key, value, _) in enumerate(batch.records)
                ]
        return sent

    async def _settle(self, commands: Sequence[Record]) -> None:
        """Let commands go through both stages, until every one is answered."""
        payments, accounts = self._stages
        transfers = await self._decide(payments, self._journals[0], commands)
        ends = await self._decide(accounts, self._journals[1], transfers)
        # No end of a transfer begins another one here: each cancel comes after its make settled.
        await self._decide(payments, self._journals[0], ends)

    async def _decide(
        self, stage: Stage, journals: Sequence[Journal], records: Iterable[Record]
    ) -> list[Record]:
        """Decide records, journal that, publish; return the messages to the other stage."""
        for record in records:
            journal = journals[record.partition]
            if record.topic != self._commands:
                journal.senders.accept_once(parse_source(record.headers[-1][1] or b""))
            stage.callbacks.handle(record, journal)
            journal.accept()
            journal.advance(record.topic, record.offset)
        commits = [journal.seal() for journal in journals if journal.is_open]
        await self._log.append([commit.batch for commit in commits], Channel.JOURNAL)
        rounds = Rounds(Limits().batch_bytes)
        for commit in commits:
            commit.publication.add_to(rounds, self._writer)
            commit.journal.published = commit.journal.n
        messages: list[Record] = []
        for batches in rounds:
            public = [batch for batch in batches if batch.at.topic in self._public]
            await self._log.append(public, Channel.PUBLISH)
            for batch in batches:
                if batch.at.topic not in self._public:
                    messages += self._messages(batch.at, batch.records)
        return messages

    def _messages(self, at: TopicPartition, records: Sequence[NewRecord]) -> Iterator[Record]:
        first = self._offsets.get(at, 0)
        self._offsets[at] = first + len(records)
        for index, (key, value, headers) in enumerate(records):
            yield Record(*at, first + index, self._time_ms, key, value, headers)


def _makes(numbers: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    for number in numbers:
        amount = 10**15 if number % DECLINED_EVERY == 1 else 1
        make = {"type": "make", "account": f"acct-{number % ACCOUNTS}", "amount": amount}
        yield _id(number), json.dumps({**make, "id": f"command-{number}"}).encode()


def _cancels(numbers: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    for number in numbers:
        if number % CANCELLED_EVERY == 0:
            yield _id(number), json.dumps({"type": "cancel", "id": f"cancel-{number}"}).encode()


def _id(number: int) -> bytes:
    """Return a payment id as long as the UUIDs that most users take."""
    return b"payment-%028d" % number
