"""One concept, one word: the glossary's places exist, and the words that it retired are not used.

A word comes into ``RETIRED`` when the last sentence with it is gone, so none comes back.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
WHERE = re.compile(r"\| `([\w/.]+)` \|$", re.MULTILINE)

RETIRED = {
    r"buried|bury|buries": "to dead-letter",
    r"handover": "local delivery",
    r"heed(?:s|ed)?": "to follow, to read",
    r"passe[ds] on|pass on|passed-on": "to forward",
    r"puts? aside": "to dead-letter",
    r"shipments?": "publish job",
    r"under way": "in flight",
    r"upkeep": "timers",
    r"lanes?": "channel, partition queue",
    r"everybody": "every client, every user",
    r"example systems?": "Restate's payment examples",
    r"heirs?": "the next owner",
    r"mend(?:s|ed)?": "to correct",
    r"shall": "must, may",
}
"""Words that mean nothing to a reader who comes from Kafka, and what is said instead."""

RETIRED_IN_PAGES = {
    r"DESIGN \d": "a link to the section",
    r"handed": "delivered locally, sent, assigned",
    r"meanwhile": "the time that is meant",
    r"nobody|somebody|whoever": "who or what it is",
    r"passe[sd] over": "to skip",
    r"so many": "the number, or what it is the number of",
    r"telling|told": "to report, to record, to answer, to distinguish",
}
"""The same for the pages, whose sentences are all edited."""

RETIRED_IN_ENGINE = {
    r"(?:goe|doe)s on|go on|going on|gone on|went on": "to continue",
    r"cuts?|cutting": "to seal, to truncate, the end",
    r"(?<!\.)(?:tells?|telling|told)": "to report, to record, to log, to distinguish",
    r"rid(?:e|es|ing)|rode": "to piggyback",
    r"take the log|takes the log|short way": "to go through the log, local delivery",
    r"handed": "delivered locally, sent, assigned",
    r"meanwhile": "the time that is meant",
    r"passe[sd] over|pass over": "to skip",
    r"so many": "the number, or what it is the number of",
    r"whoever": "who or what it is",
}
"""The same for the engine."""

RETIRED_IN_NAMES = {
    "cut", "gone", "handed", "heir", "heirs", "ride", "rider", "riding", "room", "tell", "telling",
    "tells", "told",
}  # fmt: skip
"""Parts of names in the engine, and of its tests' names."""


def texts() -> list[Path]:
    """Return the files whose words count: what the project says of itself, and its code."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "payments", "exactstage", "docs", "README.md", "CONTRIBUTING.md",
         "SECURITY.md"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.split("\0")  # fmt: skip
    found = [ROOT / name for name in listed if name.endswith((".py", ".md"))]
    assert found
    return [file for file in found if file.exists() and file != GLOSSARY]


def uses(retired: str, files: list[Path]) -> list[str]:
    """Return the lines that have the word, each with its place."""
    word = re.compile(rf"(?<![\w`-])(?:{retired})(?![\w-])", re.IGNORECASE)
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(line)
    ]


@pytest.mark.parametrize("retired", RETIRED)
def test_a_word_that_was_retired_is_not_used(retired: str) -> None:
    assert not uses(retired, texts()), f"say {RETIRED[retired]} instead"


@pytest.mark.parametrize("retired", RETIRED_IN_PAGES)
def test_a_word_that_was_retired_from_the_pages_is_not_used_there(retired: str) -> None:
    pages = [file for file in texts() if file.suffix == ".md"]
    assert not uses(retired, pages), f"say {RETIRED_IN_PAGES[retired]} instead"


@pytest.mark.parametrize("retired", RETIRED_IN_ENGINE)
def test_a_word_that_was_retired_from_the_engine_is_not_used_there(retired: str) -> None:
    engine = [file for file in texts() if file.is_relative_to(ROOT / "exactstage")]
    assert not uses(retired, engine), f"say {RETIRED_IN_ENGINE[retired]} instead"


def names(file: Path) -> Iterator[tuple[str, int]]:
    """Yield what a module names: functions, arguments, variables, attributes."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


@pytest.mark.parametrize("folder", ["exactstage", "tests/engine", "tests/simulator"])
def test_no_name_in_the_engine_has_a_word_that_was_retired(folder: str) -> None:
    is_test = folder.startswith("tests")
    assert [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for name, line in names(file)
        if RETIRED_IN_NAMES & set(name.lower().split("_"))
        if name.startswith("test_") or not is_test
    ] == []


def test_every_place_of_the_glossary_is_there() -> None:
    places = WHERE.findall(GLOSSARY.read_text(encoding="utf-8"))
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_a_word_stands_once_in_the_glossary() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE
    )
    words = [word for row in rows for word in re.split(r", (?:to )?", row) if word != "word"]
    words = [word for word in words if not word.startswith("---")]
    assert sorted(words) == sorted(set(words))
