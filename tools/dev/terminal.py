"""What ``make run`` prints: aligned lines, with colors on a terminal only."""

import os
import sys

COLORS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}
LABEL_WIDTH = 8


def colored(text: str, color: str) -> str:
    """Return the text in a color, or as it is where colors do not belong (NO_COLOR, a pipe)."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\033[{COLORS[color]}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


def step(label: str, text: str) -> None:
    """Print one line under a label."""
    say(f"{colored(label.ljust(LABEL_WIDTH), 'bold')}  {text}")


def indented(lines: list[str]) -> str:
    """Return lines set off from the text around them."""
    return "\n".join(f"    {line}" for line in lines)
