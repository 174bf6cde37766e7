"""The engine's public doors: what others import of it, and what importing a door loads."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import exactstage

ROOT = Path(__file__).parents[2]
DOORS = (
    "exactstage",
    "exactstage.errors",
    "exactstage.hosting",
    "exactstage.inspection",
    "exactstage.kafka",
    "exactstage.log",
    "exactstage.recovery",
    "exactstage.testing",
)
MOST_NAMES_OF_THE_FRONT = 20
OUTSIDE = sorted([*(ROOT / "payments").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])


def imported(source: str) -> Iterator[tuple[str, str | None]]:
    """Yield each module of the engine that is imported anywhere in the source, and the name."""
    for node in ast.walk(ast.parse(source)):
        found: list[tuple[str, str | None]] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        yield from (pair for pair in found if pair[0].partition(".")[0] == "exactstage")


def test_an_import_is_seen_however_it_is_written() -> None:
    source = "import exactstage.journal\ndef f():\n    from exactstage import Stage, journal"
    assert sorted(imported(source), key=str) == [
        ("exactstage", "Stage"),
        ("exactstage", "journal"),
        ("exactstage.journal", None),
    ]


def test_the_application_and_the_examples_import_public_names_only() -> None:
    uses = [(file, *use) for file in OUTSIDE for use in imported(file.read_text(encoding="utf-8"))]
    assert len(uses) > len(DOORS), "they use the engine"
    inner = [
        f"{file.relative_to(ROOT)}: {module}.{name}"
        for file, module, name in uses
        if module not in DOORS or name not in importlib.import_module(module).__all__
    ]
    assert not inner


def docstring_of(name: str) -> str:
    """Return a module's docstring from its source: a compiled module has none."""
    place = ROOT.joinpath(*name.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("name", DOORS)
def test_a_door_says_for_whom_it_is_and_has_each_of_its_names(name: str) -> None:
    door = importlib.import_module(name)
    assert "his module is for" in docstring_of(name)
    assert [each for each in door.__all__ if getattr(door, each, None) is None] == []
    assert len(set(door.__all__)) == len(door.__all__)
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'nothing'"):
        door.nothing  # noqa: B018


def test_few_names_are_needed_to_write_a_stage() -> None:
    assert len(exactstage.__all__) <= MOST_NAMES_OF_THE_FRONT


def test_the_page_of_the_engine_names_every_door() -> None:
    page = (ROOT / "docs" / "reference" / "engine.md").read_text(encoding="utf-8")
    assert [door for door in DOORS if f"`{door}`" not in page] == []


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        *((f"import {door}", "faust aiokafka") for door in DOORS if door != "exactstage.testing"),
        ("import exactstage.testing", "faust aiokafka pytest"),
        ("from exactstage.hosting import PlainHost, freeze_and_relax", "faust aiokafka"),
        ("import payments", "faust aiokafka"),
        ("import payments.client", "faust mode"),
    ],
)
def test_a_door_loads_only_what_is_asked_for(statement: str, not_loaded: str) -> None:
    loaded = f"[module for module in {not_loaded.split()} if module in sys.modules]"
    program = f"import sys\n{statement}\nprint({loaded})"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "[]"
