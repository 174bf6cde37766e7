"""Processes: whether the process that wrote a file still runs, in this or another container.

The pid alone does not identify it: the next process of a container has the same one. Its start
time does, together with the boot id and the pid namespace.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19
"""Fields of ``/proc/PID/stat`` after the name (proc(5): 3 and 22)."""

_DEAD = frozenset("ZX")


class Process(NamedTuple):
    """One process. Fields that the system does not have (macOS has no ``/proc``) are empty."""

    pid: int
    started: str
    """Clock ticks from the boot to its start."""

    boot: str
    namespace: str

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> "Process":
        """Return the process of ``_asdict``. Raises ``KeyError`` and ``ValueError`` without one."""
        pid, texts = fields["pid"], [str(fields[name]) for name in cls._fields[1:]]
        if not isinstance(pid, int) or pid <= 0:
            message = f"no process has the number {pid!r}"
            raise ValueError(message)
        return cls(pid, *texts)


def this_process() -> Process:
    """Return the identity of this process."""
    pid = os.getpid()
    return Process(pid, _started(pid), _boot(), _namespace())


def has_ended(process: Process) -> bool:
    """Whether a process has surely ended; False where that can't be seen from here."""
    if (process.boot, process.namespace) != (_boot(), _namespace()):
        return False  # Of another container or machine: its pid means nothing here.
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # Another user's.
    found = _stat(process.pid)
    if not found:
        return False
    return found[_STATE] in _DEAD or (bool(process.started) and found[_STARTED] != process.started)


def container_started() -> float | None:
    """Return when the first process of this container (or machine) began, in seconds since 1970."""
    try:
        lines = (_PROC / "stat").read_text().splitlines()
        [boot] = [line.split()[1] for line in lines if line.startswith("btime ")]
        return int(boot) + int(_started(1)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _started(pid: int) -> str:
    found = _stat(pid)
    return found[_STARTED] if found else ""


def _stat(pid: int) -> list[str]:
    try:
        # The name before these fields is in brackets and may contain brackets itself.
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""
