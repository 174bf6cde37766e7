"""The compiled build: when it is current, what it needs, and what finds it."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

from tools.dev import compiled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a folder with what a build depends on."""
    for name in ("setup.py", "pyproject.toml", "requirements/build.txt", "payments/a.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["setup.py", "requirements/build.txt", "payments/a.py"])
def test_a_build_of_other_sources_is_not_current(
    sources: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stamp = sources / "stamp"
    monkeypatch.setattr(compiled, "ROOT", sources)
    monkeypatch.setattr(compiled, "STAMP", stamp)
    assert not compiled.is_current(), "there is none"
    stamp.write_text(compiled.digest(sources))
    assert compiled.is_current()
    (sources / name).write_text("changed")
    assert not compiled.is_current()


def test_a_module_that_moved_is_another_source(sources: Path) -> None:
    before = compiled.digest(sources)
    (sources / "payments" / "a.py").rename(sources / "payments" / "b.py")
    assert compiled.digest(sources) != before


def test_without_a_c_compiler_it_says_so_and_builds_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    monkeypatch.setattr(compiled, "is_current", lambda: False)
    monkeypatch.setattr(compiled, "build", lambda: pytest.fail("it was to build nothing"))
    for arguments in ([], ["--check"]):
        assert compiled.main(arguments) == 1
        assert "there is no C compiler no-such-compiler" in capsys.readouterr().err


def test_a_wheel_is_pure_python_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []
    monkeypatch.setattr(setuptools, "setup", lambda **more: given.append(more))
    monkeypatch.delenv("PAYMENTS_COMPILED", raising=False)
    found = runpy.run_path(str(ROOT / "setup.py"))
    assert given == [{}]
    assert [name for name in found["COMPILED"] if not (ROOT / name).exists()] == []


@pytest.mark.skipif(not compiled.is_current(), reason="make compiled has not been run")
def test_a_process_finds_the_compiled_package_also_in_the_folder_of_the_checkout() -> None:
    def version(environment: dict[str, str]) -> str:
        return subprocess.run(
            [sys.executable, "-m", "payments.cli", "--version"],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert version(compiled.environment()).endswith("(compiled)\n")
    assert version({"PYTHONPATH": "", "PYTHONSAFEPATH": ""}).endswith("(pure Python)\n")
