"""Metrics of a worker, for Prometheus: read from the engine's own counts at each scrape.

So they cost nothing per record. A dead letter with the reason ``impossible`` or ``internal_error``
is a defect of this program and should raise an alert.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exactstage.hosting import Counts

Family = CounterMetricFamily | GaugeMetricFamily


class MetricsError(Exception):
    """The metrics can't be served; its text says why and what to change."""


class EngineCollector(Collector):
    """Converts the counts of an engine to metric families."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        """Yield each family; called once a scrape, in the server's own thread."""
        counts = self._counts()
        handled = CounterMetricFamily(
            "payments_records_handled", "New records that a stage decided.", labels=["stage"]
        )
        rows = GaugeMetricFamily("payments_rows", "Rows in memory.", labels=["stage"])
        dead_lettered = CounterMetricFamily(
            "payments_dead_letters", "Records put on the dead letters.", labels=["stage", "reason"]
        )
        for stage, number in counts.handled.items():
            handled.add_metric([stage], number)
        for stage, number in counts.rows.items():
            rows.add_metric([stage], number)
        for stage, reasons in counts.dead_lettered.items():
            for reason, number in reasons.items():
                dead_lettered.add_metric([stage, reason], number)
        yield from (handled, rows, dead_lettered)
        yield GaugeMetricFamily(
            "payments_owned_partitions", "Partitions of this worker.", value=counts.owned_partitions
        )
        yield GaugeMetricFamily(
            "payments_ready", "1 while this worker handles records, else 0.", value=counts.ready
        )
        yield GaugeMetricFamily(
            "payments_blocked_partitions",
            "Partitions that stand still: an open transaction, no leader, no answer.",
            value=counts.standing_partitions,
        )
        yield GaugeMetricFamily(
            "payments_blocked_seconds",
            "For how long the longest of them has stood still.",
            value=counts.standing_seconds,
        )
        yield CounterMetricFamily("payments_groups", "Commits journalled.", value=counts.commits)
        yield CounterMetricFamily(
            "payments_journal_appends",
            "Appends that carried the commits.",
            value=counts.commit_rounds,
        )
        yield CounterMetricFamily(
            "payments_takeover_rows",
            "Rows that takeovers found in the journals.",
            value=counts.rows_taken_over,
        )
        yield CounterMetricFamily(
            "payments_takeover_records_read",
            "Records of the journals that takeovers read for them.",
            value=counts.records_read,
        )
        yield GaugeMetricFamily(
            "payments_clock_difference_seconds",
            "How far this machine's clock is ahead of the brokers'.",
            value=counts.clock_difference_seconds,
        )


def serve(counts: Callable[[], Counts], address: str) -> int:
    """Serve ``http://<address>/metrics`` until the process ends; return the port.

    Raises ``MetricsError`` when the address can't be used.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # IPv6, as in a URL.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(counts))
    try:
        server, _ = start_http_server(int(port), addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        message = f"metrics can't be served at {address}: {error}; change PAYMENTS_METRICS_ADDRESS"
        raise MetricsError(message) from error
    return int(server.server_port)
