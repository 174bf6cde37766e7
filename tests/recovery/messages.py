"""The messages with which a process ends or refuses, collected from the source."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import exactstage
import payments
from exactstage.advice import command, setting

FOLDERS = [Path(package.__file__ or "").parent for package in (exactstage, payments)]
ROOT = FOLDERS[0].parent
FILES = [file for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
ANYTHING = "…"
"""Stands for what a message gets only when it is raised."""

Names = Mapping[str, ast.expr]
"""What names stand for where a message is made: locals and constants of the module."""


class Message(NamedTuple):
    """One message and where it is made."""

    place: str
    text: str


@cache
def _names() -> frozenset[str]:
    """Return the names of ``FailStop`` and its subclasses, ``RecoveryRefused``, ``NoBroker``."""
    found = {"FailStop", "RecoveryRefused", "NoBroker"}
    bases = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    while more := {name for name, its in bases if its & found} - found:
        found |= more
    return frozenset(found)


def messages() -> list[Message]:
    """Return the message of every ``FailStop`` and ``RecoveryRefused`` that the package makes."""
    found: list[Message] = []
    for file in FILES:
        if file.is_relative_to(ROOT / "exactstage" / "memory"):
            continue  # The log of tests.
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = _assigned(tree.body)
        returned = _returned(tree)
        for scope in ast.walk(tree):
            if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found += _made_in(scope, str(file.relative_to(ROOT)), constants, returned)
    return list(dict.fromkeys(found))


class Assigned(NamedTuple):
    """What a name was given, and where."""

    line: int
    name: str
    value: ast.expr


def _assigned(nodes: Iterable[ast.AST]) -> list[Assigned]:
    found = [
        Assigned(node.lineno, node.targets[0].id, node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    return sorted(found, key=lambda each: each.line)


def _returned(tree: ast.Module) -> dict[str, list[ast.Return]]:
    """Return what each function or method of a file returns, by its name."""
    return {
        node.name: [each for each in ast.walk(node) if isinstance(each, ast.Return)]
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def _made_in(
    scope: ast.FunctionDef | ast.AsyncFunctionDef,
    file: str,
    constants: Sequence[Assigned],
    returned: Mapping[str, Sequence[ast.Return]],
) -> Iterator[Message]:
    assigned = _assigned(ast.walk(scope))
    for call in ast.walk(scope):
        if not (isinstance(call, ast.Call) and call.args and _called(call, file) in _names()):
            continue
        before = [each for each in assigned if each.line < call.lineno]
        names = {each.name: each.value for each in (*constants, *before)}
        for value in _values(call.args[0], names, returned):
            text = _text(value, names)
            if re.search(r"[a-z]{3}", text):
                yield Message(f"{file}:{call.lineno}", text)


def _values(
    value: ast.expr, names: Names, returned: Mapping[str, Sequence[ast.Return]]
) -> Iterator[ast.expr]:
    """Yield what an argument may be: what was assigned to a name, what a helper here returns."""
    if isinstance(value, ast.Name) and value.id in names:
        value = names[value.id]
    function = value.func if isinstance(value, ast.Call) else None
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in returned:
        yield from (each.value for each in returned[name] if each.value is not None)
    else:
        yield value


def _called(call: ast.Call, file: str) -> str:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
        # super().__init__(message) of a subclass
        return "FailStop" if file == "exactstage/errors.py" else ""
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _text(value: ast.expr, names: Names) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value) if isinstance(value.value, str) else ""
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part, names) for part in value.values)
    if isinstance(value, ast.FormattedValue):
        return _text(value.value, names)
    if isinstance(value, ast.BinOp):
        return _text(value.left, names) + _text(value.right, names)
    if isinstance(value, ast.Name) and value.id in names:
        # Once: a name may be made of its former self.
        return _text(names[value.id], {k: v for k, v in names.items() if k != value.id})
    return _advice(value) if isinstance(value, ast.Call) else ANYTHING


def _advice(call: ast.Call) -> str:
    """Return the name of a command or setting, as ``exactstage.advice`` gives it."""
    called = {"command": command, "setting": setting}
    if isinstance(call.func, ast.Name) and call.func.id in called:
        [given] = call.args
        if isinstance(given, ast.Constant):
            return called[call.func.id](str(given.value))
    return ANYTHING
