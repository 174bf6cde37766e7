"""A test that hangs fails, and every other test of the run is run, once.

Here: a hang that ignores its limit, in the last file that is handed out, and a failure with the
locks of ``logging`` held. Brokers of a process that ended are stopped by ``tests/distribution.py``.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
KEEPS_WHAT_ITS_LIMIT_RAISES = """
import time
def test_before(): pass
def test_hangs():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
def test_after(): pass
"""
HOLDS_A_LOCK = """
import logging, threading
def test_fails_with_the_locks_held():
    logging.getLogger().handlers[0].acquire()
    logging._acquireLock() if hasattr(logging, "_acquireLock") else logging._lock.acquire()
    assert not "interrupted"
def test_logs_in_a_thread():
    def log():
        logging.getLogger("a new one").error("said")
    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
"""


def test_a_test_that_hangs_fails_alone_whatever_it_holds_and_ignores(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfaulthandler_exit_on_timeout = true\n")
    (tmp_path / "test_1.py").write_text(HOLDS_A_LOCK)
    (tmp_path / "test_2.py").write_text(KEEPS_WHAT_ITS_LIMIT_RAISES)
    plugins = ["xdist", "pytest_timeout", "tests.distribution", "tests.hanging"]
    options = ["--timeout=1", "-o", "faulthandler_timeout=3", "--numprocesses=1", "--dist=loadfile"]
    command = [sys.executable, "-m", "pytest", "-v", *options, *(f"-p{name}" for name in plugins)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert Counter(re.findall(r"(PASSED|FAILED) (\S+) ", done.stdout + " ")) == {
        ("FAILED", "test_1.py::test_fails_with_the_locks_held"): 2,
        ("PASSED", "test_1.py::test_logs_in_a_thread"): 1,
        ("PASSED", "test_2.py::test_before"): 1,
        ("FAILED", "test_2.py::test_hangs"): 2,
        ("PASSED", "test_2.py::test_after"): 1,
    }, "each is reported once, and a failure once more in the summary"
    assert "crashed while running 'test_2.py::test_hangs'" in done.stdout
    assert "in test_hangs" in done.stderr, "the stack of what hung is shown"
