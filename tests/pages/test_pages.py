"""Each block of README and docs/ is of a known kind, and is run or says why not.

Of the same kind: the pages' Python, which tests beside its subject run; that the commands work is
``test_pages_on_broker.py``.
"""

from collections import Counter
from pathlib import Path

import pytest

from .reading import (
    LANGUAGES,
    PAGES,
    REASONS,
    ROOT,
    SHELL,
    Block,
    blocks,
    commands,
    ids,
    is_as_shown,
    masked,
)

EVERY = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block.place
        assert block.left_out is None or block.language in SHELL, block.place
        assert block.instead is None or (ROOT / block.instead).is_file(), block.place


def test_no_page_has_a_block_that_only_its_indent_marks() -> None:
    """Nothing would find it. A list's lines are indented too, but never after an empty line."""
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        fenced = {n for b in blocks(page) for n in range(b.line, b.line + len(b.lines) + 1)}
        for number, line in enumerate(lines):
            alone = number not in fenced and line.startswith("    ") and not lines[number - 1]
            assert not alone, f"{page.name}:{number + 1}"


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    left_out = Counter(block.left_out for block in EVERY if block.left_out)
    assert left_out == REASONS


def test_what_has_a_test_of_its_own_names_it() -> None:
    for block in EVERY:
        assert (block.left_out == "has a test of its own") == (block.instead is not None), (
            block.place
        )


def test_no_id_is_used_by_two_pages() -> None:
    users: dict[str, set[str]] = {}
    for block in EVERY:
        for each in ids(block):
            users.setdefault(each, set()).add(block.page.name)
    assert len(users) > 15
    shared = {each: pages for each, pages in users.items() if len(pages) > 1}
    assert shared == {}


def test_every_request_names_its_status() -> None:
    for block in EVERY:
        if block.language == "sh" and block.left_out is None:
            for command in commands(block):
                is_request = command.text.startswith("curl ")
                assert is_request == (command.status is not None), command.place


def test_commands_are_read_with_what_they_promise() -> None:
    lines = (
        "# first",
        "curl a \\",
        "  b   # 404",
        "payments get x   # not there: exit code 3",
        "x",
    )
    found = list(commands(Block(ROOT / "README.md", 10, "sh", lines, None, None)))
    assert [(c.place, c.exit_code, c.status) for c in found] == [
        ("README.md:12", 0, 404),
        ("README.md:14", 3, None),
        ("README.md:15", 0, None),
    ]
    [shown] = commands(Block(ROOT / "README.md", 1, "console", ("$ a", "1", "2"), None, None))
    assert (shown.text, shown.output) == ("a", "1\n2")


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    shown = '{"at":"payments.commands/6/0","time":"2026-01-01T00:00:00.000Z"}\n...\nend'
    assert is_as_shown(shown, shown.replace("6/0", "1/17").replace("00.000", "59.123") + "\n")
    assert is_as_shown(shown, shown.replace("...", "a\nb"))
    assert not is_as_shown(shown, shown.replace("end", "END"))
    assert masked("took 12.5 s") == "took DURATION"
