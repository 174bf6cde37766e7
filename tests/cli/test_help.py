"""Help: quick, with an example for each command, and the same as the documents say."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from payments import __version__
from payments.cli import main, root
from payments.cli.exit_codes import EXIT_CODES
from payments.cli.lazy import Lazy
from tools.dev.cli_reference import every_command

from .conftest import run

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = {" ".join(path): command for path, command in every_command()}
HEAVY = ("faust", "aiokafka", "pydantic", "yaml", "payments.client", "exactstage.engine")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    shown = run(*name.split(), "--help")
    assert shown.exit_code == 0
    assert f"\n    payments {name}" in shown.stdout
    assert "Example" in shown.stdout


GROUPS = ["", *(name for name, command in COMMANDS.items() if isinstance(command, click.Group))]


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_without_a_command_is_a_usage_error_with_its_help(name: str) -> None:
    """So a script that leaves the command out does not go on; the same with every click."""
    shown = run(*name.split())
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == run(*name.split(), "--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_lists_every_command(name: str) -> None:
    if not isinstance(COMMANDS[name], click.Group):
        assert f"| `payments {name}" in DOCUMENT


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_the_list_of_commands_says_what_their_help_says(name: str) -> None:
    first = (COMMANDS[name].help or "").partition("\n\n")[0]
    words = " ".join(first.split()).rstrip(".")
    assert words.startswith(root.COMMANDS[name].summary.rstrip("."))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["make", "--help"], ["worker", "--help"], ["topics", "--help"]],
)
def test_help_loads_neither_faust_nor_a_client(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom payments.cli import main\n"
        f"try: main({arguments!r})\n"
        f"except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_the_version_says_whether_the_package_is_compiled() -> None:
    wanted = "compiled" if os.environ.get("PAYMENTS_COMPILED") == "1" else "pure Python"
    assert run("--version").stdout == f"payments, version {__version__} ({wanted})\n"


def test_a_payment_command_never_loads_faust() -> None:
    code = (
        "import os, sys\nfrom payments.cli import main\n"
        "os.environ['PAYMENTS_BROKERS'] = '127.0.0.1:1'\n"
        "try: main(['make', 'p', '--account', 'a', '--amount-minor', '1', '--deadline', '0.2'])\n"
        "except SystemExit as end: print(end.code)\n"
        "print([m for m in ('faust', 'aiokafka') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["69", "['aiokafka']"]


@pytest.mark.parametrize("target", ["payments.nowhere.command:x", "payments.cli.nowhere:x"])
def test_a_command_whose_module_is_absent_is_neither_listed_nor_found(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setitem(root.COMMANDS, "absent", Lazy(target, "Nothing."))
    assert "absent" not in run("--help").stdout
    failed = run("absent")
    assert failed.exit_code == 2
    assert "No such command 'absent'" in failed.stderr


def test_a_new_command_needs_one_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    added = Lazy("payments.cli.worker:health", "Something else.")
    monkeypatch.setitem(root.COMMANDS, "added", added)
    assert "added         Something else." in run("--help").stdout
    assert run("added", "--help").stdout.startswith("Usage: payments added ")


def test_the_shell_completes_commands_and_choices() -> None:
    def complete(words: str) -> list[str]:
        shown = run(
            _PAYMENTS_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split(" ")) - 1),
        )
        return shown.stdout.splitlines()

    assert complete("payments de") == ["plain,deposit", "plain,dead-letters"]
    assert complete("payments dead-letters re") == ["plain,replay"]
    assert complete("payments schema e") == ["plain,entry", "plain,event-headers"]


def test_the_exit_codes_are_those_that_the_commands_use() -> None:
    assert list(EXIT_CODES) == [0, 1, 2, 3, 69, 70, 74, 75, 130]
