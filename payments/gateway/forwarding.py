"""Proxies in front: the path prefix, host and client address of a request, from their headers.

Links are paths without scheme and host, so they need only the path prefix that a proxy removes. The
headers are used only from trusted proxies, since any client can send them.
"""

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from payments.gateway.exchange import OWS, HttpRequest
from payments.gateway.settings import ROOT_PATH, GatewaySettings

_PREFIX = re.compile(ROOT_PATH)
_HOST = re.compile(r'host="?([^",;\s]+)"?', re.IGNORECASE)
_FOR = re.compile(r'for="?(\[[^]]+\]|[^",:;\s]+)', re.IGNORECASE)


class Forwarding:
    """Applies the headers of proxies in front to a gateway's requests."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._root = settings.root_path
        self._networks = [ip_network(network) for network in settings.trusted_proxies]
        self._is_trusted = lru_cache(maxsize=1024)(self._in_networks)

    def apply(self, request: HttpRequest) -> None:
        """Set the request's prefix, host and client; remove the root path from its path."""
        request.prefix = self._root
        if self._networks and self._is_trusted(request.sender):
            self._apply_headers(request)
        path = request.scope["path"]
        if self._root and path.startswith(f"{self._root}/"):
            request.scope["path"] = path[len(self._root) :]

    def _apply_headers(self, request: HttpRequest) -> None:
        """Use the values that the nearest proxy added: the last element of each header."""
        forwarded = _last(request, "forwarded")
        prefix = _last(request, "x-forwarded-prefix").rstrip("/")
        if prefix and _PREFIX.fullmatch(prefix):
            request.prefix = prefix
        host = _last(request, "x-forwarded-host") or _found(_HOST, forwarded)
        if host:
            request.host = host
        request.sender = (
            _last(request, "x-forwarded-for") or _found(_FOR, forwarded) or request.sender
        )

    def _in_networks(self, client: str) -> bool:
        try:
            address = ip_address(client)
        except ValueError:
            return False  # A socket in the file system has no address.
        return any(address in network for network in self._networks)


def _last(request: HttpRequest, header: str) -> str:
    return request.listed(header).rpartition(",")[2].strip(OWS)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
