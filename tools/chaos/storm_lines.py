"""Lines of a storm: what workers may log while faults are made, and why they may end.

A soak's lines (``chaos.allowed_lines``) and these; any other one is a finding. So is an end by a
refusal, since nothing is lost, copied or mixed here: it would be a false one. How close together
lines are is looked at by the soak.
"""

import re
from collections.abc import Iterator
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
"""The same for a journal with a foreign record."""


def strange_lines(log: Path, *, foreign: bool) -> list[str]:
    """Return the lines that no fault explains. ``foreign``: a journal had a foreign record."""
    ends = [*ENDS, REPAIRED] if foreign else ENDS
    return list(_strange(parse(log), re.compile("|".join(ends))))


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
