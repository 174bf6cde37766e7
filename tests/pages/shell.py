"""A shell as a reader has it in a second terminal: variables stay for the next command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from .reading import Command

STILL_RUNNING = 124
"""Exit code of ``timeout`` when the command was still there."""


class Shell:
    """One bash in a folder of its own, with ``payments`` of this environment on its path."""

    def __init__(self, folder: Path, replaced: dict[str, str], environment: dict[str, str]) -> None:
        self._replaced = replaced
        self._out, self._err = folder / ".out", folder / ".err"
        home = folder / ".home"
        self._for_status = home / "status"
        self._for_status.mkdir(parents=True)
        (self._for_status / ".curlrc").write_text('silent\nwrite-out = "%{stderr}%{http_code}"\n')
        bin_folder = Path(sys.executable).parent
        others = {k: v for k, v in os.environ.items() if not k.startswith("PAYMENTS_")}
        others["PATH"] = f"{bin_folder}{os.pathsep}{others['PATH']}"
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=others | environment | {"HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, command: Command, stays_seconds: int) -> tuple[int, str, str]:
        """Run a command; return exit code, standard output and standard error.

        One that runs until Ctrl-C gets it after ``stays_seconds``.

        Of a ``console`` command both come in the first text, as on a terminal. Of others, curl
        writes the status alone to standard error.
        """
        text = command.text
        for name, actual in self._replaced.items():
            text = text.replace(name, actual)
        if command.stays:
            text = f"timeout --signal=INT {stays_seconds} {text}"
        shows = command.output is not None
        errors = "&1" if shows else self._err
        curl = "unset CURL_HOME" if shows else f"export CURL_HOME={self._for_status}"
        self._err.write_text("")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            f"{curl}; {{ {text}\n}} >{self._out} 2>{errors} </dev/null; echo $?\n"
        )
        self._process.stdin.flush()
        code = self._process.stdout.readline()
        assert code, f"{command.place}: the shell has ended: {self._err.read_text()}"
        return int(code), self._out.read_text(), self._err.read_text()

    def close(self) -> None:
        """End it, and whatever it runs."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # Its last command ended it.
            return
        finally:
            self._process.communicate()
