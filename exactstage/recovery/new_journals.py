"""New journals: rows, and commits whose outputs the next owner publishes, before they are written.

Such a journal begins with the rows that are known, without a commit. What is decided after that
joins commits, as it would in a worker.
"""

from collections.abc import Iterable, Mapping

from exactstage.journal import CommitBatch, Journal
from exactstage.limits import MAX_COMMITS_AHEAD, Limits
from exactstage.log import Headers, Writer
from exactstage.outputs import Output
from exactstage.stage import Stage

MAX_COMMITS = MAX_COMMITS_AHEAD - 2
"""Most commits with outputs in one journal; empty ones fill the rest of the ring."""

_NO_WRITER = Writer(-1, -1)
"""The claim comes when the journal is written."""


class TooManyCommits(Exception):
    """More outputs would have to be published at once than a journal can carry."""

    def __init__(self, journal: str) -> None:
        super().__init__(f"{journal}: more than {MAX_COMMITS} commits with outputs")
        self.journal = journal
        """Stage and partition."""


class NewJournal:
    """The journal of one stage and partition as it will be written.

    ``base`` is the number from which its commits count: later than any that was ever published.
    """

    def __init__(
        self,
        stage: Stage,
        partition: int,
        rows: Mapping[bytes, bytes],
        *,
        base: int,
        limits: Limits | None = None,
    ) -> None:
        self.rows = dict(rows)
        """What is written first; commits have the rows that they change."""
        self.stage, self.base = stage, base
        self.commits: list[CommitBatch] = []
        self._journal = Journal(
            stage=stage.name,
            partition=partition,
            changelog=stage.changelog,
            public=stage.public,
            emits=stage.emits,
            writer=_NO_WRITER,
            limits=limits or Limits(),
        )
        self._journal.n = self._journal.published = base
        self._journal.rows = dict(rows)

    def __repr__(self) -> str:
        """Name it as it is named in messages."""
        return repr(self._journal)

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._journal.partition

    @property
    def journal(self) -> Journal:
        """The engine's own: what ``exactstage.recovery`` works on."""
        return self._journal

    @property
    def now(self) -> Mapping[bytes, bytes]:
        """The rows after all commits."""
        return self._journal.rows

    def know(self, key: bytes, row: bytes) -> None:
        """Add a row that was there before the commits."""
        self.rows[key] = self._journal.rows[key] = row

    def put(self, key: bytes, row: bytes) -> None:
        """Stage a row, as ``Context.put`` does; ``accept`` follows."""
        self._journal.put(key, row)

    def emit(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        type: str,  # noqa: A002 - what CloudEvents calls it
        time_ms: int,
        headers: Headers = (),
    ) -> None:
        """Stage an output, as ``Context.emit`` does; ``accept`` follows."""
        self._journal.emit(topic, key, value, type=type, time_ms=time_ms, headers=headers)

    def publish(self, output: Output) -> None:
        """Stage an output as it is."""
        self._journal.publish(*output)

    def accept(self) -> None:
        """Make the decision that is staged. Raises ``TooManyCommits``."""
        self._journal.accept()
        if self._journal.is_full:
            self._seal()

    def close(self, inputs: Mapping[str, int], senders: Iterable[str], *, taken_up_to: int) -> None:
        """End: no decision follows. Raises ``TooManyCommits``.

        Its owner reads each of the ``inputs`` from the given offset on, and takes no message that
        ``senders`` (``<stage>/<partition>``) have sent up to commit ``taken_up_to`` of theirs.
        """
        self._journal.inputs = dict(inputs)
        for name in senders:
            self._journal.senders.positions[name] = (taken_up_to, 0)
        if self._journal.is_open:
            self._seal()

    def _seal(self) -> None:
        if len(self.commits) >= MAX_COMMITS:
            raise TooManyCommits(repr(self))
        self.commits.append(self._journal.seal())
