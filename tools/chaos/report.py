"""The report: what all parts together sent, broke and found, as Markdown and as JSON."""

import json
import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.chaos.faults.table import FAULTS
from tools.chaos.part import Part, Strike
from tools.dev.broker import kafka_version
from tools.dev.markdown import markdown_table

LIMIT_MS = 2_000
MAX_SHOWN = 20
FULL_COMMANDS = 100_000
HOLDS_SHARE, LAPSES_SHARE = 0.20, 0.05
"""Of the commands of a full run: fewer, and holds were not tried enough."""


def as_text(parts: Sequence[Part], command: str) -> str:
    """Return the report as Markdown."""
    today = datetime.now(UTC).date().isoformat()
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, Kafka {kafka_version()}"
    pieces = [
        f"`{command}`, {today}, {where}.",
        _verdict(parts),
        markdown_table(["what", "count"], _counts(parts)),
        markdown_table(
            ["fault", "made", "recovered after, median s", "slowest s", "what it does"],
            _faults(parts),
        ),
        markdown_table(
            ["how a worker process ended: cause and exit code", "count"],
            _rows(_sum(part.endings for part in parts)),
        ),
    ]
    return "\n\n".join(pieces)


def write_json(parts: Sequence[Part], file: Path) -> None:
    """Write the same figures for programs."""
    content = {
        "ok": not found(parts) and not too_few(parts),
        "found": found(parts) + too_few(parts),
        "parts": len(parts),
        "seconds": sum(part.seconds for part in parts),
        "counts": dict(_counts(parts)),
        "sent_by_kind": _sum(part.sent_by_kind for part in parts),
        "sent_by_producer": _sum(part.sent_by_producer for part in parts),
        "outcomes": _sum(part.outcomes for part in parts),
        "faults": Counter(strike.name for strike in _strikes(parts)),
        "endings": _sum(part.endings for part in parts),
        "last_hundred_ms": [part.last_hundred_ms for part in parts],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def _verdict(parts: Sequence[Part]) -> str:
    complaints = found(parts) + too_few(parts)
    if complaints:
        shown = "\n".join(f"- {line}" for line in complaints[:MAX_SHOWN])
        return f"**{len(complaints)} things did not hold:**\n\n{shown}"
    return (
        f"All held in {len(parts)} parts: every command has its one result, none was stuck, the "
        "lag came to zero, `payments verify` found no violation, and no worker ended otherwise "
        "than it should."
    )


def found(parts: Sequence[Part]) -> list[str]:
    """Return what did not hold, each with the stand and the seed of its part."""
    return [
        f"{part.stand}, seed {part.seed}: {line}" for part in parts for line in part.faults_found
    ]


def too_few(parts: Sequence[Part]) -> list[str]:
    """Return what a full run, of ``FULL_COMMANDS`` or more, had too little of."""
    sent = sum(part.sent for part in parts)
    counts = (
        ("holds", sum(part.holds for part in parts), HOLDS_SHARE),
        ("lapses", sum(part.lapses for part in parts), LAPSES_SHARE),
    )
    return [
        f"{count:,} {what} in {sent:,} commands, under the {share:.0%} of a full run"
        for what, count, share in counts
        if sent >= FULL_COMMANDS and count < share * sent
    ]


def _counts(parts: Sequence[Part]) -> list[list[str]]:
    verified = [(part.verified or {}).get("counts", {}) for part in parts]
    slowest = [part.last_hundred_ms for part in parts if part.last_hundred_ms is not None]
    in_time = sum(value < LIMIT_MS for value in slowest)
    by_kind = _sum(part.sent_by_kind for part in parts)
    return [
        ["time under load", f"{sum(part.seconds for part in parts) / 60:,.1f} min"],
        ["faults", f"{len(_strikes(parts)):,}"],
        ["commands sent", f"{sum(part.sent for part in parts):,}"],
        *([f"- {kind}", f"{count:,}"] for kind, count in sorted(by_kind.items())),
        ["abandoned by their producer", f"{sum(part.given_up for part in parts):,}"],
        ["in aborted transactions", f"{sum(part.aborted for part in parts):,}"],
        ["commands in the topic (verify)", _total(verified, "commands")],
        ["results in the topic (verify)", _total(verified, "results")],
        ["payments (verify)", _total(verified, "payments")],
        ["ledger entries (verify)", _total(verified, "entries")],
        ["holds", f"{sum(part.holds for part in parts):,}"],
        ["lapses", f"{sum(part.lapses for part in parts):,}"],
        ["expiry notices", f"{sum(part.notices - part.lapses for part in parts):,}"],
        *_copies(parts),
        ["violations", f"{sum(len(part.faults_found) for part in parts):,}"],
        [
            f"parts whose last 100 commands took under {LIMIT_MS / 1000:g} s",
            f"{in_time} of {len(parts)} (slowest {max(slowest, default=0):,.0f} ms)",
        ],
    ]


def _copies(parts: Sequence[Part]) -> list[list[str]]:
    """Return what became of local copies, where workers have had any."""
    states = _sum(part.copies for part in parts)
    if not states:
        return []
    thrown_away = sum(part.thrown_away for part in parts)
    return [
        ["local copies that workers threw away", f"{thrown_away:,}"],
        *(
            [f"local copies at the end: {state.replace('_', ' ')} (verify)", f"{count:,}"]
            for state, count in states.items()
        ),
    ]


def _faults(parts: Sequence[Part]) -> list[list[str]]:
    strikes = _strikes(parts)
    rows = []
    for fault in FAULTS.values():
        took = [
            strike.recovered - strike.healed
            for strike in strikes
            if strike.name == fault.name and strike.recovered is not None
        ]
        count = sum(strike.name == fault.name for strike in strikes)
        if fault.on_disk and not count:
            continue
        middle = f"{statistics.median(took):.1f}" if took else "-"
        slowest = f"{max(took):.1f}" if took else "-"
        rows.append([fault.name, str(count), middle, slowest, fault.text])
    return rows


def _strikes(parts: Iterable[Part]) -> list[Strike]:
    return [strike for part in parts for strike in part.strikes]


def _sum(counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counts in counted:
        total.update(counts)
    return dict(sorted(total.items()))


def _rows(counts: Mapping[str, int]) -> list[list[str]]:
    return [[name, f"{count:,}"] for name, count in counts.items()]


def _total(verified: Iterable[Mapping[str, int]], name: str) -> str:
    return f"{sum(counts.get(name, 0) for counts in verified):,}"
