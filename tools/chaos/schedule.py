"""The schedule: which faults are made in which part, so that a long run can go on in pieces."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from tools.chaos.faults.table import Fault, Stand
from tools.chaos.part import Part

PART_FAULTS = 60
"""Faults of one part at most: then all must come to rest, and the auditor reads everything."""

MANY_ROUNDS = 1_000


def by_stand(faults: Sequence[Fault]) -> dict[Stand, list[Fault]]:
    """Return the faults of each stand that is needed."""
    stands = [stand for stand in Stand if any(fault.stand is stand for fault in faults)]
    return {stand: [fault for fault in faults if fault.stand is stand] for stand in stands}


def made(parts: Sequence[Part]) -> Counter[str]:
    """Count the faults of parts by name."""
    return Counter(strike.name for part in parts for strike in part.strikes)


def rounds(faults: Sequence[Fault], chance: random.Random) -> Iterator[Fault]:
    """Return all faults in a random order, again and again, each order another.

    Quick ones come first in each round, so that a short run has made them.
    """
    for _ in range(MANY_ROUNDS):
        yield from sorted(chance.sample(faults, len(faults)), key=lambda fault: not fault.quick)


def missing(
    faults: Sequence[Fault], count_each: int, done: Counter[str], chance: random.Random
) -> list[Fault]:
    """Return the faults of the next part: those that were not made often enough, mixed."""
    left = Counter({fault.name: max(0, count_each - done[fault.name]) for fault in faults})
    named = {fault.name: fault for fault in faults}
    found: list[Fault] = []
    while left.total() and len(found) < PART_FAULTS:
        for name in chance.sample(sorted(named), len(named)):
            if left[name] and len(found) < PART_FAULTS:
                left[name] -= 1
                found.append(named[name])
    return found
