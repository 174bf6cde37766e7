"""What becomes of a run in which a test hangs: it fails, and the tests after it run.

pytest-timeout raises in the main thread, wherever that is. Two things may go wrong then:

- In the middle of ``logging`` a lock stays held, and whatever logs in another thread hangs, in
  every later test of the process. So the main thread releases those locks when a test has failed.
- asyncio may keep what was raised in a callback or a task, and the test hangs on. Then
  ``faulthandler_timeout`` (pyproject.toml) ends the process, and ``distribution`` replaces it.
"""

import logging
from typing import Any


def pytest_exception_interact() -> None:
    """Release the locks of ``logging``: between two tests the main thread needs none."""
    private: Any = logging
    handlers = [reference() for reference in private._handlerList]
    locks = [handler.lock for handler in handlers if handler is not None]
    for lock in (private._lock, *locks):
        while lock is not None and lock._is_owned():
            lock.release()
