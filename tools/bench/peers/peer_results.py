"""Results: one system, started afresh, once through all its loads or killed. Each is a file.

What has its file is not measured again, so a run that was interrupted goes on where it stopped; and
whatever is there makes the report.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from tools.bench.loading import MEASURES, Load, median
from tools.bench.peers.kills import KillFigures
from tools.dev.errors import ToolError


@dataclass(slots=True)
class Result:
    """What was measured of one system; ``environment`` says when, on what."""

    part: str
    """Over HTTP, over topics, or with kills."""

    system: str
    name: str
    peer: str
    durability: str
    repeat: int
    environment: str
    loads: list[Load] = field(default_factory=list)
    kills: KillFigures | None = None
    refused: str | None = None
    """Why it was not measured."""

    def file(self, folder: Path) -> Path:
        """Return where it is kept."""
        return folder / f"{self.part}-{self.system}-{self.repeat}.json"

    def write(self, folder: Path) -> None:
        """Write it once it is complete; a half-written file is never taken for one."""
        partial = self.file(folder).with_suffix(".partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        partial.rename(self.file(folder))


def read_results(folder: Path) -> Sequence[Result]:
    """Return all results that are there, in the order of their names."""
    return sorted(map(_read, folder.glob("*.json")), key=lambda r: (r.part, r.system, r.repeat))


def _read(file: Path) -> Result:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Result)
    except msgspec.MsgspecError as error:
        raise ToolError(f"{file} is no result of this version, delete it: {error}") from error


class Cell(NamedTuple):
    """All loads of one system at one setting, by repeat."""

    part: str
    system: str
    name: str
    durability: str
    workload: str
    concurrency: int
    loads: dict[int, Load]

    def median(self, measure: Callable[[Load], float | None]) -> float | None:
        """Return the median of one measure over the loads in which it is known."""
        return median(self.loads.values(), measure)


def cells(results: Iterable[Result]) -> list[Cell]:
    """Return the cells of all results, in the order in which they were met."""
    found: dict[tuple[str, str, str, int], Cell] = {}
    for result in results:
        for load in result.loads:
            key = result.part, result.system, load.workload, load.concurrency
            names = result.name, result.durability
            cell = found.setdefault(key, Cell(*key[:2], *names, *key[2:], {}))
            cell.loads[result.repeat] = load
    return list(found.values())


def ratio(ours: Cell, theirs: Cell, measure: str) -> float | None:
    """Return ours through theirs: the median over the repeats in which both ran."""
    read = MEASURES[measure]
    both = [(read(ours.loads[n]), read(theirs.loads[n])) for n in ours.loads if n in theirs.loads]
    pairs = [mine / yours for mine, yours in both if mine is not None and yours]
    return statistics.median(pairs) if pairs else None
