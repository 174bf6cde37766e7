"""``make clean``: everything goes, but nothing while a broker of this checkout runs (case P12)."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.dev.clean import clean

FOLDER = Path(".kafka") / "4.1.0" / "data-9192"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with an environment, a cache and a broker's data."""
    for folder in (".venv/bin", "payments/__pycache__", str(FOLDER / "topics")):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "payments" / "app.py").touch()
    (tmp_path / ".coverage").touch()
    return tmp_path


@pytest.fixture
def broker(checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that looks like the broker on that data, on a port nobody asks for."""
    properties = str(checkout / FOLDER / "server.properties")
    process = subprocess.Popen([sys.executable, "-c", "input()", properties], stdin=subprocess.PIPE)
    (checkout / FOLDER / "broker.pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def test_it_removes_all_but_the_sources(checkout: Path) -> None:
    assert clean(checkout) == 0
    assert [path.name for path in checkout.rglob("*")] == ["payments", "app.py"]


def test_it_removes_nothing_while_a_broker_runs(
    checkout: Path, broker: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(checkout.rglob("*"))
    assert clean(checkout) == 1
    assert sorted(checkout.rglob("*")) == before
    told = capsys.readouterr().err
    assert f"pid {broker.pid}" in told
    assert str(checkout / FOLDER) in told


def test_a_broker_that_has_ended_keeps_nothing(
    checkout: Path, broker: subprocess.Popen[bytes]
) -> None:
    broker.kill()
    broker.wait()
    assert clean(checkout) == 0
    assert not (checkout / ".kafka").exists()
