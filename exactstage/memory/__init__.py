"""The log in memory: a broker's rules (``partition``, ``coordinator``), and the engine's interface.

``MemoryLog`` carries out every request at once: for tests. The simulator (``tools/simulator/``)
puts a network with faults between the same partitions and the engine.
"""

from .coordinator import Concurrent, Coordinator
from .log import MemoryLog, MemoryReader
from .partition import MemoryPartition

__all__ = ["Concurrent", "Coordinator", "MemoryLog", "MemoryPartition", "MemoryReader"]
