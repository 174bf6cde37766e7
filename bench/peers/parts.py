"""Parts of a run: one system, started afresh, through all its loads once. Each part is a file.

A run that was interrupted goes on where it stopped, since a part that has its file is not done
again; and whatever parts are there make the report.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.latencies import Figures


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
    took_seconds: float = 0.0


def part_file(folder: Path, transport: str, system: str, repeat: int) -> Path:
    """Return the file of a part."""
    return folder / f"{transport}-{system}-{repeat}.json"


def write_part(folder: Path, part: Part) -> None:
    """Write a part that is complete; a half-written file is never taken for one."""
    file = part_file(folder, part.transport, part.system, part.repeat)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(part), indent=1) + "\n")
    partial.rename(file)


def read_parts(folder: Path) -> Sequence[Part]:
    """Return all parts that are there, in the order of their names."""
    return [_read(file) for file in sorted(folder.glob("*-*-*.json"))]


def _read(file: Path) -> Part:
    fields = json.loads(file.read_text())
    loads = [
        Load(**{**load, "figures": Figures(**load["figures"])}) for load in fields.pop("loads")
    ]
    return Part(**fields, loads=loads)
