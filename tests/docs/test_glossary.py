"""One concept, one word: the glossary's places exist, and the words that it retired are not used.

A word comes into ``RETIRED`` when the last sentence with it is gone, so none comes back.
"""

import re
import subprocess
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
