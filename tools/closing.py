"""The last lines of a run that failed: what did not hold, once more, where a cut log has it."""

from collections.abc import Iterator, Sequence

CUT = 280
MOST_FINDINGS = 12
MOST_LINES_EACH = 3


def closing_lines(findings: Sequence[str]) -> Iterator[str]:
    """Yield what did not hold in at most 40 lines of at most ``CUT`` characters.

    CI keeps the last 40 lines of a part, and a report's tables are longer. Of a finding with many
    lines, such as a traceback, the first and the last ones are repeated.
    """
    for finding in findings[:MOST_FINDINGS]:
        lines = [line.strip() for line in finding.splitlines() if line.strip()]
        last = lines[1:][-(MOST_LINES_EACH - 1) :]
        yield _cut(f"NOT HELD: {lines[0] if lines else finding}")
        yield from (_cut(f"    {line}") for line in last)
    if len(findings) > MOST_FINDINGS:
        yield f"NOT HELD: {len(findings) - MOST_FINDINGS} more things, see above"


def _cut(line: str) -> str:
    return line if len(line) <= CUT else f"{line[: CUT - 3]}..."
