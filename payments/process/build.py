"""The build of this process: plain Python, or with its hot modules compiled (see setup.py)."""

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec


def is_compiled() -> bool:
    """Return whether the hot modules are compiled; setup.py compiles all of them or none."""
    spec = find_spec("exactstage.partitioner")
    assert spec is not None, "it is part of this package"
    return isinstance(spec.loader, ExtensionFileLoader)
