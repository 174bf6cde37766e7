"""A command of ``payments`` as a process of its own: what it printed, took and needed.

Memory is the largest resident set of the process, as the operating system gives it when it ends.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from payments.settings import Settings
from tools.bench.errors import BenchError

KIBIBYTE = 1024
"""Linux counts ``ru_maxrss`` in these; macOS in bytes."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a command of ``payments``."""

    seconds: float
    cpu_seconds: float
    """Of the command alone, without the broker."""

    peak_bytes: int
    shown: dict[str, Any]


def run(settings: Settings, *arguments: str, codes: frozenset[int] = frozenset({0})) -> Ran:
    """Run a command that prints JSON; raises ``BenchError`` when it ends with none of ``codes``."""
    names = ("brokers", "app_id", "topic_prefix", "partitions", "opening_balance")
    values = {f"PAYMENTS_{name.upper()}": str(getattr(settings, name)) for name in names}
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "payments.cli", *arguments],
        env=os.environ | values,
        stdout=subprocess.PIPE,
    ) as process:
        shown = b"" if process.stdout is None else process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
    if code not in codes:
        raise BenchError(f"payments {' '.join(arguments)} ended with exit code {code}")
    return Ran(
        seconds=time.monotonic() - started,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * (1 if sys.platform == "darwin" else KIBIBYTE),
        shown=json.loads(shown),
    )
