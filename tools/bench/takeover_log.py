"""What a worker's log says of its takeovers: how much it read, and how long each step took."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.bench.failures import BenchError

_LINE = re.compile(
    r"took over partitions .*?: (\d+) rows from (\d+) records.*\(([^)]*)\)$", re.MULTILINE
)
_STEP = re.compile(r"(\w+) ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class Takeover:
    """One takeover of all partitions by one worker."""

    rows: int
    records: int
    """Of the journals: a row may have been written several times."""

    seconds: Mapping[str, float]
    """Of each step, such as claim and restore."""

    @property
    def total_seconds(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())

    @property
    def restore_seconds(self) -> float:
        """Reading the journals."""
        return self.seconds.get("restore", 0.0)


def takeovers(log: str) -> Sequence[Takeover]:
    """Return all takeovers of a log. Raises ``BenchError`` when it names none."""
    found = [
        Takeover(int(rows), int(records), {name: float(s) for name, s in _STEP.findall(steps)})
        for rows, records, steps in _LINE.findall(log)
    ]
    if not found:
        raise BenchError(f"the worker's log names no takeover:\n{log[-1000:]}")
    return found
