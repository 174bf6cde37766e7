"""The log in memory: a broker's rules (``partition``, ``coordinator``), and the engine's interface.

``MemoryLog`` is for tests: it answers every request at once. The simulator (``tools/simulator/``)
simulates a network with faults between the engine and the same partitions.
"""

from .coordinator import Concurrent, Coordinator
from .log import MemoryLog, MemoryReader
from .partition import MemoryPartition

__all__ = ["Concurrent", "Coordinator", "MemoryLog", "MemoryPartition", "MemoryReader"]
