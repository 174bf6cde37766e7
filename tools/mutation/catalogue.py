"""The catalogue: the deliberate faults of ``faults/``, each with its reason and its symbol.

``=`` begins a fault with its name; then come the words that say what it would do, ``@`` with the
symbol as ``package.module:Class.function`` (or ``:CONSTANT``), and what changes in it: ``-`` old,
``+`` new, and a space for lines that stay. ``harmless:`` before the words makes them the argument
why no test has to notice. How a fault is put into a source is in ``fitting``.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.mutation.errors import FaultsError

FOLDER = Path(__file__).parent / "faults"
HARMLESS = "harmless: "


@dataclass
class Fault:
    """One deliberate fault: what it would do, and the lines of a symbol that it replaces."""

    name: str
    words: list[str] = field(default_factory=list)
    module: str = ""
    symbol: str = ""
    """Qualified name in the module: ``Class.function``."""

    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    written_at: str = ""
    """File of the catalogue and line, as ``FILE:LINE``."""

    @property
    def why(self) -> str:
        """What the fault would do."""
        return " ".join(self.words).partition(HARMLESS)[0].strip()

    @property
    def harmless(self) -> str:
        """Why no test has to notice it; empty when one has to."""
        return " ".join(self.words).partition(HARMLESS)[2]

    @property
    def place(self) -> str:
        """The symbol with its module."""
        return f"{self.module}:{self.symbol}"


def load(folder: Path = FOLDER) -> list[Fault]:
    """Return all faults. Raises ``FaultsError`` for a name that is there twice."""
    faults = [fault for file in sorted(folder.glob("*.txt")) for fault in read(file)]
    names = [fault.name for fault in faults]
    if twice := {name for name in names if names.count(name) > 1}:
        raise FaultsError(f"named twice: {', '.join(sorted(twice))}")
    return faults


def read(file: Path) -> Iterator[Fault]:
    """Read the faults of one file."""
    text = file.read_text()
    lines = text.split("\n")
    for fault in parse(text):
        fault.written_at = f"{file}:{lines.index(f'= {fault.name}') + 1}"
        yield fault


def parse(text: str) -> Iterator[Fault]:
    """Yield the faults of a text. Raises ``FaultsError`` for one that is not complete."""
    for part in f"\n{text}".split("\n= ")[1:]:
        name, *lines = part.rstrip().splitlines()
        fault, body = Fault(name), []
        for line in lines:
            if fault.module:
                body.append(line)
            elif line.startswith("@ "):
                fault.module, _, fault.symbol = line[2:].strip().partition(":")
            elif line:
                fault.words.append(line)
        _read_change(fault, body)
        if not (fault.words and fault.symbol and fault.old) or fault.old == fault.new:
            raise FaultsError(f"{name}: needs words, a symbol, and lines that it changes")
        yield fault


def _read_change(fault: Fault, body: Sequence[str]) -> None:
    for line in body:
        if line[:1] not in {"-", "+", " ", ""}:
            raise FaultsError(f"{fault.name}: what does {line!r} mean?")
    # The old and the new lines have one margin: what is left of all of them.
    texts = textwrap.dedent("\n".join(line[1:] for line in body)).split("\n")
    for line, text in zip(body, texts, strict=True) if body else ():
        if line[:1] != "+":
            fault.old.append(text)
        if line[:1] != "-":
            fault.new.append(text)


def chosen(faults: Sequence[Fault], names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, or all when none is given."""
    known = {fault.name: fault for fault in faults}
    if strange := [name for name in names if name not in known]:
        raise FaultsError(f"there is no fault {', '.join(strange)}")
    return [known[name] for name in names] if names else list(faults)
