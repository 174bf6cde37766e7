"""The engine inside a Faust worker.

Faust hosts: app, worker, group membership and co-partitioned assignment, agents, channels, tables
to read, command line, web. What must be exact and fast is the engine's: what is read, what is
written, in which order, and what is restored (DESIGN section 3).
"""

from .app import EngineApp

__all__ = ["EngineApp"]
