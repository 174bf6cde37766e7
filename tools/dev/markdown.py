"""Markdown: tables, the numbers in them, and the block of a document that holds them."""

from collections.abc import Sequence

from tools.dev.errors import ToolError

UNKNOWN = "-"
MEGABYTE = 1_000_000


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures_table(figures: Sequence[tuple[str, str]]) -> str:
    """Return a table of two columns: what, and its figure."""
    return markdown_table(["what", "figure"], figures)


def figure(value: float | None, digits: int = 0, unit: str = "") -> str:
    """Return a number with its unit; a dash where it is not known."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}{unit}"


def megabytes(value: int | None) -> str:
    """Return a size in MB (10^6 bytes); a dash where it is not known."""
    return figure(None if value is None else value / MEGABYTE, unit=" MB")


def with_figures(document: str, figures: str, marker: str = "figures") -> str:
    """Return the document with ``figures`` between its markers; raises ``ToolError``.

    The markers are the lines ``<!-- figures -->`` and ``<!-- /figures -->``.
    """
    begins, ends = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, begin, rest = document.partition(begins)
    _, end, tail = rest.partition(ends)
    if not begin or not end:
        raise ToolError(f"the document lacks the lines {begins} and {ends}")
    return f"{head}{begins}\n\n{figures.strip()}\n\n{ends}{tail}"
