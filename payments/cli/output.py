"""How commands print: data on standard output, talk on standard error, colors where welcome."""

import json
import os
from collections.abc import Mapping, Sequence

import click


def show_json(value: Mapping[str, object]) -> None:
    """Print one object on a line of its own."""
    click.echo(json.dumps(value, ensure_ascii=False))


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; without rows, nothing."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def colored(text: str, color: str) -> str:
    """Return text in a color; ``NO_COLOR`` leaves it plain, and click does where no terminal is."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def printable(value: bytes | str | None, limit: int | None = None) -> str:
    r"""Return text that a terminal shows and does not obey: the rest is escaped, as ``\x1b``."""
    if value is None:
        return "null"
    text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 3]}..."
