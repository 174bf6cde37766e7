"""Parts of a run: one system, started afresh, through all its loads once. Each part is a file.

A run that was interrupted goes on where it stopped, since a part that has its file is not done
again; and whatever parts are there make the report.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.bench.latencies import Figures
from tools.bench.peers.targets import HTTP, System

UNIQUE = "unique"
"""The workload that topics have too; the others are HTTP's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The loads of a part: each workload at each concurrency."""

    workloads: Sequence[str]
    concurrency: Sequence[int]
    seconds: float
    warm_up_seconds: float

    def loads(self, system: System) -> list[tuple[str, int]]:
        """Return workload and concurrency of each load of a system."""
        workloads = self.workloads if system.transport == HTTP else [UNIQUE]
        concurrency = [each for each in self.concurrency if each <= system.most_at_once]
        return [(workload, each) for workload in workloads for each in concurrency]


@dataclass(frozen=True, slots=True)
class Load:
    """One load of a system and what its processes used for it."""

    workload: str
    concurrency: int
    figures: Figures
    cpu_us: dict[str, float | None]
    """CPU of each process per payment."""

    peak_bytes: dict[str, int | None]
    """Most memory of each process since its start."""


@dataclass(slots=True)
class Part:
    """What one part measured; ``environment`` says when, on what."""

    transport: str
    system: str
    name: str
    peer: str
    durability: str
    repeat: int
    seconds: float
    environment: str
    loads: list[Load] = field(default_factory=list)
    missing_in_warm_up: int = 0
    refused: str | None = None
    """Why it was not measured."""

    took_seconds: float = 0.0


def done(folder: Path, system: System, plan: Plan, repeat: int) -> bool:
    """Tell whether a part is there, measured by the same plan."""
    file = _file(folder, system.transport, system.key, repeat)
    if not file.exists():
        return False
    part = _read(file)
    loads = [(load.workload, load.concurrency) for load in part.loads]
    return part.refused is None and part.seconds == plan.seconds and loads == plan.loads(system)


def write_part(folder: Path, part: Part) -> None:
    """Write a part that is complete; a half-written file is never taken for one."""
    file = _file(folder, part.transport, part.system, part.repeat)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(part), indent=1) + "\n")
    partial.rename(file)


def read_parts(folder: Path) -> Sequence[Part]:
    """Return all parts that are there, in the order of their names."""
    parts = [_read(file) for file in folder.glob("*.json") if not file.name.startswith("kills-")]
    return sorted(parts, key=lambda part: (part.transport, part.system, part.repeat))


def _file(folder: Path, transport: str, system: str, repeat: int) -> Path:
    return folder / f"{transport}-{system}-{repeat}.json"


def _read(file: Path) -> Part:
    fields = json.loads(file.read_text())
    loads = [
        Load(**{**load, "figures": Figures(**load["figures"])}) for load in fields.pop("loads")
    ]
    return Part(**fields, loads=loads)
