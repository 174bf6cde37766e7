"""One part of a run: what was struck on one stand, what was sent, and what came out."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(slots=True)
class Strike:
    """One fault that was made; times are seconds since the storm began."""

    name: str
    began: float
    healed: float
    recovered: float | None = None
    """When all commands sent before the heal were answered and all workers ready; None: never."""


@dataclass(slots=True)
class Part:
    """What one part has to report; it is kept as a file of JSON."""

    stand: str
    seed: int
    seconds: float = 0.0
    strikes: list[Strike] = field(default_factory=list)
    sent: int = 0
    sent_by_kind: dict[str, int] = field(default_factory=dict)
    sent_by_producer: dict[str, int] = field(default_factory=dict)
    given_up: int = 0
    aborted: int = 0
    """Sent in transactions that were aborted: these have no result."""

    producers_replaced: int = 0
    answered: int = 0
    results: int = 0
    notices: int = 0
    holds: int = 0
    """Authorizes that have held money."""

    lapses: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    rate: list[int] = field(default_factory=list)
    """Results in each second since the storm began."""

    endings: dict[str, int] = field(default_factory=dict)
    """How worker processes ended, by cause and exit code."""

    faults_found: list[str] = field(default_factory=list)
    """What was not as it must be, in words; empty: all held."""

    lag: int | None = None
    last_hundred_ms: float | None = None
    """The slowest of the last 100 commands."""

    thrown_away: int = 0
    """Local copies that workers did not use."""

    copies: dict[str, int] = field(default_factory=dict)
    """Local copies at the end by their state, as ``payments verify --state-dir`` says."""

    verified: dict[str, Any] | None = None
    """What ``payments verify --json`` said."""

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.faults_found

    def write(self, file: Path) -> None:
        """Keep it; a file that exists is complete."""
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        partial.rename(file)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return the part of a file."""
        given = json.loads(file.read_text())
        strikes = [Strike(**strike) for strike in given.pop("strikes")]
        return cls(strikes=strikes, **given)
