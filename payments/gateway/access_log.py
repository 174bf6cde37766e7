"""The access log: one line of JSON on standard output for each request. No line has a secret.

What could not be read as HTTP, or did not arrive in time, has a line too: ``problem`` says what was
wrong, ``why`` what the parser met; who asked for what is not known then.
"""

import sys
from time import perf_counter, time
from typing import TextIO

import orjson

from payments.gateway.exchange import Answer, Request, Stream
from payments.gateway.problems import slug_of
from payments.records.written import iso_time


class AccessLog:
    """Writes what was asked, by whom, and how it ended."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def write(self, request: Request, answer: Answer | Stream, began: float) -> None:
        """Write the line of a request that began at ``began`` (``perf_counter``)."""
        status, problem = 200, None
        if isinstance(answer, Answer):
            status, problem = answer.status, slug_of(answer)
        self._write(
            client=request.client,
            token=request.token,
            method=request.method,
            route=request.route,
            status=status,
            problem=problem,
            ms=round((perf_counter() - began) * 1000, 1),
            payment=request.payment,
            command=request.command,
        )

    def write_refused(
        self, client: str, answer: Answer, why: str | None, status: int | None
    ) -> None:
        """Write the line of a request that never was one; without a status it was not answered."""
        self._write(client=client, status=status, problem=slug_of(answer), why=why)

    def _write(self, **found: object) -> None:
        line = {"time": iso_time(int(time() * 1000)), **found}
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()
