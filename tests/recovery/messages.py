"""The messages with which a process ends or refuses, collected from the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import payments

PACKAGE = Path(payments.__file__).parent
ROOT = PACKAGE.parent
ANYTHING = "…"
"""Stands for what a message gets only when it is raised."""


class Message(NamedTuple):
    """One message and where it is made."""

    place: str
    text: str


@cache
def _names() -> frozenset[str]:
    """Return the names of ``FailStop``, all its subclasses, and ``RecoveryRefused``."""
    found = {"FailStop", "RecoveryRefused"}
    bases = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    while more := {name for name, its in bases if its & found} - found:
        found |= more
    return frozenset(found)


def messages() -> list[Message]:
    """Return the message of every ``FailStop`` and ``RecoveryRefused`` that the package makes."""
    found: list[Message] = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.is_relative_to(PACKAGE / "engine" / "memory"):
            continue  # The log of tests.
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for scope in ast.walk(tree):
            if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found += _made_in(scope, str(file.relative_to(ROOT)))
    return found


def _made_in(scope: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> Iterator[Message]:
    assigned = sorted(
        (node.lineno, node.targets[0].id, id(node), node.value)
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    )
    for call in ast.walk(scope):
        if not (isinstance(call, ast.Call) and call.args and _called(call, file) in _names()):
            continue
        value: ast.expr = call.args[0]
        if isinstance(value, ast.Name):
            name = value.id
            values = [v for line, n, _, v in assigned if n == name and line < call.lineno]
            if values:
                value = values[-1]
        text = _text(value)
        if re.search(r"[a-z]{3}", text):
            yield Message(f"{file}:{call.lineno}", text)


def _called(call: ast.Call, file: str) -> str:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
        # super().__init__(message) of a subclass
        return "FailStop" if file == "payments/engine/errors.py" else ""
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _text(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value) if isinstance(value.value, str) else ""
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part) for part in value.values)
    if isinstance(value, ast.BinOp):
        return _text(value.left) + _text(value.right)
    return ANYTHING
