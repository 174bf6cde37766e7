"""Metrics for Prometheus: families, each described once, and the server that is scraped.

Processes count with plain numbers; a collector makes families of them at each scrape, in the
server's thread. So a metric costs nothing between two scrapes. ``docs/metrics.md`` is made from the
families (``python -m tools.dev.readme``).
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from payments import __version__
from payments.process import build


class MetricsError(Exception):
    """The metrics can't be served; its text says why and what to change."""


class Buckets(Protocol):
    """Numbers counted in buckets, such as ``exactstage.hosting.Histogram``."""

    bounds: Sequence[float]
    counts: list[int]
    sum: float


class Family(NamedTuple):
    """One family of metrics, and what it means."""

    name: str
    """Of a counter without ``_total``."""

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    when_high: str
    """What it means when it is high, and where to look; "" where nothing follows from it."""

    labels: tuple[str, ...] = ()
    unit: str = ""

    @property
    def sample(self) -> str:
        """The name of its samples in a scrape; of a histogram their beginning."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def of(self, values: Mapping[Any, float] | float) -> Metric:
        """Return the family with one value, or one for each tuple of its labels' values."""
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = made(self.name, self.meaning, labels=self.labels)
        for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
            assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"
            metric.add_metric(labels, value)
        return metric

    def distribution(self, values: Mapping[tuple[str, ...], Buckets]) -> Metric:
        """Return a histogram."""
        metric = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, buckets in values.items():
            bounds = [*(f"{bound:g}" for bound in buckets.bounds), "+Inf"]
            up_to = list(zip(bounds, accumulate(list(buckets.counts)), strict=True))
            metric.add_metric(labels, up_to, buckets.sum)
        return metric


BUILD = Family(
    "payments_build_info",
    "gauge",
    "1; the labels have the version, the Python version, and whether hot modules are compiled.",
    "",
    ("version", "python", "compiled"),
)

PROCESS = (
    Family(
        "process_cpu_seconds",
        "counter",
        "CPU time, of user and system.",
        "A rate near 1 s/s: the process is at its limit, start more of them. A worker uses one "
        "core.",
        unit="seconds",
    ),
    Family(
        "process_resident_memory_bytes",
        "gauge",
        "Memory in RAM.",
        "A worker's grows with the stored payments (operations.md, Holds and refunds).",
        unit="bytes",
    ),
    Family("process_virtual_memory_bytes", "gauge", "Address space.", "", unit="bytes"),
    Family(
        "process_start_time_seconds",
        "gauge",
        "When the process began, since 1970.",
        "`changes()` of it counts restarts: read the last line of the log before each.",
        unit="seconds",
    ),
    Family(
        "process_open_fds",
        "gauge",
        "Open files and sockets.",
        "Near `process_max_fds`, connections are refused: raise the limit (`ulimit -n`).",
    ),
    Family("process_max_fds", "gauge", "The most that the process may have open.", ""),
)
"""What ``prometheus_client`` has of each process, on Linux."""


def build_info() -> Metric:
    """Return the family of the build."""
    python, compiled = platform.python_version(), str(build.is_compiled()).lower()
    return BUILD.of({(__version__, python, compiled): 1})


class _Collected(Collector):
    """Calls ``collect`` at each scrape."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        """Yield each family, in the server's thread."""
        yield from self._collect()


def serve(collect: Callable[[], Iterable[Metric]], address: str, setting: str) -> int:
    """Serve ``http://<address>/metrics`` until the process ends; return the port.

    Raises ``MetricsError``, which names the ``setting``, when the address can't be used.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # IPv6, as in a URL.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(collect))
    ProcessCollector(registry=registry)
    try:
        server, _ = start_http_server(int(port), addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        message = f"metrics can't be served at {address}: {error}; change {setting}"
        raise MetricsError(message) from error
    return int(server.server_port)
