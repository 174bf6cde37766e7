"""Installing a peer on demand: what it was installed from is remembered, so it is done once."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.dev.errors import ToolError

SOURCES = Path(__file__).parent
ROOT = SOURCES.parents[2]
PEERS = ROOT / ".peers"
"""Ignored by git: installations, data while a system runs, results."""

_STAMP = "installed"


def installed(folder: Path, sources: Sequence[Path], *, mark: bool = False) -> bool:
    """Return whether ``folder`` was installed from these sources; ``mark`` notes that it was."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    stamp = folder / _STAMP
    if mark:
        stamp.write_text(digest.hexdigest())
    return stamp.exists() and stamp.read_text() == digest.hexdigest()


def required(program: str) -> str:
    """Return the path of a program; raise ``ToolError`` when it is missing."""
    found = shutil.which(program)
    if found is None:
        raise ToolError(
            f"{program} is not installed: this peer needs it (leave it out with --only)"
        )
    return found
