"""The wheel, installed beside nothing but what one extra brings: each part works alone.

It takes about a minute, so it runs where CI or PAYMENTS_INSTALL is set. The packages come from
this environment and need no registry; with PAYMENTS_INSTALL=registry pip also resolves and
downloads them, as a user's would.
"""

import importlib.metadata
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.install.environment import (
    ASKED_FOR,
    Environment,
    build_wheel,
    copy_tree,
    only_where_asked,
    run,
    succeed,
)

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("exactstage", "payments", "pyproject.toml", "setup.py", "README.md", "LICENSE")
EXTRAS = ("", "cli", "worker", "gateway", "testing")
pytestmark = only_where_asked
NPM_PYRIGHT = "pyright@1.1.407"

PROGRAM = """
import asyncio
from payments.client import Later, Outcome, PaymentsClient, Reason, Result, Settings, State

async def pay(client: PaymentsClient) -> Reason | Later | None:
    result: Result = await client.make("pay-1", account="abc", amount=100)
    if result.outcome is Outcome.DECLINED:
        return result.reason
    text: str = result.payment
    assert result.state == State.COMPLETED, text
    return None

def settings() -> Settings:
    return Settings(brokers="localhost:9092")
"""
WRONG = """
from payments.client import Result

def wrong(result: Result) -> int:
    return result.payment
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that nothing is left in the checkout."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            copy_tree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source / name)
    return build_wheel(source, made)


def requirements(wheel: Path, extra: str) -> set[str]:
    """Return the names of all packages that the wheel requires with an extra."""
    [metadata] = importlib.metadata.distributions(path=[str(wheel)])
    pending = [(Requirement(text), frozenset({extra})) for text in metadata.requires or ()]
    found: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement, wanted = pending.pop()
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": e}) for e in wanted | {""}):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in found:
            continue
        found.add((name, extras))
        own = metadata if name == "payments" else importlib.metadata.distribution(name)
        pending += [(Requirement(text), extras) for text in own.requires or ()]
    return {name for name, _ in found} - {"payments"}


@pytest.fixture(scope="session", params=EXTRAS, ids=lambda extra: extra or "none")
def extra(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def environment(extra: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment with the wheel and one extra's packages."""
    made = Environment(tmp_path_factory.mktemp(extra or "client"))
    made.link(requirements(wheel, extra))
    made.install("--no-deps", "--no-index", wheel)
    return made


def must_work(extra: str, environment: Environment) -> None:
    """Use what an extra is for, without a broker."""
    python = (environment.python, "-c")
    succeed(*python, "from payments.client import PaymentsClient; PaymentsClient()")
    if extra:
        assert environment.payments("--version").returncode == 0
        planned = environment.payments("topics", "plan")
        assert "no Kafka broker answers" in planned.stderr, planned.stderr
    if extra in {"worker", "testing"}:
        succeed(*python, "from payments.app import app; import payments.worker.metrics")
    if extra == "gateway":
        served = environment.payments("gateway", "--host", "no-such-host.invalid")
        assert "can't listen on no-such-host.invalid" in served.stderr
    if extra == "testing":
        test = "import asyncio\nfrom payments.testing import PaymentsTestbed\n"
        test += "async def main():\n  async with PaymentsTestbed(opening_balance=9) as t:\n"
        test += "    r = await t.send('p', {'type': 'make', 'account': 'a', 'amount': 9})\n"
        test += "    assert r.outcome == 'completed'\nasyncio.run(main())"
        succeed(*python, test)
        succeed(*python, "import payments.pytest_plugin")


def test_each_extra_alone_is_enough_for_its_part(extra: str, environment: Environment) -> None:
    """The case P3 too: ``topics plan`` finds topics.yaml in the wheel, in an empty folder."""
    must_work(extra, environment)


@pytest.mark.parametrize(
    ("installed", "command", "wanted"),
    [
        ("", ("--help",), "cli"),
        ("", ("worker",), "cli"),
        ("cli", ("worker",), "worker"),
        ("cli", ("gateway",), "gateway"),
    ],
)
def test_a_command_without_its_extra_says_in_one_line_what_to_install(
    installed: str,
    command: tuple[str, ...],
    wanted: str,
    wheel: Path,
    tmp_path: Path,
) -> None:
    lacking = Environment(tmp_path / "lacking")
    lacking.link(requirements(wheel, installed))
    lacking.install("--no-deps", "--no-index", wheel)
    failed = lacking.payments(*command)
    [line] = failed.stderr.splitlines()
    assert line.startswith("Error: ")
    assert f"pip install 'payments[{wanted}]'" in line
    assert failed.returncode == 1


def test_the_client_alone_brings_few_packages(wheel: Path) -> None:
    alone = requirements(wheel, "")
    assert not alone & {"faust-streaming", "click", "uvicorn", "prometheus-client", "pyyaml"}
    assert len(alone) <= 14, sorted(alone)


def test_the_client_pins_no_version(wheel: Path) -> None:
    [metadata] = importlib.metadata.distributions(path=[str(wheel)])
    needed = [Requirement(text) for text in metadata.requires or ()]
    pinned = {r.name for r in needed if r.marker is None and "==" in str(r.specifier)}
    assert pinned == set()


@pytest.fixture
def typed(wheel: Path, tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "typed")
    made.link(requirements(wheel, ""))
    made.install("--no-deps", "--no-index", wheel)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    return made


def test_mypy_sees_the_types_of_an_installed_wheel(typed: Environment, tmp_path: Path) -> None:
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", typed.python)
    cache = ("--cache-dir", tmp_path / "cache")
    succeed(*mypy, *cache, tmp_path / "program.py", cwd=tmp_path)
    found = run(*mypy, *cache, tmp_path / "wrong.py", cwd=tmp_path)
    assert 'got "str", expected "int"' in found.stdout


def test_pyright_sees_the_types_of_an_installed_wheel(typed: Environment, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("pyright needs npm")
    pyright = (npm, "exec", "--yes", f"--package={NPM_PYRIGHT}", "--", "pyright")
    if run(*pyright, "--version").returncode != 0:
        pytest.skip(f"npm can't get {NPM_PYRIGHT}")
    there = ("--pythonpath", typed.python)
    succeed(*pyright, *there, tmp_path / "program.py", cwd=tmp_path)
    found = run(*pyright, *there, tmp_path / "wrong.py", cwd=tmp_path)
    assert '"str" is not assignable to "int"' in found.stdout


@pytest.mark.skipif(ASKED_FOR != "registry", reason="downloads: PAYMENTS_INSTALL=registry runs it")
def test_pip_resolves_each_extra(extra: str, wheel: Path, tmp_path: Path) -> None:
    fresh = Environment(tmp_path / "fresh")
    fresh.install(f"{wheel}[{extra}]" if extra else wheel)
    must_work(extra, fresh)
