"""Fetch sessions (KIP-227): a broker remembers which partitions it was asked for, and from where.

So a request names the partitions alone whose position has changed, and an answer those alone that
have records, an error or another end. Without one, both would name every assigned partition every
time, idle ones too, and a worker has several for each of its journals.

A broker that has no room for a session grants none. Then every request names all, as the first one
does.
"""

from collections.abc import Mapping
from typing import NamedTuple

from exactstage.log import TopicPartition

from .wire import NO_SESSION, ForFetch

NOT_FOUND, OTHER_EPOCH, OTHER_TOPIC_IDS = 70, 71, 106
"""FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR."""

_LOST = frozenset({NOT_FOUND, OTHER_EPOCH, OTHER_TOPIC_IDS})
_FIRST_EPOCH = 0
"""Asks for a new session, and ends the one that the request names."""

_NO_EPOCH = -1
"""Asks for none, and ends the one that the request names."""

_LAST_EPOCH = 2**31 - 1


class Changes(NamedTuple):
    """What a request has to name."""

    session: ForFetch
    positions: Mapping[TopicPartition, int]
    forgotten: tuple[TopicPartition, ...]
    """Partitions that this broker was asked for before, and is not any more."""


class FetchSession:
    """What one broker remembers of one reader's fetches, as far as the reader knows."""

    def __init__(self, *, wanted: bool = True) -> None:
        """``wanted``: ask for a session. Else every request names all, and there is none."""
        self._first_epoch = _FIRST_EPOCH if wanted else _NO_EPOCH
        self._id, self._epoch = NO_SESSION, self._first_epoch
        self._known: dict[TopicPartition, int] = {}
        """The position of each partition that the broker was asked for last."""
        self.asked: float | None = None
        """Send time of the last request whose answer left out only what had not changed.

        It is set when that answer is taken.
        """

    def anew(self, *, wanted: bool) -> "FetchSession":
        """Return the session of another assignment; it ends this one at the broker."""
        made = FetchSession(wanted=wanted)
        made._id = self._id
        return made

    @property
    def is_whole(self) -> bool:
        """Whether the next request names all partitions."""
        return self._epoch == self._first_epoch

    def ask(self, positions: Mapping[TopicPartition, int]) -> Changes:
        """Return what the next request must name to ask for ``positions``, and nothing else."""
        known, self._known = self._known, dict(positions)
        forgotten: tuple[TopicPartition, ...] = ()
        if known.keys() != positions.keys():
            forgotten = tuple(at for at in known if at not in positions)
        session = ForFetch(self._id, self._epoch)
        if self.is_whole:
            return Changes(session, positions, forgotten)
        changed = {at: offset for at, offset in positions.items() if known.get(at) != offset}
        return Changes(session, changed, forgotten)

    def answered(self, session_id: int, *, is_sure: bool) -> None:
        """Take the answer to the last request. ``is_sure``: what it leaves out has not changed.

        A broker that throttles may answer without looking at any partition. Then the next request
        names all.
        """
        if is_sure and session_id != NO_SESSION and (self.is_whole or session_id == self._id):
            self._epoch = 1 if self._epoch in (_FIRST_EPOCH, _LAST_EPOCH) else self._epoch + 1
        else:
            self.lost()
        self._id = session_id

    def is_lost(self, code: int) -> bool:
        """Return whether the broker does not have this session: then the next one begins.

        It does not, for example, after its restart, or when others needed the room.
        """
        if self.is_whole or code not in _LOST:
            return False
        self._id = NO_SESSION
        self.lost()
        return True

    def lost(self) -> None:
        """Note that the broker may not know the last request, or the reader not its answer."""
        self._epoch = self._first_epoch
