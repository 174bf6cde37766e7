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


def test_every_section_says_what_to_do() -> None:
    blocks = re.split(r"^#+ .*$\n", RUNBOOK, flags=re.MULTILINE)
    told = [block for block in blocks if block.strip()]
    assert all(
        "Do" in block or "Means" in block for block in told[1:] if "exit" not in block.lower()
    )
