"""Which build is measured."""

import os
from pathlib import Path

import pytest

from tools.bench import measured_build as build
from tools.bench.__main__ import COMMAND
from tools.dev import compiled
from tools.dev.errors import ToolError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test the variables of a checkout, and all back afterwards."""
    for name in compiled.environment():
        monkeypatch.setenv(name, "")


def test_the_checkout_is_measured_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_current", lambda: True)
    build.choose_build(pure=COMMAND.parse(["--pure"]).pure)
    assert build.version().endswith("(pure Python)")


def test_a_build_that_is_out_of_date_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "is_current", lambda: False)
    build.choose_build(pure=COMMAND.parse([]).pure)
    assert "out of date (make compiled): pure Python" in capsys.readouterr().err
    assert build.version().endswith("(pure Python)")


def test_a_process_that_is_not_compiled_after_all_ends_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "is_current", lambda: True)
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)  # Nothing is there: the checkout is found.
    with pytest.raises(ToolError, match=r"calls itself payments .* \(pure Python\)"):
        build.choose_build(pure=False)


@pytest.mark.skipif(not compiled.is_current(), reason="make compiled has not been run")
def test_the_compiled_build_is_measured_where_it_is_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build.choose_build(pure=False)
    assert build.version().endswith("(compiled)")
    assert os.environ["PYTHONSAFEPATH"] == "1"
