"""Counts of a gateway: its requests by route and status, for metrics.

A route is a path of ``operations``, never the path that was requested.
"""

from time import perf_counter

from starlette.responses import Response

from exactstage.hosting import Histogram
from payments.gateway.exchange import HttpRequest
from payments.gateway.problems import Problem, slug_of

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of the time to an answer."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_TOO_MANY = Problem.OVERLOADED.value.status
OTHER, NO_ROUTE = "other", "none"
"""Stand for methods, and for paths, that a client has made up."""


class RequestCounts:
    """Plain numbers; any thread may read them."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        """By method, route and status."""
        self.seconds: dict[str, Histogram] = {}
        """To the answer, of a stream to its beginning; by route."""
        self.in_flight = 0
        self.disconnected = 0
        """Requests whose client has gone before their body was complete."""
        self.shed: dict[str, int] = {}
        """Requests, and connections, that were refused as too many."""
        self.refused: dict[str, int] = {}
        """Data that is no request, or did not arrive in time, by problem."""

    def answered(self, request: HttpRequest, answer: Response, began: float) -> None:
        """Count an answer to a request that began at ``began`` (``perf_counter``)."""
        method = request.method if request.method in METHODS else OTHER
        route = request.route or NO_ROUTE
        key = method, route, str(answer.status_code)
        self.requests[key] = self.requests.get(key, 0) + 1
        seconds = self.seconds.get(route)
        if seconds is None:
            seconds = self.seconds[route] = Histogram(REQUEST_SECONDS)
        seconds.note(perf_counter() - began)
        if answer.status_code == _TOO_MANY:
            self.shed["request"] = self.shed.get("request", 0) + 1

    def refuse(self, answer: Response) -> None:
        """Count an answer to what is no request."""
        slug = slug_of(answer) or OTHER
        self.refused[slug] = self.refused.get(slug, 0) + 1
        if answer.status_code == _TOO_MANY:
            self.shed["connection"] = self.shed.get("connection", 0) + 1
