"""Metrics of a gateway, for Prometheus, on an address of their own: never on the public port."""

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client.core import Metric

from payments.gateway.app import Gateway
from payments.process import metric_family
from payments.process.metric_family import BUILD, PROCESS, Family

REQUESTS = Family(
    "payments_gateway_requests",
    "counter",
    "Answers; `route` is a path of the operations, `none` for any other.",
    "`5..`: no broker answers (503), no result in time (504), a defect (500).",
    ("method", "route", "status"),
)
SECONDS = Family(
    "payments_gateway_request_seconds",
    "histogram",
    "From a request to its answer; of a stream to its beginning.",
    "Compare with a worker's `payments_result_seconds`: what is more is the gateway's, or the "
    "network's.",
    ("route",),
    "seconds",
)
IN_FLIGHT = Family(
    "payments_gateway_in_flight",
    "gauge",
    "Requests without an answer yet.",
    "Results are slow, or too many requests come.",
)
STREAMS = Family(
    "payments_gateway_streams",
    "gauge",
    "Open event streams.",
    "At `PAYMENTS_GATEWAY_MAX_STREAMS` one more is answered 429.",
)
CONNECTIONS = Family(
    "payments_gateway_connections",
    "gauge",
    "Open connections of clients.",
    "Near the limit of open files, one more is answered 429: start more gateways.",
)
SHED = Family(
    "payments_gateway_shed",
    "counter",
    "What was answered 429, since a limit was reached: a request, or a connection.",
    "Start more gateways, or raise `PAYMENTS_CLIENT_MAX_CALLS`.",
    ("what",),
)
REFUSED = Family(
    "payments_gateway_refused",
    "counter",
    "Data that is no request, or did not arrive in time, by problem.",
    "Scanners, a proxy in between, or a client with another protocol; the access log has `why`.",
    ("problem",),
)
DISCONNECTED = Family(
    "payments_gateway_disconnected",
    "counter",
    "Requests whose client has gone before their body was complete; one that goes later is "
    "answered, and counted as any other.",
    "Clients, or a proxy in between, break off while they send.",
)
READY = Family(
    "payments_gateway_ready",
    "gauge",
    "1 while commands can be sent and results read, else 0; looked at once a second.",
    "0: `/health/ready` names the cause.",
)

FAMILIES = (
    BUILD,
    READY,
    REQUESTS,
    SECONDS,
    IN_FLIGHT,
    STREAMS,
    CONNECTIONS,
    SHED,
    REFUSED,
    DISCONNECTED,
    *PROCESS,
)
"""All of them, in the order of the page."""


def serve(gateway: Gateway, connections: Callable[[], int], address: str) -> int:
    """Serve the metrics until the process ends; return the port.

    Raises ``MetricsError`` when the address can't be used.
    """
    collect = partial(collected, gateway, connections)
    return metric_family.serve(collect, address, "PAYMENTS_GATEWAY_METRICS_ADDRESS")


def collected(gateway: Gateway, connections: Callable[[], int]) -> Iterator[Metric]:
    """Yield each family as it is now."""
    counts = gateway.counts
    yield metric_family.build_info()
    yield READY.of(gateway.is_ready)
    yield REQUESTS.of(dict(counts.requests))
    yield SECONDS.distribution({(route,): each for route, each in dict(counts.seconds).items()})
    yield IN_FLIGHT.of(counts.in_flight)
    yield STREAMS.of(gateway.open_streams)
    yield CONNECTIONS.of(connections())
    yield SHED.of({(what,): counts.shed.get(what, 0) for what in ("request", "connection")})
    yield REFUSED.of({(slug,): count for slug, count in dict(counts.refused).items()})
    yield DISCONNECTED.of(counts.disconnected)
