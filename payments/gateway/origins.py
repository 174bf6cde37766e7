"""Hosts and origins: the accepted host names, and the origins whose pages may send commands.

A page of any website can make its reader's browser send requests to this machine. Two checks keep
such a page from moving money: a command must not come from a page of another origin
(``Sec-Fetch-Site``, ``Origin``), and the requested host must be a name of this gateway. Otherwise
an attacker's name that resolves to this machine (DNS rebinding) would be an origin of its own.
"""

import ipaddress
import socket
from functools import lru_cache

from starlette.responses import Response

from payments.gateway.exchange import Headers, HttpRequest
from payments.gateway.problems import Problem, RefusedRequest
from payments.gateway.settings import GatewaySettings

SAFE_SITES = {"same-origin", "none"}
EXPOSED = "idempotent-replayed, link, location, preference-applied, retry-after"
ALLOWED_HEADERS = "authorization, content-type, idempotency-key, prefer, x-api-key"


class Origins:
    """The hosts and origins of one gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._hosts = settings.allowed_hosts
        self._origins = set(settings.allowed_origins)
        # With tokens, host names need no check: a page with a name that leads here has no token.
        self._any_host = settings.needs_tokens or "*" in self._hosts
        self._own_name = socket.gethostname().lower()
        self._is_ours = lru_cache(maxsize=1024)(self._is_our_name)

    def check(self, request: HttpRequest) -> None:
        """Raise ``RefusedRequest`` for another host name, and for a command of another origin."""
        if not self._any_host and request.host is not None and not self._is_ours(request.host):
            raise RefusedRequest(Problem.WRONG_HOST)
        if not request.reads:
            self._check_origin(request)

    def shared(self, request: HttpRequest) -> Headers:
        """Return the headers that let a page of an allowed origin read the answer (CORS)."""
        origin = request.headers.get("origin") if self._origins else None
        if origin is None or origin not in self._origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": EXPOSED,
            "vary": "origin",
        }

    def preflight(self, request: HttpRequest) -> Response | None:
        """Return the answer to OPTIONS as a browser's preflight (CORS); None if it is none."""
        if "access-control-request-method" not in request.headers or not self.shared(request):
            return None
        headers = {
            "access-control-allow-methods": "GET, HEAD, POST",
            "access-control-allow-headers": ALLOWED_HEADERS,
            "access-control-max-age": "600",
        }
        return Response(None, 204, headers)

    def _check_origin(self, request: HttpRequest) -> None:
        if b"sec-fetch-site" not in request.fields and b"origin" not in request.fields:
            return
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site in SAFE_SITES or origin in self._origins:
            return
        own = _authority(f"//{request.host or ''}")
        if site is None and origin is not None and _authority(origin) == own != "":
            return
        raise RefusedRequest(Problem.CROSS_ORIGIN)

    def _is_our_name(self, host: str) -> bool:
        """Whether no page of another origin can have this host.

        An address can't be redirected, and a name without a dot belongs to the local network.
        """
        text = host.lower()
        name = text.rpartition(":")[0] if not text.endswith("]") and ":" in text else text
        name = name.strip("[]").rstrip(".")
        if "." not in name or name.endswith(".localhost") or name == self._own_name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return any(_matches(name, text, allowed.lower()) for allowed in self._hosts)
        return True


def _matches(name: str, host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return name.endswith(allowed[1:])
    return allowed in {name, host}


def _authority(origin: str) -> str:
    """Return the host and port of an origin, without the default ports, as in a header."""
    authority = origin.partition("//")[2].lower()
    return authority.removesuffix(":80").removesuffix(":443")
