"""The shape of the domain: what it may import, and that the documents drawn from it are current."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

import payments.domain
from payments.domain.results import Reason

REPOSITORY = Path(__file__).parents[2]
FILES = sorted(Path(payments.domain.__file__).parent.glob("*.py"))
IMPURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "socket", "threading", "time"}


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(f"{'.' * node.level}{node.module or ''}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_domain_imports_the_standard_library_and_pydantic_only(file: Path) -> None:
    for module in imports(file):
        top = module.partition(".")[0]
        allowed = top in sys.stdlib_module_names or top == "pydantic"
        assert allowed or module.startswith("payments.domain."), module
        assert top not in IMPURE, module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_domain_never_asks_for_the_time(file: Path) -> None:
    names = {
        node.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert not names & {"now", "utcnow", "today"}


def test_every_reason_is_a_stable_code_equal_to_its_name() -> None:
    assert all(reason.value == reason.name.lower() for reason in Reason)


def test_the_document_of_the_states_is_current() -> None:
    script = REPOSITORY / "docs" / "draw_states.py"
    spec = importlib.util.spec_from_file_location("draw_states", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hint = "run: python docs/draw_states.py > docs/states.md"
    assert (REPOSITORY / "docs" / "states.md").read_text() == module.document(), hint
