"""Routes: finds the operation of a request, and its handler in one gateway."""

from collections.abc import Sequence

from starlette.routing import Match, Route

from payments.gateway.exchange import HttpRequest
from payments.gateway.operations import Handler, Handlers, Operation
from payments.gateway.problems import Problem, RefusedRequest

SLASH = "No path of this gateway ends with a slash; an id that does is written with %2F."


class Routes:
    """Finds the route of a request."""

    def __init__(self, operations: Sequence[Operation], handlers: Handlers) -> None:
        self._routes = [
            (Route(one.path, one.handler(handlers), methods=[one.method]), one)
            for one in operations
        ]

    def find(self, request: HttpRequest) -> tuple[Operation, Handler]:
        """Return its operation and handler; raises ``RefusedRequest``: 404 or 405."""
        allowed: set[str] = set()
        for route, operation in self._routes:
            match, found = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(found)
                return operation, route.endpoint
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        if allowed:
            allow = ", ".join(sorted(allowed))
            raise RefusedRequest(
                Problem.METHOD_NOT_ALLOWED, f"Allowed: {allow}", headers={"allow": allow}
            )
        path = request.scope["path"]
        raise RefusedRequest(Problem.NOT_FOUND, SLASH if path[1:].endswith("/") else None)
