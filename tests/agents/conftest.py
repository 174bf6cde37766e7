"""What several tests of the embedded application use."""

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "disk"])
def rows_in_memory_and_on_disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a test twice: with rows in memory, and in local copies on this machine's disk."""
    if request.param == "disk":
        monkeypatch.setenv("PAYMENTS_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("PAYMENTS_STATE_MEMORY_MB", "32")
