"""Makes the environment in ``.venv`` from the lock, and says what it is doing.

    python3 tools/dev/environment.py .venv requirements/dev.txt [--clear] [--pip 23.2]

``make`` runs it when the locks have changed; it needs nothing but Python and its own pip. The locks
name every package, so pip resolves nothing (``--no-deps``).
"""

import argparse
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

INTERRUPTED = 130
SHOWN_EVERY = 25
_TAIL_LINES = 6
_DISK = "the disk is full: make room (about 700 MB), then run the same command again"
_INDEX = (
    "the package index can't be reached: is there a network? A proxy is named in HTTPS_PROXY, an "
    "index of your own in PIP_INDEX_URL; then run the same command again"
)
_UNTRUSTED = "the package index has a certificate that is not trusted: name its authority, PIP_CERT"
_LACKS = "the package index lacks a version that is needed: is it a mirror that is behind?"
_OTHER = "a package is not the one that was locked: a proxy changes it, or a download broke"
_RIGHTS = "this user may not write there: who made the folder .venv?"
_VENV = "this Python has no venv with pip: on Debian and Ubuntu, apt install python3-venv"
_CAUSES = {
    r"No space left on device|Errno 28\b|Disk quota exceeded": _DISK,
    r"CERTIFICATE_VERIFY_FAILED|SSLError": _UNTRUSTED,
    r"NewConnectionError|Timeout|NameResolution|name resolution|Connection refused": _INDEX,
    # pip retries silently, and then has seen no version at all.
    r"Network is unreachable|Max retries|ProxyError|timed out|from versions: none": _INDEX,
    r"No matching distribution|Could not find a version": _LACKS,
    r"DO NOT MATCH THE HASHES|hashes are required": _OTHER,
    r"Permission denied|Errno 13\b": _RIGHTS,
    r"ensurepip is not available|No module named '?(venv|ensurepip)": _VENV,
}
"""What an installer says, and what that means for whoever reads it; the first that fits is told."""


class EnvironmentFailedError(Exception):
    """The environment can't be made; the message says why, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/dev/environment.py", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--clear", action="store_true", help="make it anew")
    parser.add_argument("--pip", help="the version of pip that installs, for trials")
    given = parser.parse_args(arguments)
    try:
        make(given.folder, given.lock, clear=given.clear, pip=given.pip)
    except KeyboardInterrupt:
        say("Stopped by Ctrl-C; the same command goes on from here")
        return INTERRUPTED
    except EnvironmentFailedError as error:
        say(f"Error: {error}")
        return 1
    return 0


def make(folder: Path, lock: Path, *, clear: bool, pip: str | None) -> None:
    """Make it; raises ``EnvironmentFailedError``."""
    began = time.monotonic()
    python = ".".join(map(str, sys.version_info[:3]))
    packages = lock.read_text(encoding="utf-8").count("==")
    say(f"Making the environment in {folder} with Python {python}; later runs need none of this")
    step("its folder", [sys.executable, "-m", "venv", *(["--clear"] if clear else []), str(folder)])
    install = [str(folder / "bin" / "python"), "-m", "pip", "install"]
    install += ["--disable-pip-version-check", "--no-input"]
    if pip is not None:
        step(f"pip {pip}", [*install, f"pip=={pip}"])
    locked = [*install, "--no-deps", "--require-hashes", "-r", str(lock)]
    step(f"{packages} packages (downloads what is not in pip's cache)", locked, packages)
    step("this project", [*install, "--no-deps", "--no-build-isolation", "-e", "."])
    say(f"The environment is ready ({time.monotonic() - began:.0f} s)")


def step(what: str, command: Sequence[str], packages: int = 0) -> None:
    """Run one command, with its progress and its time; raises ``EnvironmentFailedError``."""
    say(f"  {what} ...")
    began = time.monotonic()
    tail: deque[str] = deque(maxlen=200)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in progress(process.stdout or (), tail, packages):
            say(f"    {line}")
    if process.returncode != 0:
        raise EnvironmentFailedError(explained(what, list(tail)))
    say(f"  {what.partition(' (')[0]}: done ({time.monotonic() - began:.0f} s)")


def progress(output: Iterable[str], tail: deque[str], packages: int) -> Iterator[str]:
    """Yield what is worth a line of what pip says; keep its last lines in ``tail``."""
    collected = 0
    for line in output:
        tail.append(line.rstrip())
        if line.startswith("Collecting "):
            collected += 1
            if collected % SHOWN_EVERY == 0:
                yield f"{collected} of {packages} are here"
        elif packages and line.startswith("Installing collected packages"):
            yield "all are here, and are unpacked"


def explained(what: str, lines: Sequence[str]) -> str:
    """Return what failed in one line with its likely cause, and the installer's own words."""
    said = "\n".join(lines)
    cause = next((told for found, told in _CAUSES.items() if re.search(found, said)), None)
    errors = [line for line in lines if "error" in line.lower() or "No space" in line]
    shown = "\n".join(f"    {line[:300]}" for line in (errors or lines)[-_TAIL_LINES:])
    return f"{what.partition(' (')[0]} can't be installed: {cause or 'see its words'}\n{shown}"


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
