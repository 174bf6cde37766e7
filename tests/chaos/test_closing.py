"""What did not hold is in the last lines of what a failed run prints: CI keeps no more."""

import sys
from pathlib import Path

import pytest

from tests.chaos.test_report import part
from tools.chaos.__main__ import main
from tools.closing import CUT, closing_lines

KEPT_LINES = 40


@pytest.fixture
def report_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ``main`` report the parts of the folder that is returned."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["chaos", "--report-only", "--into", str(tmp_path)])
    return tmp_path


def test_a_report_of_what_failed_ends_with_it(
    report_of: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stuck = "two lines in worker-1.log\n    first strange line\n    second strange line"
    part("three", found=[stuck]).write(report_of / "part-001-three.json")
    assert main() == 1
    assert capfd.readouterr().err.splitlines()[-3:] == [
        "NOT HELD: three, seed 3: two lines in worker-1.log",
        "    first strange line",
        "    second strange line",
    ]
    assert (report_of / "chaos.svg").exists(), "the name that docs/reliability.md has"


def test_a_report_of_what_held_says_nothing_more(
    report_of: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part().write(report_of / "part-001-single.json")
    assert main() == 0
    assert "NOT HELD" not in capfd.readouterr().err


def test_many_long_findings_stay_within_what_is_kept() -> None:
    traceback = "\n".join(["a traceback in worker-0.log:", *["x" * 400] * 50, "ValueError: no"])
    lines = list(closing_lines([traceback] * 100))
    assert len(lines) < KEPT_LINES
    assert max(map(len, lines)) == CUT
    assert lines[2] == "    ValueError: no"
    assert lines[-1] == "NOT HELD: 88 more things, see above"
