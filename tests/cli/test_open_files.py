"""A worker with too few open files ends with one line that names the limit, before it begins.

Of the same kind: a limit reached later (``no-files``, ``few-files`` of ``make chaos``), a
full disk below the health file (``tests/topics/test_health.py``), and below the log (chaos).
"""

import os
import resource
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = (sys.executable, "-m", "payments.cli", "worker")


def limited(soft: int, hard: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may have so many open files."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return subprocess.run(
        command,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=250,
    )


@pytest.mark.parametrize("files", [12, 24, 127])
def test_a_worker_with_too_few_open_files_ends_with_one_line(files: int) -> None:
    done = limited(files, files, *WORKER)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: this process may have {files} open files, a worker needs 128")
    assert "LimitNOFILE" in line


def test_it_ends_although_nobody_reads_its_last_words() -> None:
    """As a worker that can't go on later does: ``tests/broker/test_start_and_stop.py``."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * select.PIPE_BUF)
        os.set_blocking(writing, True)  # As a worker's standard error is.

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

        done = subprocess.run(
            WORKER, preexec_fn=limit, stderr=writing, check=False, cwd=ROOT, timeout=60
        )
        assert done.returncode == 1
    finally:
        os.close(reading)
        os.close(writing)


def test_a_worker_raises_its_limit_where_it_may() -> None:
    ask = (
        "from payments.process import open_files; import resource; open_files.require();"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = limited(20, 500, sys.executable, "-c", ask)
    assert (done.stdout, done.stderr) == ("128 500\n", "")
