"""Tables: figures as Markdown, and the block of a document that holds them."""

from collections.abc import Sequence

from tools.bench.errors import BenchError
from tools.bench.figures import OURS, Cell, Medians, RestoreFigures, faults, medians

MARKER = "figures"
"""The block is between the lines ``<!-- figures -->`` and ``<!-- /figures -->``."""

UNKNOWN = "-"
MEGABYTE = 1_000_000

_HEADINGS = (
    "partitions",
    "flush",
    "concurrency",
    "payments/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "worker µs",
    "broker µs",
)


def load_table(cells: Sequence[Cell], beside: str | None = None) -> str:
    """Return the table of the load: medians, and another system's where one ran beside."""
    headings = list(_HEADINGS)
    if beside is not None:
        headings += [f"{beside} payments/s", f"{beside} p50 ms", f"{beside} worker µs", "ratio"]
    return markdown_table(headings, [_row(cell, beside) for cell in cells])


def _row(cell: Cell, beside: str | None) -> list[str]:
    ours = medians(cell.runs[OURS])
    row = [str(cell.partitions), "on" if cell.flush else "off", f"{cell.concurrency:,}"]
    row += [_number(ours.rate), *_latencies(ours), _number(ours.worker_us)]
    row.append(_number(ours.broker_us))
    if beside is not None:
        other = medians(cell.runs[beside])
        row += [_number(other.rate), f"{other.p50_ms:.1f}", _number(other.worker_us)]
        row.append(f"{cell.ratio(beside):.2f}")
    return row


def _latencies(found: Medians) -> list[str]:
    return [f"{value:.1f}" for value in (found.p50_ms, found.p95_ms, found.p99_ms)]


def faults_text(cells: Sequence[Cell]) -> str:
    """Return one sentence for each system: what was answered, and what was not."""
    return "\n".join(
        f"{system}: {answered:,} payments answered, {missing:,} missing, "
        f"{not_completed:,} not completed."
        for system, (answered, missing, not_completed) in faults(cells).items()
    )


def restore_table(figures: RestoreFigures) -> str:
    """Return the table of restore and memory."""
    of = f"{figures.payments:,} payments"
    rows = [
        ["stored payments", f"{figures.payments:,} in {figures.partitions} partitions"],
        ["restore", f"{figures.records:,} records in {figures.restore_seconds:.1f} s"],
        ["restore rate", f"{_number(figures.records_per_second)} records/s"],
        ["from start to ready", f"{figures.ready_seconds:.1f} s"],
        ["memory (RSS), empty", _megabytes(figures.empty_bytes)],
        [f"memory (RSS), {of}", _megabytes(figures.full_bytes)],
        ["memory per stored payment", f"{_number(figures.bytes_per_payment)} bytes"],
        [f"idle worker, {of}", _percent(figures.idle_percent)],
    ]
    return markdown_table(["what", "figure"], rows)


def with_figures(document: str, figures: str, marker: str = MARKER) -> str:
    """Return the document with ``figures`` between its markers; raises ``BenchError``."""
    begins, ends = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, begin, rest = document.partition(begins)
    _, end, tail = rest.partition(ends)
    if not begin or not end:
        message = f"the document lacks the lines {begins} and {ends}"
        raise BenchError(message)
    return f"{head}{begins}\n\n{figures.strip()}\n\n{ends}{tail}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _megabytes(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value / MEGABYTE:,.0f} MB"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f} % of a core"
