"""A Kafka broker as a Java process of this machine, for ``make run`` and the tests."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tools.dev import jars, ports
from tools.dev.errors import BrokerError
from tools.dev.process import ProcessRecord
from tools.dev.server_properties import (
    CLUSTER_ID,
    Listeners,
    Proxied,
    Quorum,
    properties_text,
    server_properties,
)

START_LIMIT_SECONDS = 120.0
STOP_LIMIT_SECONDS = 30.0
FORMAT_LIMIT_SECONDS = 60.0
LOG_TAIL_LINES = 15
LOG_LIMIT_BYTES = 10_000_000
ROOT = Path(__file__).resolve().parents[2]
LOGGING = Path(__file__).parent / "kafka"
KAFKA_FOLDER = ROOT / ".kafka"


class LocalBroker:
    """One broker: its folder holds configuration, data, log and the record of its process.

    ``port`` 0 picks a free one at the first start and keeps it for this object. ``extra`` are
    server properties. A second object on the same folder finds a broker that is still running.
    ``quorum`` makes it a node of a cluster, ``heap`` is Java's limit (``512m``; by default that of
    PAYMENTS_BROKER_HEAP or 1g). ``optimized`` lets Java compile what runs often as well as it can,
    for measurements: it costs as much CPU in the first minutes as all else the broker does.
    """

    def __init__(
        self,
        *,
        version: str,
        folder: Path,
        port: int = 0,
        secure_port: int | None = None,
        extra: Mapping[str, str] | None = None,
        proxied: Proxied | None = None,
        quorum: Quorum | None = None,
        heap: str | None = None,
        optimized: bool = False,
    ) -> None:
        self.version = version
        self.folder = folder.resolve()
        self.port = port
        self.secure_port = secure_port
        self.proxied = proxied
        self.quorum = quorum
        self.extra = dict(extra or {})
        self.start_limit_seconds = START_LIMIT_SECONDS
        self._optimized = optimized
        self._heap = heap or os.environ.get("PAYMENTS_BROKER_HEAP", "1g")
        self._properties = self.folder / "server.properties"
        self._data = self.folder / "topics"
        self.log = self.folder / "broker.log"
        self._record = ProcessRecord(self.folder / "broker.pid", str(self._properties))

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{ports.HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._record.pid()

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.pid is not None

    def describe(self) -> str:
        """Return one phrase for the user."""
        how = f"Java, pid {self.pid}"
        return f"Kafka {self.version} ({how}) on {self.bootstrap}, data in {self.folder}"

    def start(self) -> bool:
        """Start it and wait until it answers; return False when it was running already."""
        if self.pid is not None:
            self._learn_port()
            return False
        java = jars.java()
        libs = jars.broker_jars(self.version, KAFKA_FOLDER / self.version)
        if self.port:
            ports.require_free(self.port)
        self._configure()
        command = [java, *self._java_options(libs)]
        if not (self._data / "meta.properties").exists():
            self._format(command)
        self._launch([*command, "kafka.Kafka", str(self._properties)])
        return True

    def stop(self) -> None:
        """End it in order (SIGTERM) and wait; kill it when that takes too long."""
        self.resume()
        self._record.send(signal.SIGTERM)
        if not self._record.wait_for_end(STOP_LIMIT_SECONDS):
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), and wait until it is gone."""
        self._record.send(signal.SIGKILL)
        if not self._record.wait_for_end(STOP_LIMIT_SECONDS):
            message = f"the broker's process {self.pid} does not end"
            raise BrokerError(message)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        self._record.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause (SIGCONT)."""
        self._record.send(signal.SIGCONT)

    def _configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = ports.free_ports(3)
        self.port = self.port or free[2]
        quorum = self.quorum or Quorum(1, {1: free[1]})
        listeners = Listeners(
            bind=ports.HOST,
            client_port=self.port,
            internal_port=free[0],
            controller_port=quorum.controller_ports[quorum.node],
            advertised_port=self.port,
            secure_port=self.secure_port,
            proxied=self.proxied,
        )
        properties = server_properties(listeners, self._data, self.extra, quorum)
        self._properties.write_text(properties_text(properties))

    def _learn_port(self) -> None:
        """Find out which port a broker listens on that another object has started."""
        found = re.search(rf"CLIENT://{ports.HOST}:(\d+)", self._properties.read_text())
        if found is not None:
            self.port = int(found[1])

    def _java_options(self, libs: Path) -> list[str]:
        return [
            "-Xms256m",
            f"-Xmx{self._heap}",
            "-XX:MaxGCPauseMillis=20",
            *([] if self._optimized else ["-XX:TieredStopAtLevel=1"]),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={LOGGING / 'log4j2.xml'}",
            f"-Dlog4j.configuration={(LOGGING / 'log4j.properties').as_uri()}",
            "-cp",
            f"{libs}/*",
        ]

    def _format(self, command: list[str]) -> None:
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        try:
            subprocess.run(
                [*command, *tool, "-t", CLUSTER_ID, "-c", str(self._properties)],
                check=True,
                capture_output=True,
                text=True,
                timeout=FORMAT_LIMIT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            message = f"the broker's data folder cannot be formatted:\n{error.stdout}{error.stderr}"
            raise BrokerError(message) from error

    def _launch(self, command: list[str]) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.unlink()
        began = time.monotonic()
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches `make run` only, which ends the
            # worker first and the broker after it.
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.folder,
            )
        self._record.write(process)
        try:
            limit_seconds = self.start_limit_seconds - (time.monotonic() - began)
            ports.wait_until_it_answers(self.port, limit_seconds, self._must_run)
        except BrokerError as error:
            self.kill()
            message = f"Kafka did not start: {error}\n{self._log_tail()}"
            raise BrokerError(message) from error

    def _must_run(self) -> None:
        if self.pid is None:
            message = "its process has ended"
            raise BrokerError(message)

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of {self.log}:", *lines])
