"""The engine inside a Faust worker.

Faust provides app, worker, group membership and co-partitioned assignment, agents, channels,
read-only tables, command line, web. The engine does what must be exact and fast: reading, writing,
their order, and restoring (docs/design.md 3).
"""

from .app import EngineApp

__all__ = ["EngineApp"]
