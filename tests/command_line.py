"""Runs the command line in this process, alike with every version of click that is allowed.

Up to click 8.1 its ``CliRunner`` mixes standard output and standard error unless an argument says
no; from 8.2 on it always keeps them apart, and the argument is gone.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from payments.cli import main

_APART: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that it printed, for what must be nowhere in it."""
        return self.stdout + self.stderr


def run(
    *arguments: str,
    environment: Mapping[str, str | None] | None = None,
    stdin: bytes | None = None,
    color: bool = False,
) -> Ended:
    """Run the command line as a user would; ``color`` as on a terminal.

    A variable of ``environment`` without a value is absent.
    """
    result = CliRunner(**_APART).invoke(
        main, arguments, input=stdin, env=environment, color=color, prog_name="payments"
    )
    return Ended(result.exit_code, result.stdout, result.stderr)
