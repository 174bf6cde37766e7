"""The build that is measured: what users install, if ``make compiled`` made it, or the checkout."""

import os
import subprocess

from tools.bench.errors import BenchError
from tools.bench.measuring import say
from tools.bench.worker import PAYMENTS
from tools.dev import compiled

VERSION_LIMIT_SECONDS = 30.0


def choose_build(*, pure: bool) -> None:
    """Let all processes started from now on run the compiled build, where it is there and current.

    ``pure`` leaves them with the checkout. Raises ``BenchError`` when they don't run what they
    should.
    """
    if pure:
        return
    if not compiled.is_current():
        say(f"{compiled.FOLDER.name} is not there or out of date (make compiled): pure Python")
        return
    os.environ.update(compiled.environment())
    if not (found := version()).endswith("(compiled)"):
        raise BenchError(f"a process with the compiled build calls itself {found}")


def version() -> str:
    """Return what the measured processes call themselves, for example ``payments 1.0 (compiled)``.

    It is asked of a process started like them.
    """
    try:
        done = subprocess.run(
            [*PAYMENTS, "--version"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=VERSION_LIMIT_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the version can't be had: {error}") from error
    return done.stdout.strip().replace(", version", "")
