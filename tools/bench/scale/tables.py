"""The tables of ``docs/scale.md``: what was measured, and what follows for more cores."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tools.bench.figures import Run
from tools.bench.scale.arithmetic import CORES, Line
from tools.bench.scale.comparing import Comparison
from tools.bench.scale.figures import IdleFigures, ScaleFigures, Shares, Takeover, batch_shares
from tools.bench.tables import markdown_table

Figures = TypeVar("Figures", bound=IdleFigures)


def measured_table(rows: Sequence[ScaleFigures]) -> str:
    """Return one column for each number of partitions."""
    return _columns(rows, {**_IDLE_LINES, **_LOAD_LINES})


def idle_table(rows: Sequence[IdleFigures]) -> str:
    """Return one column for each number of partitions, of what needs no load."""
    return _columns(rows, _IDLE_LINES)


def _columns(rows: Sequence[Figures], lines: Mapping[str, Callable[[Figures], str]]) -> str:
    return markdown_table(
        ["partitions", *(f"{row.partitions:,}" for row in rows)],
        [[what, *(text(row) for row in rows)] for what, text in lines.items()],
    )


def comparisons_table(comparisons: Sequence[Comparison]) -> str:
    """Return one row for each comparison: rates, ratio, and what it should be."""
    return markdown_table(
        ["compared", "payments/s", "against", "ratio", "should be"],
        [
            [
                comparison.what,
                _rate([other for _, other in comparison.pairs]),
                _rate([base for base, _ in comparison.pairs]),
                f"{comparison.ratio:.2f}",
                "-" if comparison.target is None else f"at least {comparison.target:g}",
            ]
            for comparison in comparisons
        ],
    )


def _rate(runs: Sequence[Run]) -> str:
    return f"{statistics.median(run.load.rate for run in runs):,.0f}"


def arithmetic_table(lines: Sequence[Line]) -> str:
    """Return one column for each number of worker cores, and the basis of each number."""
    return markdown_table(
        ["worker cores", *(str(cores) for cores in CORES), "rests on"],
        [
            [f"{line.what}, {line.unit}".rstrip(", "), *map(_short, line.values), line.basis]
            for line in lines
        ],
    )


def batches_table(few: ScaleFigures, many: ScaleFigures) -> str:
    """Return what a batch costs worker and broker, by two numbers of partitions."""
    worker, broker = batch_shares(few, many)
    headings = ["", "a payment itself, µs", "a batch, µs"]
    headings += [f"batches of a payment, {row.partitions:,} partitions" for row in (few, many)]
    counts = few.busy.batches_each, many.busy.batches_each
    return markdown_table(
        headings,
        [
            [
                name,
                "-" if part is None else f"{part.payment_us:,.0f}",
                "-" if part is None else f"{part.each_us:,.0f}",
                *(f"{count:.2f}" for count in counts),
            ]
            for name, part in (("worker", worker), ("broker", broker))
        ],
    )


def _takeover(takeover: Takeover) -> str:
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in takeover.seconds.items())
    return f"{takeover.total_seconds:.2f} ({parts})"


def _shares(found: Shares | None) -> str:
    return "-" if found is None else f"{found.payment_us:,.0f}, {found.each_us:,.0f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"  # noqa: PLR2004 - three digits


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


_IDLE_LINES: dict[str, Callable[[IdleFigures], str]] = {
    "topics made, s": lambda row: f"{row.create_seconds:.1f}",
    "first takeover, s": lambda row: _takeover(row.first),
    "idle: requests/s": lambda row: f"{row.idle.total:.1f}",
    "idle: produce, fetch, other": lambda row: (
        f"{row.idle.produce:.1f}, {row.idle.fetch:.1f}, {row.idle.other:.1f}"
    ),
    "idle: share of a core, %": lambda row: _optional(row.idle_percent, ".1f"),
}

_LOAD_LINES: dict[str, Callable[[ScaleFigures], str]] = {
    "takeover after the load, s": lambda row: _takeover(row.again),
    "from start to ready, s": lambda row: f"{row.again.ready_seconds:.1f}",
    "records read for it": lambda row: f"{row.again.records:,}",
    "one at a time: payments/s": lambda row: f"{row.lone.rate:,.0f}",
    "one at a time: requests for each": lambda row: f"{row.lone.requests_each:.1f}",
    "one at a time: worker µs per payment": lambda row: _optional(row.lone.worker_us, ",.0f"),
    "one at a time: broker µs per payment": lambda row: _optional(row.lone.broker_us, ",.0f"),
    "busy: payments/s": lambda row: f"{row.busy.rate:,.0f}",
    "busy: p50, ms": lambda row: f"{row.busy.p50_ms:.1f}",
    "busy: requests/s": lambda row: f"{row.busy.requests.total:.0f}",
    "busy: produce, fetch, other": lambda row: (
        f"{row.busy.requests.produce:.0f}, {row.busy.requests.fetch:.0f}, "
        f"{row.busy.requests.other:.0f}"
    ),
    "busy: requests for each": lambda row: f"{row.busy.requests_each:.3f}",
    "busy: worker µs per payment": lambda row: _optional(row.busy.worker_us, ",.0f"),
    "busy: broker µs per payment": lambda row: _optional(row.busy.broker_us, ",.0f"),
    "worker µs: a payment itself, a request": lambda row: _shares(row.worker_shares),
    "broker µs: a payment itself, a request": lambda row: _shares(row.broker_shares),
    "busy: batches for each, records in one": lambda row: (
        f"{row.busy.batches_each:.2f}, {row.busy.batch_records:.1f}"
    ),
    "bytes on the broker per payment": lambda row: f"{row.busy.bytes_each:,.0f}",
    "checkpoint, bytes": lambda row: f"{row.checkpoints.bytes:,.0f}",
    "senders in it": lambda row: f"{row.checkpoints.source_entries:,.1f}",
    "bytes for each": lambda row: f"{row.checkpoints.source_entry_bytes:,.1f}",
    "checkpoint without messages, bytes": lambda row: f"{row.quiet_checkpoint_bytes:,.0f}",
}
