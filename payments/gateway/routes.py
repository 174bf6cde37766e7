"""Routes: finds the operation of a method and a path, and the handler of one gateway.

Paths are matched before they are decoded, so an id may contain a slash (``%2F``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from payments.gateway.operations import Handler, Handlers, Operation
from payments.gateway.problems import Problem, RefusedRequest

SLASH = "No path of this gateway ends with a slash; an id that does is written with %2F."


class Route(NamedTuple):
    """An operation, and its handler in one gateway."""

    operation: Operation
    handler: Handler


@dataclass(slots=True)
class _Node:
    """The segments that may follow, and the operations of the path that ends here."""

    literals: dict[bytes, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None
    methods: dict[str, Route] = field(default_factory=dict)


class Routes:
    """Finds the route of a request. Literal segments precede variable ones."""

    def __init__(self, operations: Sequence[Operation], handlers: Handlers) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for segment in operation.path.encode().split(b"/")[1:]:
                if segment.startswith(b"{"):
                    node.variable = node.variable or _Node()
                    node = node.variable
                else:
                    node = node.literals.setdefault(segment, _Node())
            node.methods[operation.method] = Route(operation, operation.handler(handlers))

    def find(self, method: str, raw_path: bytes) -> tuple[Route, list[bytes]]:
        """Return the route and the variable segments; raises ``RefusedRequest``: 404 or 405."""
        node, parameters = self._root, []
        for segment in raw_path.split(b"/")[1:]:
            following = node.literals.get(segment)
            if following is None:
                if node.variable is None or not segment:
                    ends = raw_path.endswith(b"/") and len(raw_path) > 1
                    raise RefusedRequest(Problem.NOT_FOUND, SLASH if ends else None)
                following = node.variable
                parameters.append(segment)
            node = following
        if not node.methods:
            raise RefusedRequest(Problem.NOT_FOUND)
        route = node.methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted({*node.methods, *(["HEAD"] if "GET" in node.methods else [])})
            allow = ", ".join(allowed)
            headers = ((b"allow", allow.encode()),)
            raise RefusedRequest(Problem.METHOD_NOT_ALLOWED, f"Allowed: {allow}", headers=headers)
        return route, parameters
