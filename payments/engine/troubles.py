"""Troubles: what keeps records from being handled at this moment, and since when.

Found by what reads and writes, told by ``Readiness``: a worker that has one for long is not ready.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

SHOWN = 10
"""Places that a line names; more are counted."""


class Trouble(NamedTuple):
    """One partition, broker or part of the engine that stands still."""

    kind: str
    """What is the matter, for all places of this kind."""

    where: str
    """The place, with its offsets where it has some."""

    since: float
    """By the event loop's time."""

    advice: str = ""
    """The likely cause, and the next step."""

    partition: bool = False
    """Whether the place is a partition."""


def in_words(troubles: Sequence[Trouble]) -> list[str]:
    """Return one sentence for each kind of trouble, without a full stop."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for trouble in troubles:
        kinds[trouble.kind, trouble.advice].append(trouble.where)
    sentences = []
    for (kind, advice), places in kinds.items():
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        listed = ", ".join(sorted(places)[:SHOWN]) + more
        sentences.append(": ".join(part for part in (kind, listed, advice) if part))
    return sentences
