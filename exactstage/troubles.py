"""Troubles: what keeps records from being handled at this moment, and since when.

Found by what reads and writes, reported by ``Readiness``: a worker that has one for long is not
ready.
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
    """The place. The same kind at the same place is the same trouble, whatever its details."""

    since: float
    """By the event loop's time."""

    advice: str = ""
    """The likely cause, and the next step."""

    detail: str = ""
    """What may change while it lasts: offsets, an error."""

    partition: bool = False
    """Whether the place is a partition."""


def troubles_in_words(troubles: Sequence[Trouble]) -> list[str]:
    """Return one sentence for each kind of trouble, without a full stop."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for trouble in troubles:
        detail = f" ({trouble.detail})" if trouble.detail else ""
        kinds[trouble.kind, trouble.advice].append(trouble.where + detail)
    sentences = []
    for (kind, advice), places in kinds.items():
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        listed = ", ".join(sorted(places)[:SHOWN]) + more
        sentences.append(": ".join(part for part in (kind, listed, advice) if part))
    return sentences
