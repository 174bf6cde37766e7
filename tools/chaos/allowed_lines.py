"""Allowed lines: what processes may log while nothing is wrong with them, each with the reason.

Any other line, and any line that is no log line (a traceback, what a library prints), is a finding.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) "
    r"(?P<level>[A-Z]+) +(?P<logger>\S+): (?P<text>.*)"
)
BETWEEN_SECONDS = 10.0
SLACK_SECONDS = 0.5
SHOWN = 5


class Allowed(NamedTuple):
    """A kind of line: level, how its text begins (a regular expression), and why it may come."""

    level: str
    text: str
    reason: str


ALLOWED = (
    Allowed("INFO", r"worker ready: \d+ partitions", "it has its partitions: once a rebalance"),
    Allowed("INFO", r"took over partitions \[", "what a takeover did, and how long it took"),
    Allowed("INFO", r"the takeover of \[.*\] is left to a newer", "two rebalances in a row"),
    Allowed("INFO", r"the ends of public topics are read again", "retention at the same moment"),
    Allowed("INFO", r"restoring \S+: [\d,]+ of about", "how far a long restore is"),
    Allowed("WARNING", r"\S+: the local copy in \S+ is thrown away", "damaged, or away for long"),
    Allowed("INFO", r"\S+: the local copy in \S+ is not used", "what filled it was interrupted"),
    Allowed("WARNING", r"the disk is behind: commits wait", "a disk that is too slow for a while"),
    Allowed("INFO", r"standby for partitions \[", "what it follows, once for each assignment"),
    Allowed("INFO", r"standby: copies of \[", "it has the rows of what it follows"),
    Allowed("INFO", r"standby: partitions can move here", "a new worker has its rows"),
    Allowed("INFO", r"standby: journals are looked at again", "a broker has lost its end"),
    Allowed("WARNING", r"standby: .* can't be followed", "no broker, or no disk, for a while"),
    Allowed("INFO", r"gateway (ready on|stopped)", "a gateway's beginning and end"),
    Allowed("INFO", r"the takeover was interrupted, the worker ends", "told to end in a takeover"),
    Allowed("INFO", r"the worker did not leave its group", "told to end while the broker was away"),
    Allowed("INFO", r"stopped before it was ready", "told to end while it started"),
    Allowed("INFO", r"stopped: SIG(TERM|INT), ", "an orderly end: cause, time, what is left"),
    Allowed("INFO", r"stopping: SIG(TERM|INT); ", "told to end, and draining takes over a second"),
    Allowed("INFO", r"(not ready|ready again)", "readiness has changed: one line each time"),
    Allowed("WARNING", r"not ready", "why, and since when: once, and rarely again"),
    Allowed("WARNING", r".*: no success since .* UTC", "no broker answers: once in ten seconds"),
    Allowed("WARNING", r"following the results failed", "a gateway whose broker was away for long"),
    Allowed("WARNING", r"the membership's metadata task has ended", "a restart of the broker"),
    Allowed("WARNING", r"this process did not run for", "paused, or its machine stood still"),
    Allowed("WARNING", r".*the last owner of .* decided with", "a setting was changed on purpose"),
    Allowed("CRITICAL", r"fail-stop: ", "a worker that can't go on: its exit code is looked at"),
)


class Line(NamedTuple):
    """One line of a log. ``level`` is empty where it is no log line."""

    time: datetime | None
    level: str
    text: str
    whole: str


@dataclass
class Reading:
    """What was found in the logs."""

    lines: int = 0
    counts: Counter[Allowed] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def parse(log: Path) -> Iterator[Line]:
    """Yield the lines of a log."""
    for whole in log.read_text(errors="replace").splitlines():
        found = LINE.match(whole)
        if found is None:
            yield Line(None, "", whole, whole)
        else:
            when = datetime.strptime(found["time"], "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007 - only differences count
            yield Line(when, found["level"], found["text"], whole)


def read_logs(logs: Sequence[Path]) -> Reading:
    """Look at every line of every log."""
    reading = Reading()
    for log in logs:
        _read(log, reading)
    return reading


def _read(log: Path, reading: Reading) -> None:
    warned: datetime | None = None
    strange: list[str] = []
    for line in parse(log):
        reading.lines += 1
        kind = _kind(line)
        if kind is None:
            strange.append(line.whole)
            continue
        reading.counts[kind] += 1
        if line.level == "WARNING" and line.time is not None:
            if warned is not None and _too_soon(warned, line.time):
                reading.findings.append(
                    f"{log}: two warnings within {BETWEEN_SECONDS:.0f} s: {line.whole}"
                )
            warned = line.time
    if strange:
        shown = "".join(f"\n    {whole}" for whole in strange[:SHOWN])
        reading.findings.append(f"{log}: {len(strange)} lines that are not allowed{shown}")


def _too_soon(before: datetime, now: datetime) -> bool:
    return (now - before).total_seconds() < BETWEEN_SECONDS - SLACK_SECONDS


def _kind(line: Line) -> Allowed | None:
    for allowed in ALLOWED:
        if allowed.level == line.level and re.match(allowed.text, line.text):
            return allowed
    return None
