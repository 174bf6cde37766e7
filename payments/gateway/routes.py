"""From a method and a path to a handler.

Paths are matched before they are decoded, so an id may hold a slash (``%2F``).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from payments.gateway.exchange import Answer, Request, Stream
from payments.gateway.problems import Problem, Refused

Handler = Callable[[Request], Awaitable[Answer | Stream]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: ``GET /v1/accounts/{account}``, and the scopes one of which it needs."""

    method: str
    path: str
    handler: Handler
    scopes: Sequence[str] | None
    """None: it needs no token."""

    described: bool = True
    """Whether the OpenAPI document has it."""


@dataclass(slots=True)
class _Node:
    """What may follow a path's segment, and the operations of the path that ends here."""

    literals: dict[bytes, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None
    methods: dict[str, Route] = field(default_factory=dict)


SLASH = "No path of this gateway ends with a slash; an id that does has %2F there."


class Routes:
    """Finds the route of a request. A segment as written comes before a variable one."""

    def __init__(self, routes: list[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.encode().split(b"/")[1:]:
                if segment.startswith(b"{"):
                    node.variable = node.variable or _Node()
                    node = node.variable
                else:
                    node = node.literals.setdefault(segment, _Node())
            node.methods[route.method] = route

    def find(self, method: str, raw_path: bytes) -> tuple[Route, list[bytes]]:
        """Return the route and the variable segments; raises ``Refused``: 404 or 405."""
        node, parameters = self._root, []
        for segment in raw_path.split(b"/")[1:]:
            following = node.literals.get(segment)
            if following is None:
                if node.variable is None or not segment:
                    ends = raw_path.endswith(b"/") and len(raw_path) > 1
                    raise Refused(Problem.NOT_FOUND, SLASH if ends else None)
                following = node.variable
                parameters.append(segment)
            node = following
        if not node.methods:
            raise Refused(Problem.NOT_FOUND)
        route = node.methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted({*node.methods, *(["HEAD"] if "GET" in node.methods else [])})
            allow = ", ".join(allowed)
            headers = ((b"allow", allow.encode()),)
            raise Refused(Problem.METHOD_NOT_ALLOWED, f"Allowed: {allow}", headers=headers)
        return route, parameters
