"""What a process has used so far: CPU time and resident memory, as Linux counts them in ``/proc``.

Elsewhere, or when the process is gone, the answer is None: a table then shows a dash.
"""

import os
import time
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Index of ``utime`` behind the command's name, which is field 2 (``man 5 proc``, field 14)."""


def cpu_seconds(pid: int | None) -> float | None:
    """Return the CPU time of all threads of a process, user and system."""
    text = _read(pid, "stat")
    if text is None:
        return None
    # The command's name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 1 :].split()
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_SECOND


def resident_bytes(pid: int | None) -> int | None:
    """Return the resident memory of a process (``VmRSS``)."""
    return _memory_bytes(pid, "VmRSS")


def peak_bytes(pid: int | None) -> int | None:
    """Return the most resident memory that a process has had since its start (``VmHWM``)."""
    return _memory_bytes(pid, "VmHWM")


def _memory_bytes(pid: int | None, field: str) -> int | None:
    for line in (_read(pid, "status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def cpu_share(pid: int, seconds: float) -> float | None:
    """Watch a process for ``seconds``; return its share of one core, in percent."""
    started, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    after, took = cpu_seconds(pid), time.monotonic() - started
    return None if before is None or after is None else 100 * (after - before) / took


def _read(pid: int | None, name: str) -> str | None:
    if pid is None:
        return None
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
