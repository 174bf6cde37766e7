"""Anonymous records: those of a producer without an identity.

In a file of its own, which is not compiled: mypyc makes no class of a named tuple's class.
"""

from .log import Record


class Anonymous(Record):
    """A record of a producer without an identity: not idempotent, so no worker of ours."""

    __slots__ = ()
