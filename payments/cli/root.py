"""The table of the commands, and the group that they are in."""

from functools import partial
from typing import Any

import click

from payments import __version__
from payments.cli.ending import end
from payments.cli.lazy import Lazy, LazyGroup
from payments.cli.output import lost_pipe
from payments.process.build import is_compiled

COMMANDS = {
    "make": Lazy("payments.cli.payment:make", "Take money from an account."),
    "deposit": Lazy("payments.cli.payment:deposit", "Put money on an account."),
    "authorize": Lazy(
        "payments.cli.payment:authorize", "Hold money on an account, to be captured later."
    ),
    "capture": Lazy("payments.cli.payment:capture", "Take money that an authorize holds."),
    "void": Lazy("payments.cli.payment:void", "Release what an authorize holds."),
    "refund": Lazy("payments.cli.payment:refund", "Give back what a payment took."),
    "cancel": Lazy("payments.cli.payment:cancel", "Prevent a payment, or undo it."),
    "get": Lazy("payments.cli.payment:get", "Ask for the state of a payment."),
    "watch": Lazy("payments.cli.payment:watch", "Print the results of a payment as they come."),
    "trace": Lazy(
        "payments.cli.trace:trace",
        "Print each record of a payment's life, in order, with its address and its time.",
    ),
    "account": Lazy(
        "payments.cli.account:account",
        "Show an account, open, freeze, unfreeze or close it, or set its credit limit.",
    ),
    "worker": Lazy("payments.cli.worker:worker", "Run one worker until SIGTERM or Ctrl-C."),
    "health": Lazy(
        "payments.cli.worker:health",
        "Exit with 0 if the worker of this host is ready, with 1 if not.",
    ),
    "gateway": Lazy(
        "payments.cli.gateway:gateway", "Serve payments over HTTP until SIGTERM or Ctrl-C."
    ),
    "doctor": Lazy(
        "payments.cli.doctor:doctor",
        "Examine everything that a worker's start depends on, and change nothing.",
    ),
    "topics": Lazy("payments.cli.topics:topics", "Plan, apply or check the topics of topics.yaml."),
    "dead-letters": Lazy(
        "payments.cli.dead_letters:dead_letters", "List, show or replay what was dead-lettered."
    ),
    "journal": Lazy(
        "payments.cli.journal:journal",
        "Inspect the journals, and skip or repair records at which a worker stops.",
    ),
    "rebuild": Lazy(
        "payments.cli.rebuild:rebuild",
        "Rebuild lost or broken journals: a dry run unless --yes is given.",
    ),
    "repartition": Lazy(
        "payments.cli.repartition:repartition",
        "Copy an installation to topics with another number of partitions",
    ),
    "verify": Lazy(
        "payments.cli.verify:verify", "Prove from the topics that every guarantee holds."
    ),
    "asyncapi": Lazy(
        "payments.cli.describe:asyncapi", "Print the topics as an AsyncAPI 3 document."
    ),
    "schema": Lazy(
        "payments.cli.describe:schema", "Print the JSON Schema (2020-12) of a kind of record."
    ),
}
"""A command is added by one line here; a command whose module is absent is not listed."""


class _Commands(LazyGroup):
    table = COMMANDS

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments, which may print the help; see ``lost_pipe``."""
        with lost_pipe():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see ``lost_pipe``."""
        with lost_pipe():
            return super().invoke(ctx)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command, and end the process as docs/cli.md says (``ending``)."""
        command = partial(super().main, *args, standalone_mode=False, **extra)
        return end(command) if standalone_mode else command()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables PAYMENTS_*, for example "
    "PAYMENTS_BROKERS=localhost:9092. The README lists them; docs/cli.md has the exit codes and "
    "says how the shell completes commands.",
)
@click.version_option(
    f"{__version__} ({'compiled' if is_compiled() else 'pure Python'})", prog_name="payments"
)
def main() -> None:
    """Process payments on Kafka: exactly once, whatever is killed.

    \b
    First the topics, then any number of workers, then payments:
      payments topics apply
      payments worker
      payments make pay-1 --account abc --amount 19.99
    """
