"""The access log: one line of JSON on standard output for each request. No line has a secret."""

import sys
from time import perf_counter, time
from typing import TextIO

import orjson

from payments.gateway.exchange import Request
from payments.records.written import iso_time


class AccessLog:
    """Writes what was asked, by whom, and how it ended."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def write(self, request: Request, status: int, began: float) -> None:
        """Write the line of a request that began at ``began`` (``perf_counter``)."""
        line = {
            "time": iso_time(int(time() * 1000)),
            "client": request.client,
            "token": request.token,
            "method": request.method,
            "route": request.route,
            "status": status,
            "ms": round((perf_counter() - began) * 1000, 1),
            "payment": request.payment,
            "command": request.command,
        }
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()
