"""The tables of docs/cli.md, drawn from the code: the commands, and their exit codes."""

from collections.abc import Iterator

import click

from payments.cli import main
from payments.cli.exit_codes import EXIT_CODES


def every_command(
    group: click.Group = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command with its path, groups before what is in them."""
    context = click.Context(group, info_name=" ".join(("payments", *path)))
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            message = f"{name} is listed, but not found"
            raise LookupError(message)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


def commands() -> str:
    """Return the Markdown table of the commands."""
    rows = [["command", "what it does"], ["---"] * 2]
    for path, command in every_command():
        if isinstance(command, click.Group):
            continue
        context = click.Context(command, info_name=" ".join(("payments", *path)))
        arguments = [part for part in command.collect_usage_pieces(context) if part != "[OPTIONS]"]
        usage = " ".join(("payments", *path, *arguments)).replace("|", "\\|")
        summary = (command.help or "").partition("\n\n")[0]
        rows.append([f"`{usage}`", " ".join(summary.split()).replace("|", "\\|")])
    return _table(rows)


def exit_codes() -> str:
    """Return the Markdown table of the exit codes."""
    rows = [["exit code", "meaning"], ["---"] * 2]
    return _table(rows + [[str(code), meaning] for code, meaning in EXIT_CODES.items()])


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
