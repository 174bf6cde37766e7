"""Anonymous records: those of a producer without an identity, or in batches that no worker writes.

In a file of its own, which is not compiled: mypyc makes no class of a named tuple's class.
"""

from .log import Record


class Anonymous(Record):
    """A record that no worker wrote, as its batch shows: see ``Log.open_reader``."""

    __slots__ = ()
