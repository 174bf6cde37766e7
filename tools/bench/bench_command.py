"""The command line of every benchmark: its options, its report, and how it ends.

Each command names its options with their defaults; ``--quick`` takes the smallest useful values.
Markdown goes to standard output and, with ``--write``, into a document; progress to standard error.
"""

import argparse
import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from exactstage.errors import FailStop
from payments.topics.cluster import TopicsError
from tools.bench.measured_build import choose_build, version
from tools.dev.errors import BrokerError, ToolError
from tools.dev.markdown import with_figures

INTERRUPTED = 130
FAILURES = (ToolError, BrokerError, FailStop, KafkaError, KafkaException, OSError, TopicsError)
"""What ends a command with one line."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. The type of its default says how it is read: a list is one or more numbers."""

    default: Any
    help: str = ""
    quick: Any = None
    """Its value with ``--quick``, where that differs."""

    least: int = 1
    """Smallest whole number that it takes."""

    choices: Sequence[str] = ()
    """Of a text, or of each in a list."""


PURE = Option(default=False, help="measure the checkout, also when .compiled is there")


@dataclass(frozen=True, slots=True)
class Report:
    """What a command has measured, in Markdown, and on which broker."""

    text: str
    broker: str | None = None
    """None: the text says itself on what was measured."""

    ok: bool = True
    """Whether all that was asked of the system was answered as it should be."""


@dataclass(frozen=True, slots=True)
class Command:
    """A benchmark: ``module`` is how Python calls it, ``doc`` says what it measures."""

    module: str
    doc: str | None
    options: Mapping[str, Option]
    marker: str | None = None
    """Of the block that ``--write`` replaces in a document; None where no document has one."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read the command line; ends the program when it is not understood."""
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.module}",
            description=self.doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, option in self.options.items():
            parser.add_argument(f"--{name}", default=option.default, **_reading(option))
        parser.add_argument("--quick", action="store_true", help="a few seconds, only to try it")
        parser.set_defaults(write=None)
        if self.marker is not None:
            parser.add_argument(
                "--write", type=Path, metavar="FILE", help="a document to put it in"
            )
        given = parser.parse_args(arguments)
        if given.quick:
            if given.write is not None:
                parser.error("--write is for the figures of a whole run, not of --quick")
            quick = {
                name.replace("-", "_"): option.quick
                for name, option in self.options.items()
                if option.quick is not None
            }
            parser.set_defaults(**quick)
            given = parser.parse_args(arguments)
        return given

    def run(self, measure: Callable[[argparse.Namespace], Report]) -> NoReturn:
        """Measure what the command line asks for, and end the program."""
        # SIGTERM ends it like Ctrl-C: what was started is stopped on the way out.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        given = self.parse(sys.argv[1:])
        try:
            sys.exit(self._run(measure, given))
        except FAILURES as error:
            sys.exit(f"Error: {error}")
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def _run(
        self, measure: Callable[[argparse.Namespace], Report], given: argparse.Namespace
    ) -> int:
        marker, document = self.marker or "", given.write
        if document is not None:
            # Found out before the long run, not after it.
            with_figures(document.read_text(), "", marker)
        if "pure" in self.options:
            choose_build(pure=given.pure)
        report = measure(given)
        text = report.text
        if report.broker is not None:
            command = f"python -m {self.module} {shlex.join(sys.argv[1:])}".strip()
            text = f"`{command}`, {environment(report.broker)}.\n\n{text}"
        print(text)
        if document is not None:
            document.write_text(with_figures(document.read_text(), text, marker))
        return 0 if report.ok else 1


def _reading(option: Option) -> dict[str, Any]:
    """Return the arguments with which argparse reads an option."""
    default, shown = option.default, f"{option.help} (%(default)s)".strip()
    if isinstance(default, bool):
        return {"action": "store_true", "help": option.help}
    if option.choices:
        many = {"nargs": "+"} if isinstance(default, list) else {}
        return {"choices": option.choices, "help": shown, **many}
    if isinstance(default, (int, list)):
        many = {"nargs": "+"} if isinstance(default, list) else {}
        return {"type": whole(option.least), "metavar": "N", "help": shown, **many}
    if isinstance(default, float):
        return {"type": positive, "metavar": "X", "help": shown}
    return {"type": Path, "metavar": "PATH", "help": option.help}


def whole(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``least`` on."""

    def read(text: str) -> int:
        found = int(text)
        if found < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return found

    return read


def positive(text: str) -> float:
    """Read a number over 0; raises ``argparse.ArgumentTypeError``."""
    found = float(text)
    if not found > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return found


def environment(broker: str) -> str:
    """Return one phrase: when, on how many cores, what, with which Python and ``broker``."""
    today = datetime.now(UTC).date().isoformat()
    return f"{today}, {cores()} cores, {version()}, Python {platform.python_version()}, {broker}"


def cores() -> int | None:
    """Return how many cores this process may use."""
    # Where only some cores may be used (a container, taskset), those count; only Linux tells.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def say(text: str) -> None:
    """Show progress: on standard error, since the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)
