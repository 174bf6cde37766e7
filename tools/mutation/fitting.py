"""Fitting: finds the symbol that a fault names in a source tree, and makes the change in it.

The old lines are compared by their tokens: layout, comments and a comma before a closing bracket
do not count, nor does what is around the symbol. A symbol that has moved is found by its qualified
name, or else its own name, in another module. In all places the old tokens must be exactly once.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tools.mutation.catalogue import Fault
from tools.mutation.errors import MisfitError

PACKAGES = ("exactstage", "payments")
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*|\\\n)|(?:\b[rbfuRBFU]{1,2})?(?:\"{3}(?:\\.|[^\\])*?\"{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\w+|\S""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = frozenset(")]}")


class _Token(NamedTuple):
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Mutant:
    """A file with a fault in it."""

    file: str
    """From the root of the tree."""

    source: str


class Module:
    """One source file and the symbols in it."""

    def __init__(self, root: Path, path: Path) -> None:
        self.file = path.relative_to(root).as_posix()
        self.source = path.read_text()
        self._lines = self.source.split("\n")

    @cached_property
    def symbols(self) -> list[tuple[str, range]]:
        """Qualified names and their line indexes; a name may be there several times."""
        return list(_symbols(ast.parse(self.source)))

    def mutants(self, fault: Fault, lines: range) -> Iterator[Mutant]:
        """Yield the module with the fault, for each place in these lines where it fits."""
        base = sum(len(line) + 1 for line in self._lines[: lines.start])
        text = "\n".join(self._lines[lines.start : lines.stop])
        old, new = list(fault.old), list(fault.new)
        if new and old[-1].endswith(",") and new[-1].endswith(","):
            old[-1], new[-1] = old[-1][:-1], new[-1][:-1]
        wanted = [token.text for token in _tokens("\n".join(old))]
        found = _tokens(text)
        texts = [token.text for token in found]
        for at in range(len(found) - len(wanted) + 1):
            if texts[at : at + len(wanted)] == wanted:
                start = base + found[at].start
                end = base + found[at + len(wanted) - 1].end
                yield Mutant(self.file, _replaced(self.source, start, end, old, new))


def _symbols(
    node: ast.AST, prefix: str = "", *, in_function: bool = False
) -> Iterator[tuple[str, range]]:
    """Yield functions, classes, and what is assigned outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
            yield prefix + child.name, range(first - 1, child.end_lineno or first)
            is_class = isinstance(child, ast.ClassDef)
            yield from _symbols(child, f"{prefix}{child.name}.", in_function=not is_class)
        elif isinstance(child, ast.stmt):
            if not in_function:
                lines = range(child.lineno - 1, child.end_lineno or child.lineno)
                yield from ((prefix + name, lines) for name in _assigned(child))
            yield from _symbols(child, prefix, in_function=in_function)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            each = target.elts if isinstance(target, ast.Tuple) else [target]
            yield from (node.id for node in each if isinstance(node, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id


def _tokens(text: str) -> list[_Token]:
    found = [
        _Token(match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match["comment"] is None
    ]
    pairs = zip(found, [*found[1:], None], strict=True)
    return [t for t, after in pairs if not (t.text == "," and after and after.text in _CLOSING)]


def _replaced(source: str, start: int, end: int, old: Sequence[str], new: Sequence[str]) -> str:
    """Return the source with the new lines, indented as the old ones are there."""
    line_start = source.rfind("\n", 0, start) + 1
    before = source[line_start:start]
    margin = len(before) - len(before.lstrip()) - _indent(old[0])
    lines = [" " * (margin + _indent(line)) + line.lstrip() if line else "" for line in new]
    if before.strip():  # The change begins within a line.
        return source[:start] + "\n".join(lines).lstrip() + source[end:]
    return source[:line_start] + "\n".join(lines) + source[end:]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class SourceTree:
    """The packages below a folder, and the faults put into them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, Module] = {}

    def mutant(self, fault: Fault) -> Mutant:
        """Return the changed file. Raises ``MisfitError`` unless the fault fits exactly once."""
        own = fault.symbol.rpartition(".")[2]
        places = (
            self._places([self._root / f"{fault.module.replace('.', '/')}.py"], fault.symbol)
            or self._places(self._files(), fault.symbol)
            or self._places(self._files(), own, is_own_name=True)
        )
        if not places:
            raise MisfitError(f"{fault.name}: there is no {fault.place}, and no other {own}")
        found = [mutant for module, lines in places for mutant in module.mutants(fault, lines)]
        if len(found) != 1:
            where = ", ".join(sorted({module.file for module, _ in places}))
            message = f"its old lines are {len(found)} times in {fault.symbol} of {where}, not 1"
            raise MisfitError(f"{fault.name}: {message}")
        return found[0]

    def _files(self) -> Iterator[Path]:
        for package in PACKAGES:
            yield from sorted((self._root / package).rglob("*.py"))

    def _places(
        self, files: Iterable[Path], symbol: str, *, is_own_name: bool = False
    ) -> list[tuple[Module, range]]:
        found = []
        for file in filter(Path.exists, files):
            if file not in self._known:
                self._known[file] = Module(self._root, file)
            module = self._known[file]
            for name, lines in module.symbols:
                if (name.rpartition(".")[2] if is_own_name else name) == symbol:
                    found.append((module, lines))
        return found
