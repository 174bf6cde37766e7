"""The catalogue: faults as they stand in ``patches/``, and how one is put into a source file.

A file of faults reads like a patch. ``=`` begins a fault with its name; then come the words that
say what it would do, the file after ``@``, and whole lines: ``-`` old, ``+`` new, and a space for
lines that stay. ``harmless:`` before the words makes them the argument why no test has to notice.
The old lines must be in the file exactly once, so that a fault that no longer fits is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.mutation.errors import FaultsError

PATCHES = Path(__file__).parent / "patches"
HARMLESS = "harmless: "


@dataclass
class Fault:
    """One deliberate fault: what it would do, and lines of a file that it replaces."""

    name: str
    words: list[str] = field(default_factory=list)
    file: str = ""
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    @property
    def why(self) -> str:
        """What the fault would do."""
        return " ".join(self.words).partition(HARMLESS)[0].strip()

    @property
    def harmless(self) -> str:
        """Why no test has to notice it; empty when one has to."""
        return " ".join(self.words).partition(HARMLESS)[2]

    def apply(self, source: str) -> str:
        """Return the source with the fault. Raises ``FaultsError`` unless it fits exactly once."""
        lines, size = source.split("\n"), len(self.old)
        places = [at for at in range(len(lines)) if lines[at : at + size] == self.old]
        if len(places) != 1:
            message = f"its old lines are {len(places)} times in {self.file}, not 1"
            raise FaultsError(f"{self.name}: {message}")
        lines[places[0] : places[0] + size] = self.new
        return "\n".join(lines)


def load(folder: Path = PATCHES) -> list[Fault]:
    """Return all faults. Raises ``FaultsError`` for a name that is there twice."""
    faults = [fault for file in sorted(folder.glob("*.diff")) for fault in parse(file.read_text())]
    names = [fault.name for fault in faults]
    if twice := {name for name in names if names.count(name) > 1}:
        raise FaultsError(f"named twice: {', '.join(sorted(twice))}")
    return faults


def parse(text: str) -> Iterator[Fault]:
    """Read the faults of one file. Raises ``FaultsError`` for one that is not complete."""
    for part in f"\n{text}".split("\n= ")[1:]:
        name, *lines = part.splitlines()
        fault = Fault(name)
        for line in lines:
            _read(line, fault)
        if not (fault.words and fault.file and fault.old) or fault.old == fault.new:
            raise FaultsError(f"{name}: needs words, a file, and lines that it changes")
        yield fault


def _read(line: str, fault: Fault) -> None:
    mark, rest = line[:1], line[1:]
    if not fault.file:
        if mark == "@":
            fault.file = rest.strip()
        elif line:
            fault.words.append(line)
        return
    if mark in "- ":
        fault.old.append(rest)
    if mark in "+ ":
        fault.new.append(rest)
    if mark and mark not in "-+ ":
        raise FaultsError(f"{fault.name}: what does {line!r} mean?")


def chosen(faults: Sequence[Fault], names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, or all when none is given."""
    known = {fault.name: fault for fault in faults}
    if strange := [name for name in names if name not in known]:
        raise FaultsError(f"there is no fault {', '.join(strange)}")
    return [known[name] for name in names] if names else list(faults)
