"""The soak's reading of logs: what it lets pass, and what it finds."""

from pathlib import Path

import pytest

from tools.chaos.allowed_lines import ALLOWED, read_logs

READY = "2026-01-01 00:00:00,000 INFO    exactstage.hosting.tables: worker ready: 8 partitions"
STOPPED = READY.replace("worker ready: 8 partitions", "stopped: {}, after 0.4 s; nothing is left")
AWAY = "2026-01-01 00:00:{:02},000 WARNING exactstage.outage: reading: no success since 0 UTC"


def findings(folder: Path, *lines: str) -> list[str]:
    log = folder / "worker.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return read_logs([log]).findings


def test_what_is_allowed_is_counted_and_no_finding(tmp_path: Path) -> None:
    lines = READY, AWAY.format(1), AWAY.format(12), STOPPED.format("SIGTERM")
    assert findings(tmp_path, *lines) == []
    assert sum(read_logs([tmp_path / "worker.log"]).counts.values()) == len(lines)


@pytest.mark.parametrize(
    "line",
    [
        READY.replace("INFO   ", "ERROR  "),
        READY.replace("worker ready", "Aiokafka has not sent fetch request for"),
        "Traceback (most recent call last):",
        "Task exception was never retrieved",
        STOPPED.format("its program ended it"),
        "",
    ],
)
def test_any_other_line_is_a_finding(tmp_path: Path, line: str) -> None:
    [finding] = findings(tmp_path, READY, line)
    assert finding.endswith(f"1 lines that are not allowed\n    {line}")


def test_two_warnings_within_ten_seconds_are_a_finding(tmp_path: Path) -> None:
    [finding] = findings(tmp_path, AWAY.format(1), AWAY.format(9))
    assert "two warnings within 10 s" in finding


def test_every_kind_of_line_that_is_allowed_has_a_reason() -> None:
    assert all(allowed.reason for allowed in ALLOWED)
