"""Shrinking: a failing story is made shorter for as long as it still fails.

First whole kinds of faults go, then commands and faults in pieces, half of them at first and one by
one in the end. What is left is seldom the shortest story, but it can be read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .faults import Kind
from .run import Outcome, Story, play, replayed

Item = TypeVar("Item")
MOST_TRIALS = 300


def shrink(story: Story, outcome: Outcome, trials: int = MOST_TRIALS) -> Story:
    """Return a shorter story that fails too; ``outcome`` is that of ``story``, which fails."""
    attempts = _Attempts(replayed(story, outcome), trials)
    for kind in Kind:
        attempts.take_if_it_fails(_without(attempts.best, kind))
    before = None
    while before != attempts.best:
        before = attempts.best
        _in_pieces(attempts, lambda s: s.points or (), lambda s, left: s._replace(points=left))
        _in_pieces(attempts, lambda s: s.timed, lambda s, left: s._replace(timed=left))
        _in_pieces(attempts, lambda s: s.commands, lambda s, left: s._replace(commands=left))
        last = max((command.time for command in attempts.best.commands), default=0.0)
        attempts.take_if_it_fails(attempts.best._replace(seconds=last))
    return attempts.best


class _Attempts:
    """The shortest failing story so far; no more than so many are tried."""

    def __init__(self, story: Story, left: int) -> None:
        self.best = story
        self._left = left

    def take_if_it_fails(self, story: Story) -> bool:
        if story == self.best or self._left == 0:
            return False
        self._left -= 1
        outcome = play(story)
        if not outcome.findings:
            return False
        # Faults that were planned but no longer come to strike go with it.
        shorter = replayed(story, outcome)
        self.best = shorter if len(shorter.points or ()) < len(story.points or ()) else story
        return True


def _without(story: Story, kind: Kind) -> Story:
    return story._replace(
        points=[fault for fault in story.points or () if fault.kind is not kind],
        timed=[(time, fault) for time, fault in story.timed if fault.kind is not kind],
    )


def _in_pieces(
    attempts: _Attempts,
    items_of: Callable[[Story], Sequence[Item]],
    with_items: Callable[[Story, Sequence[Item]], Story],
) -> None:
    """Leave out what can be left out, in pieces that get smaller."""
    size = (len(items_of(attempts.best)) + 1) // 2
    while size:
        start = 0
        while start < len(items := items_of(attempts.best)):
            left = [*items[:start], *items[start + size :]]
            if not attempts.take_if_it_fails(with_items(attempts.best, left)):
                start += size
        size //= 2


def told(story: Story, lines: int) -> Iterator[str]:
    """Yield a story and what happens in it as lines to read; the last so many events of it."""
    outcome = play(story, lines)
    yield f"seed {story.seed}: {len(story.commands)} commands, {len(outcome.injected)} faults"
    yield f"installation: {story.shape}"
    yield "faults:"
    yield from (f"  {fault}" for fault in outcome.injected)
    yield "what happened:" if len(outcome.lines) < lines else f"the last {lines} events:"
    yield from (f"  {line}" for line in outcome.lines)
    yield "what is wrong:"
    yield from (f"  {finding}" for finding in outcome.findings)
