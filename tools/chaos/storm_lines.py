"""Lines of a storm: what workers may log while faults are made, and why they may end.

A soak's lines (``chaos.allowed_lines``) and these; any other one is a finding. So is an end by a
refusal, since nothing is lost, copied or mixed here: it would be a false one. A local copy may be
thrown away only after a fault of copies or of a disk, or where that shows no damage
(``UNDAMAGED``). How close together lines are is looked at by the soak.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tools.chaos.allowed_lines import ALLOWED, Allowed, Line, parse

SHOWN = 5
STORM = (
    Allowed("WARNING", r"PAYMENTS_HEALTH_FILE can't be", "a full disk, or no file more to open"),
    Allowed("INFO", r"PAYMENTS_HEALTH_FILE can be written", "and its end"),
    Allowed("WARNING", r"the clock of this machine is", "a clock that jumps"),
    Allowed("INFO", r"the clock of this machine agrees", "and its end"),
    Allowed("WARNING", r".* is dead-lettered on .*\.dead-letters as ", "a foreign message"),
    Allowed("", r"Error: this process may have \d+ open files", "few files: one line"),
    Allowed(
        "WARNING", r"\S+: the local copy in \S+ could not be written to its end", "a full disk"
    ),
    Allowed("", r"\(\d+ lines are missing here: standard error took nothing\)$", "a full disk"),
    Allowed("", r"chaos: the membership is held up", "what chaos.hooks says"),
)
ENDS = (
    r"Another worker owns this partition now",
    r"with the same PAYMENTS_INSTANCE_ID",
    r"no success after",
    r"could not be (read for|published within)",
    r"is its leader up",
    r"the membership ",
)
"""Parts of the last line of a worker that another one, or an absent broker, may end."""

REPAIRED = r"was written by no worker .* payments journal repair"
NO_ROOM = r"the local copy of .* can't be written|there can be no local copy in "
DAMAGED = r"the local copy of .* the disk has damaged it"
ENDS_AFTER = {
    "foreign-row": REPAIRED,
    "disk-full": NO_ROOM,
    "no-files": NO_ROOM,
    "copies-disk-full": NO_ROOM,
    "copies-damaged": DAMAGED,
}
"""The same for an end that only this fault explains."""

THROWN_AWAY = r"the local copy in .* is thrown away"
UNDAMAGED = (
    r"its journal does not have its commit \d+ any more$"  # It was not written for minutes.
    r"|it can't be opened \(Corruption: no log_file_number"  # Its worker was killed making it.
)
"""Why a copy may be thrown away without any damage."""

THROWN_AWAY_AFTER = {"disk-full", "copies-damaged", "copies-swapped", "copies-disk-full"}


def strange_lines(log: Path, struck: Collection[str] = ()) -> list[str]:
    """Return the lines that no fault explains; ``struck`` are the names of those made."""
    ends = [*ENDS, *(end for name, end in ENDS_AFTER.items() if name in struck)]
    found = list(_strange(parse(log), re.compile("|".join(ends))))
    if THROWN_AWAY_AFTER.isdisjoint(struck):
        found += [
            line.whole
            for line in parse(log)
            if _throws_away(line) and not re.search(UNDAMAGED, line.text)
        ]
    return found


def thrown_away(log: Path) -> int:
    """Count the lines that say that a local copy is not used."""
    return sum(map(_throws_away, parse(log)))


def _throws_away(line: Line) -> bool:
    return line.level == "WARNING" and re.search(THROWN_AWAY, line.text) is not None


def _strange(lines: Iterator[Line], ends: re.Pattern[str]) -> Iterator[str]:
    for line in lines:
        if line.level == "CRITICAL":
            if not (line.text.startswith("fail-stop: ") and ends.search(line.text)):
                yield line.whole
        elif not any(
            allowed.level == line.level and re.match(allowed.text, line.text)
            for allowed in (*ALLOWED, *STORM)
        ):
            yield line.whole
