"""The engine's own wheel, with nothing of payments: what its page promises works."""

import importlib.metadata
import re
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.install.environment import (
    Environment,
    build_wheel,
    copy_tree,
    only_where_asked,
    run,
    succeed,
)

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "exactstage"
PROJECT = tomllib.loads((ENGINE / "pyproject.toml").read_text(encoding="utf-8"))

PROGRAM = """
from exactstage import Context, Record, Rows, Stage, TypedContext

def count(record: Record, context: Context) -> None:
    context.put(record.key or b"?", b"1")

def typed(record: Record, context: TypedContext[int]) -> None:
    context.put(b"key", (context.get(b"key") or 0) + 1)

Stage("count", count, changelog="c", dead_letters="d", public_inputs=("in",))
Stage("typed", typed, changelog="c", dead_letters="d", public_inputs=("in",), rows=Rows(int))
"""
WRONG = """
from exactstage import Record, Stage, TypedContext

def wrong(record: Record, context: TypedContext[int]) -> None:
    context.put(b"key", "text")
"""


def requirements() -> set[str]:
    """Return the names of the packages that the engine needs, and those that these need."""
    pending = list(PROJECT["project"]["dependencies"])
    found: set[str] = set()
    while pending:
        requirement = Requirement(pending.pop())
        marker = requirement.marker
        if requirement.name in found or (marker and not marker.evaluate({"extra": ""})):
            continue
        found.add(requirement.name)
        pending += importlib.metadata.requires(requirement.name) or ()
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment with the engine's wheel and what it needs."""
    source = tmp_path_factory.mktemp("source") / "engine"
    copy_tree(ENGINE, source)
    made = Environment(tmp_path_factory.mktemp("alone"))
    made.link(requirements())
    wheel = build_wheel(source, tmp_path_factory.mktemp("wheel"))
    made.install("--no-deps", "--no-index", wheel)
    return made


def test_the_project_names_every_package_of_the_engine() -> None:
    there = {
        ".".join(("exactstage", *file.parent.relative_to(ENGINE).parts))
        for file in ENGINE.rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == there


def test_the_engine_asks_for_the_same_versions_as_payments_and_has_the_same_licence() -> None:
    """Both are installed from one lock; the wheel needs a licence of its own."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = whole["optional-dependencies"]
    known = {*whole["dependencies"], *(each for name in extras for each in extras[name])}
    own = PROJECT["project"]
    needed = [*own["dependencies"], *own["optional-dependencies"]["faust"]]
    assert [each for each in needed if each not in known and "click" not in each] == []
    assert (ENGINE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@only_where_asked
def test_the_example_of_the_page_runs_without_payments_and_without_faust(
    alone: Environment, tmp_path: Path
) -> None:
    page = (ENGINE / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    program = tmp_path / "example.py"
    program.write_text(
        f"async def example():\n{textwrap.indent(example, '    ')}\n"
        "import asyncio, importlib.util, sys\n"
        "asyncio.run(example())\n"
        "names = ('payments', 'faust')\n"
        "print(*[name for name in names if importlib.util.find_spec(name) is None])\n"
    )
    assert succeed(alone.python, program, cwd=tmp_path).strip() == "payments faust"


@only_where_asked
def test_every_public_module_but_the_faust_host_can_be_used(alone: Environment) -> None:
    succeed(
        alone.python,
        "-c",
        "import exactstage, importlib\n"
        "for door in ('errors', 'hosting', 'inspection', 'kafka', 'log', 'recovery', 'testing'):\n"
        "    module = importlib.import_module(f'exactstage.{door}')\n"
        "    [getattr(module, name) for name in module.__all__ if name != 'EngineApp']\n",
    )


@only_where_asked
def test_mypy_sees_the_types_of_the_installed_engine(alone: Environment, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", alone.python)
    cache = ("--cache-dir", tmp_path / "cache")
    succeed(*mypy, *cache, tmp_path / "program.py", cwd=tmp_path)
    found = run(*mypy, *cache, tmp_path / "wrong.py", cwd=tmp_path)
    assert 'has incompatible type "str"; expected "int"' in found.stdout
