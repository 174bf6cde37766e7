"""The runbook has a section for each message with which a worker or a recovery command ends.

Of the same kind: messages that are added later anywhere in the package; they fail here.
"""

import re
from pathlib import Path

import pytest

from .messages import ANYTHING, Message, messages

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
DOCUMENTS = [
    file
    for file in (Path(__file__).parents[2] / "docs").glob("*.md")
    if file.name not in {"peers.md", "performance.md", "scale.md"}
]
SECTIONS = re.findall(r"^### `(.+)`$", RUNBOOK, re.MULTILINE)
ALL = messages()


def pattern(section: str) -> re.Pattern[str]:
    """Return what a section's words match: what stands for anything matches anything."""
    return re.compile(".*?".join(map(re.escape, section.split(ANYTHING))), re.DOTALL)


@pytest.mark.parametrize("message", ALL, ids=[message.place for message in ALL])
def test_every_message_has_a_section(message: Message) -> None:
    found = [section for section in SECTIONS if pattern(section.strip()).search(message.text)]
    assert found, f"docs/runbook.md has no section for: {message.text}"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_of_a_message(section: str) -> None:
    words = pattern(section.strip())
    assert any(words.search(message.text) for message in ALL), section


def test_no_advice_anywhere_starts_anew_beside_the_topics() -> None:
    for message in ALL:
        assert "new app id" not in message.text, message.place
    for document in DOCUMENTS:
        assert "new app id" not in document.read_text(encoding="utf-8"), document.name


def advice(page: str) -> dict[str, str]:
    """Return what stands under each section's heading; under the last of several in a row."""
    parts = re.split(r"^### (.+)$\n", page, flags=re.MULTILINE)
    bodies = (re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0] for body in parts[2::2])
    return {head: body for head, body in zip(parts[1::2], bodies, strict=True) if body.strip()}


@pytest.mark.parametrize("section", advice(RUNBOOK))
def test_every_section_says_what_to_do(section: str) -> None:
    told = advice(RUNBOOK)[section]
    assert re.search(r"\bDo\b", told), f"it says no next step (Do: ...):\n{told}"


def test_a_section_that_only_explains_is_no_advice() -> None:
    page = "## Part\n### `a`\n### `b`\nMeans: it broke.\n\n## Other\nDo: nothing.\n"
    assert advice(page) == {"`b`": "Means: it broke.\n\n"}
