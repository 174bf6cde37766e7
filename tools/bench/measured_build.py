"""The build that is measured: what users install, if ``make compiled`` made it, or the checkout."""

import os
import sys

from tools.dev import compiled
from tools.dev.child_process import PAYMENTS, output_of
from tools.dev.errors import ToolError

VERSION_LIMIT_SECONDS = 30.0


def choose_build(*, pure: bool) -> None:
    """Let all processes started from now on run the compiled build, where it is there and current.

    ``pure`` leaves them with the checkout. Raises ``ToolError`` when they don't run what they
    should.
    """
    if pure:
        return
    if not compiled.is_current():
        missing = f"{compiled.FOLDER.name} is not there or out of date (make compiled): pure Python"
        print(missing, file=sys.stderr, flush=True)
        return
    os.environ.update(compiled.environment())
    if not (found := version()).endswith("(compiled)"):
        raise ToolError(f"a process with the compiled build calls itself {found}")


def version() -> str:
    """Return what the measured processes call themselves, for example ``payments 1.0 (compiled)``.

    It is asked of a process started like them.
    """
    said = output_of("payments --version", [*PAYMENTS, "--version"], VERSION_LIMIT_SECONDS)
    return said.strip().replace(", version", "")
