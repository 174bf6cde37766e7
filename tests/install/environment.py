"""Environments that have nothing but what a test installs there, and wheels to install."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ASKED_FOR = os.environ.get("PAYMENTS_INSTALL", os.environ.get("CI", ""))
LIMIT_SECONDS = 300.0

only_where_asked = pytest.mark.skipif(
    not ASKED_FOR, reason="takes a minute: CI or PAYMENTS_INSTALL=1 runs it"
)


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program outside of this repository's environment."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "PAYMENTS_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    # Nothing listens there, whatever else runs on this machine.
    environment["PAYMENTS_BROKERS"] = "127.0.0.1:1"
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=LIMIT_SECONDS,
    )


def succeed(*command: str | Path, cwd: Path | None = None) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, made: Path) -> Path:
    """Build a wheel from a copy of a project, without a registry, into an empty folder."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
    succeed(*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", made, source)
    [built] = made.glob("*.whl")
    return built


def copy_tree(source: Path, target: Path) -> None:
    """Copy a package's sources, so that nothing is left in the checkout."""
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")
    shutil.copytree(source, target, ignore=left_out)


class Environment:
    """A virtual environment without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        succeed(sys.executable, "-m", "venv", "--without-pip", folder)
        [self.site] = folder.glob("lib/python*/site-packages")

    def install(self, *arguments: str | Path) -> None:
        """Let the pip of this environment install something there."""
        pip = (sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet")
        succeed(*pip, "--disable-pip-version-check", *arguments)

    def link(self, names: Iterable[str]) -> None:
        """Make packages of this environment importable there."""
        for name in names:
            distribution = importlib.metadata.distribution(name)
            for file in distribution.files or ():
                if ".." in file.parts or "__pycache__" in file.parts:
                    continue
                target = self.site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(str(distribution.locate_file(file)))

    def payments(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command in an empty folder."""
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        return run(self.folder / "bin" / "payments", *arguments, cwd=empty)
