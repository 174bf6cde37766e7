"""A process that outlives the program that started it, found again by a checked pid file."""

import os
import signal
import subprocess
import time
from pathlib import Path


class ProcessRecord:
    """Remembers one process in a pid file.

    A process id is used again after its process ended, so the number alone proves nothing: the
    process counts as ours only while its command line holds ``mark``.
    """

    def __init__(self, path: Path, mark: str) -> None:
        self._path = path
        self._mark = mark
        self._child: subprocess.Popen[bytes] | None = None

    def write(self, child: subprocess.Popen[bytes]) -> None:
        """Remember a process that was just started."""
        self._child = child
        self._path.write_text(f"{child.pid}\n")

    def pid(self) -> int | None:
        """Return the process id while the process runs, else None."""
        if self._child is not None:
            if self._child.poll() is None:
                return self._child.pid
            self._child = None
        try:
            pid = int(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._mark in _command_line(pid) else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended already is left alone."""
        pid = self.pid()
        if pid is None:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            # It ended between the two lines above: what the caller wants is so already.
            return

    def wait_for_end(self, limit_seconds: float) -> bool:
        """Wait until the process is gone; tell whether it is."""
        deadline = time.monotonic() + limit_seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self._path.unlink(missing_ok=True)
        return True


def _command_line(pid: int) -> str:
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            # An ended process that nobody has waited for yet (a zombie) has an empty command line.
            return (proc / str(pid) / "cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return shown.stdout
