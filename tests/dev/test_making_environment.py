"""``make`` without an environment: it says what it does, and why it can't."""

import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from tools.dev.environment import explained, progress

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying ... by 'NewConnectionError(...)': /simple/", "index can't be reached"),
        ("ERROR: Could not find a version for x (from versions: none)", "index can't be reached"),
        ("ERROR: Could not find a version that satisfies the requirement x==9", "lacks a version"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE", "not the one that was locked"),
        ("The virtual environment was not created: ensurepip is not available", "python3-venv"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("error: [Errno 13] Permission denied: '.venv/bin'", "may not write there"),
        ("error: something else", "see its words"),
    ],
)
def test_a_failure_is_told_with_its_likely_cause_and_the_installer_s_words(
    said: str, told: str
) -> None:
    first, *words = explained("96 packages (downloads)", said.splitlines()).splitlines()
    assert first.startswith("96 packages can't be installed: ")
    assert told in first
    assert words[-1].strip() == said.splitlines()[-1]


def test_a_long_installation_is_never_silent() -> None:
    output = [*(f"Collecting p{n}==1\n" for n in range(60)), "Installing collected packages: p0\n"]
    shown = list(progress(output, deque(), 60))
    assert shown == ["25 of 60 are here", "50 of 60 are here", "all are here, and are unpacked"]


def test_without_a_package_index_make_ends_with_a_line_that_says_so(tmp_path: Path) -> None:
    """Old Pythons, none at all and a full disk: by hand, since they need another machine."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"faust-streaming==0.15.3 --hash=sha256:{'0' * 64}\n")
    ended = subprocess.run(
        [sys.executable, "tools/dev/environment.py", tmp_path / "venv", lock],
        cwd=ROOT,
        env=os.environ
        | {
            "PIP_INDEX_URL": "http://127.0.0.1:1/",
            "PIP_RETRIES": "0",
            "PIP_CONFIG_FILE": os.devnull,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1, ended.stderr
    assert "  1 packages (downloads what is not in pip's cache) ...\n" in ended.stdout
    assert "1 packages can't be installed: the package index can't be reached" in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    ended = subprocess.run(
        ["make", "environment", "PYTHON=python3.99"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "Error: there is no python3.99 here: install Python 3.11 or later" in ended.stdout
