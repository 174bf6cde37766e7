"""What README, docs/ and the commands' own help say of exit codes is what ``EXIT_CODES`` has.

Codes of curl, of HTTP and of other programs are named in other words, so they are not looked at.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from exactstage.errors import EXIT_FAIL_STOP
from payments.cli import main
from payments.cli.exit_codes import EXIT_CODES, NOT_DONE, SEND_AGAIN
from payments.cli.user_errors import NO_BROKER

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_OTHERS = {"mutation-testing.md", "simulator.md"}
"""Pages on tools for development, whose code is 1."""

MEANINGS = {
    "no broker answers": NO_BROKER,
    "no kafka broker answers": NO_BROKER,
    "a guarantee does not hold": 1,
    "could not be found out": 2,
    "no answer in time": SEND_AGAIN,
    "can't go on": EXIT_FAIL_STOP,
    "no such account": NOT_DONE,
}
"""What is said of a code, and the one that it is true of."""

NAMED = re.compile(r"exit codes? (?:is )?(\d+)", re.IGNORECASE)
LISTED = re.compile(r"(?:(?<=[ (|`])|^)(\d{1,3}):? ([^.:;|\d]*)", re.MULTILINE)


def texts() -> Iterator[tuple[str, str]]:
    """Yield each page, and each command's help, with its name."""
    for page in PAGES:
        if page.name not in OF_OTHERS:
            yield page.name, page.read_text(encoding="utf-8")
    commands: list[tuple[str, click.Command]] = [("payments", main)]
    for name, command in commands:
        yield name, command.help or ""
        if isinstance(command, click.Group):
            context = click.Context(command)
            for word in command.list_commands(context):
                found = command.get_command(context, word)
                assert found is not None
                commands.append((f"{name} {word}", found))


def wrong(text: str) -> list[str]:
    """Return what a text says of codes that is not so."""
    found = [f"exit code {code}" for code in NAMED.findall(text) if int(code) not in EXIT_CODES]
    for part in text.split("\n\n"):
        if "exit code" not in part.lower():
            continue
        for code, meaning in LISTED.findall(" ".join(part.split())):
            right = {MEANINGS[words] for words in MEANINGS if words in meaning.lower()}
            if right - {int(code)}:
                found.append(f"{code}: {meaning}")
    return found


@pytest.mark.parametrize(("name", "text"), list(texts()), ids=[name for name, _ in texts()])
def test_a_page_names_the_codes_that_there_are(name: str, text: str) -> None:
    assert wrong(text) == [], name


def test_a_wrong_code_is_found() -> None:
    told = (
        "Exit code 0: everything holds.\n2: it could not be found out (no broker answers, a topic)."
    )
    assert wrong(told) == ["2: it could not be found out (no broker answers, a topic)"]
    assert wrong("It ends with exit code 4.") == ["exit code 4"]
