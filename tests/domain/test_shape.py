"""The shape of the code: who may import whom, and that drawn documents fit."""

import ast
import importlib.util
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import exactstage
import payments
from payments.domain.results import Reason

REPOSITORY = Path(__file__).parents[2]
MODULES = {
    ".".join((package.__name__, *file.relative_to(folder).with_suffix("").parts)): file
    for package in (payments, exactstage)
    for folder in [Path(package.__file__ or "").parent]
    for file in sorted(folder.rglob("*.py"))
}
MOST_LINES = 60
IMPURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "socket", "threading", "time"}


def inside(package: str) -> list[str]:
    """Return the modules of a package; there must be some."""
    found = [module for module in MODULES if is_in(module, package)]
    assert found, f"no module in {package}"
    return found


def is_in(module: str, *packages: str) -> bool:
    """Return whether a module is one of the packages or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imported(module: str, source: str) -> set[str]:
    """Return what a module imports, anywhere in it: ``from a import b`` may be the module a.b."""
    found: set[str] = set()
    parent = module.removesuffix(".__init__") if module.endswith("__init__") else None
    package = parent or module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, package)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def imports(module: str) -> set[str]:
    """Return what a module of this package imports."""
    return imported(module, MODULES[module].read_text(encoding="utf-8"))


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {found for name in imports(module) if (found := module_of(name)) is not None}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def module_of(name: str) -> str | None:
    """Return the module of these packages that a name is, or is in; None for all others."""
    while name:
        for module in (name, f"{name}.__init__"):
            if module in MODULES:
                return module
        name = name.rpartition(".")[0]
    return None


@pytest.mark.parametrize("module", inside("exactstage"))
def test_functions_of_the_engine_fit_a_screen(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_LINES, f"{node.name} has {lines} lines"


def is_standard(name: str) -> bool:
    """Return whether a module is in the standard library, or describes data: msgspec, pydantic."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in {"msgspec", "pydantic"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import payments.domain.account as a", {"payments.domain.account"}),
        ("from payments import domain", {"payments.domain"}),
        ("from ..domain import account", {"payments.domain.account"}),
        ("from .. import stages", {"payments.stages"}),
        ("def f():\n    from payments.stages import x", {"payments.stages.x"}),
    ],
)
def test_an_import_is_seen_however_it_is_written(source: str, names: set[str]) -> None:
    assert imported("payments.stages.accounts", source) == names
    assert imported("payments.stages.__init__", source) == names


@pytest.mark.parametrize("module", inside("payments.domain"))
def test_the_domain_imports_the_standard_library_and_msgspec_only(module: str) -> None:
    for name in imports(module):
        assert is_standard(name) or is_in(name, "payments.domain"), name
        assert name.partition(".")[0] not in IMPURE, name


@pytest.mark.parametrize("module", [*inside("payments.records"), "payments.stages.expiry"])
def test_records_and_expiry_stand_on_the_domain_alone(module: str) -> None:
    for name in imports(module):
        allowed = is_in(name, "payments.domain", "payments.records")
        assert is_standard(name) or allowed, name
        assert name.partition(".")[0] not in IMPURE, name


@pytest.mark.parametrize("module", inside("exactstage"))
def test_the_engine_knows_nothing_of_payments(module: str) -> None:
    for name in imports(module):
        assert not is_in(name, "payments"), name


@pytest.mark.parametrize("module", inside("payments.gateway"))
def test_the_gateway_stands_on_the_client_alone(module: str) -> None:
    for name in imports(module):
        # Of the process: its garbage collection, and plain numbers for metrics.
        plain = name in {"exactstage.hosting.freeze_and_relax", "exactstage.hosting.Histogram"}
        assert plain or not is_in(name, "exactstage", "payments.stages", "payments.app"), name


@pytest.mark.parametrize("module", inside("payments.client"))
def test_the_client_stands_on_the_log_and_loads_neither_the_stages_nor_faust(module: str) -> None:
    for name in imports(module):
        forbidden = ("payments.app", "payments.stages", "exactstage.hosting", "faust")
        assert not is_in(name, *forbidden), name


@pytest.mark.parametrize("module", inside("payments.domain"))
def test_the_domain_never_asks_for_the_time(module: str) -> None:
    names = {
        node.attr
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert not names & {"now", "utcnow", "today"}


def test_every_reason_is_a_stable_code_equal_to_its_name() -> None:
    assert all(reason.value == reason.name.lower() for reason in Reason)


@pytest.mark.parametrize("page", ["states", "account_states"])
def test_the_document_of_the_states_is_current(page: str) -> None:
    script = REPOSITORY / "docs" / f"draw_{page}.py"
    spec = importlib.util.spec_from_file_location(f"draw_{page}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hint = f"run: python docs/draw_{page}.py > docs/{page}.md"
    assert (REPOSITORY / "docs" / f"{page}.md").read_text() == module.document(), hint
