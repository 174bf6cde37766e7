"""A worker whose requests are counted: ``python -m tools.bench.counting FILE worker ...``.

Every request to a broker goes through one method of aiokafka's connection. The counts lie in FILE,
eight bytes for each kind of request (its API key), so that they can be read at any time.
"""

import mmap
import struct
import sys
from pathlib import Path
from typing import Any

from aiokafka.conn import AIOKafkaConnection

KINDS = 128
"""API keys are below this."""

PRODUCE, FETCH = 0, 1
_ALL = struct.Struct(f"<{KINDS}Q")


def read_counts(file: Path) -> tuple[int, ...]:
    """Return the requests so far, by API key."""
    counts: tuple[int, ...] = _ALL.unpack(file.read_bytes())
    return counts


def make_file(file: Path) -> None:
    """Make the file that a worker counts in."""
    file.write_bytes(bytes(_ALL.size))


def count_in(file: Path) -> None:
    """Count all requests that this process sends from now on."""
    with file.open("r+b") as opened:
        counts = memoryview(mmap.mmap(opened.fileno(), _ALL.size)).cast("Q")
    send = AIOKafkaConnection.send

    def counted(self: Any, request: Any, *rest: Any, **more: Any) -> Any:
        counts[request.API_KEY] += 1
        return send(self, request, *rest, **more)

    AIOKafkaConnection.send = counted


def main() -> None:
    """Run the command of the package, counted."""
    count_in(Path(sys.argv.pop(1)))
    from payments.cli import main as payments  # noqa: PLC0415 - what it imports is counted then

    payments(prog_name="payments")


if __name__ == "__main__":
    main()
