"""The broker that is measured on: one of its own for the run, or the one of PAYMENTS_BROKERS."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.dev.broker import kafka_version
from tools.dev.local_broker import KAFKA_FOLDER, LocalBroker


@dataclass(frozen=True, slots=True)
class MeasuredBroker:
    """Where the broker is, what it is, and its process where that is known."""

    bootstrap: str
    description: str
    pid: int | None
    data: Path | None = None
    """Where its topics lie, if that is known."""

    def log_files(self) -> list[Path]:
        """Return the files that its records are in; none, where they are is not known."""
        return [] if self.data is None else list(self.data.glob("*/*.log"))

    def written_bytes(self) -> int:
        """Return the bytes of all records that it keeps."""
        return sum(file.stat().st_size for file in self.log_files())


@contextmanager
def measured_broker(given_pid: int | None) -> Iterator[MeasuredBroker]:
    """Return the running broker; one that was started here ends with the block.

    ``given_pid`` is the process of the broker of PAYMENTS_BROKERS, where that is on this machine.
    """
    given = os.environ.get("PAYMENTS_BROKERS")
    if given:
        description = f"the broker of PAYMENTS_BROKERS ({given}), version not known"
        yield MeasuredBroker(given, description, given_pid)
        return
    with own_broker() as broker:
        yield broker


@contextmanager
def own_broker(extra: Mapping[str, str] | None = None) -> Iterator[MeasuredBroker]:
    """Start a broker of this run alone, with further server properties; it ends with the block."""
    # Beside the jars, not in the system's temporary folder: that is often in memory, where a flush
    # would cost nothing.
    KAFKA_FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=KAFKA_FOLDER) as folder:
        broker = LocalBroker(
            version=kafka_version(), folder=Path(folder), extra=extra, optimized=True
        )
        try:
            broker.start()
            description = f"Kafka {broker.version} on the same cores"
            yield MeasuredBroker(
                broker.bootstrap, description, broker.pid, broker.folder / "topics"
            )
        finally:
            broker.stop()
