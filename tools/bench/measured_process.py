"""What processes use: CPU time and memory, as Linux counts them in ``/proc``.

Elsewhere, or when the process is gone, the answer is None, and a table shows a dash.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from payments.settings import Settings
from tools.dev.child_process import PAYMENTS, environment
from tools.dev.errors import ToolError

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Index of ``utime`` behind the command's name, which is field 2 (``man 5 proc``, field 14)."""

_KIBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a command of ``payments``: of the command alone, without the broker."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The largest resident set of the process, as the operating system gives it when it ends."""

    shown: dict[str, Any]


def run_payments(settings: Settings, *arguments: str, codes: Sequence[int] = (0,)) -> Ran:
    """Run a command that prints JSON; raises ``ToolError`` when it ends with none of ``codes``."""
    started = time.monotonic()
    with subprocess.Popen(
        [*PAYMENTS, *arguments], env=environment(settings), stdout=subprocess.PIPE
    ) as process:
        shown = b"" if process.stdout is None else process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
    if code not in codes:
        raise ToolError(f"payments {' '.join(arguments)} ended with exit code {code}")
    return Ran(
        seconds=time.monotonic() - started,
        cpu_seconds=used.ru_utime + used.ru_stime,
        # Linux counts it in kibibytes, macOS in bytes.
        peak_bytes=used.ru_maxrss * (1 if sys.platform == "darwin" else _KIBIBYTE),
        shown=json.loads(shown),
    )


def cpu_seconds(pid: int | None) -> float | None:
    """Return the CPU time of all threads of a process, user and system."""
    text = _read(pid, "stat")
    if text is None:
        return None
    # The command's name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 1 :].split()
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_SECOND


def resident_bytes(pid: int | None, field: str = "VmRSS") -> int | None:
    """Return the resident memory of a process."""
    for line in (_read(pid, "status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * _KIBIBYTE
    return None


def disk_bytes(folder: Path) -> int:
    """Return what the files of a folder take on the disk."""
    blocks = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # The process that it belongs to replaces files.
            blocks += file.lstat().st_blocks
    return blocks * 512  # ``man 2 stat``


def peak_bytes(pid: int | None) -> int | None:
    """Return the most resident memory that a process has had since its start."""
    return resident_bytes(pid, "VmHWM")


def cpu_percent(pid: int, seconds: float) -> float | None:
    """Watch a process for ``seconds``; return its share of one core, in percent."""
    started, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    after, took = cpu_seconds(pid), time.monotonic() - started
    return None if before is None or after is None else 100 * (after - before) / took


def _read(pid: int | None, file: str) -> str | None:
    try:
        return None if pid is None else Path(f"/proc/{pid}/{file}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
