"""How a public door imports what it exports: only when a name is asked for.

A door names everything that others may use of the engine. A program that uses one name of it must
not load all the rest: aiokafka for a command's ``--help``, Faust for a client.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def exports(door: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a door (PEP 562).

    ``places`` has the names that the door exports, by the module of this package that has them.
    """
    place_of = {name: module for module, names in places.items() for name in names}
    package = __name__.rpartition(".")[0]

    def attribute(name: str) -> object:
        if name not in place_of:
            raise AttributeError(f"module {door!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{place_of[name]}"), name)

    return attribute
