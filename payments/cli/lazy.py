"""A group whose commands are imported when they are called, not for the group's own help."""

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command is, as ``module:object``, and its line in the list of commands."""

    target: str
    summary: str

    @property
    def module(self) -> str:
        """The module part of the target."""
        return self.target.partition(":")[0]

    def load(self) -> click.Command:
        """Import the command."""
        module, _, name = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def is_there(self) -> bool:
        """Return whether its module exists, without importing it."""
        parent = self.module.rpartition(".")[0]
        return (
            importlib.util.find_spec(parent) is not None
            and importlib.util.find_spec(self.module) is not None
        )


class NoCommandError(click.UsageError):
    """A group was called without a command: its help on standard error, and exit code 2.

    So does click from 8.2 on; before that it was the help on standard output, and exit code 0.
    """

    def __init__(self, context: click.Context) -> None:
        super().__init__(context.get_help(), context)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the help, without a second line of usage."""
        click.echo(self.message, file=file, err=True)


class Group(click.Group):
    """A group that answers a misspelt command with the most similar one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; raises ``NoCommandError`` where there are none."""
        if not args and not ctx.resilient_parsing:
            raise NoCommandError(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of these arguments; a misspelt one fails, naming similar ones."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            like = difflib.get_close_matches(name, self.list_commands(ctx))
            hint = f" Did you mean {' or '.join(like)}?" if like else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are in a table; a command whose module is absent is not listed."""

    table: Mapping[str, Lazy] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return [name for name, lazy in self.table.items() if lazy.is_there()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        return self.table[cmd_name].load() if cmd_name in self.list_commands(ctx) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.table[name].summary) for name in self.list_commands(ctx)]
            )
