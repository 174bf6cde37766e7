"""The access log: one line of JSON on standard output for each request. No line has a secret.

A request that could not be parsed, or did not arrive in time, has a line too: ``problem`` names the
fault, ``why`` is the parser's error; token and route are not known then.

A line that can't be written to standard output is dropped: no request waits or fails because of it.
"""

import logging
import sys
from collections.abc import Callable
from time import perf_counter, time
from typing import TextIO

from msgspec.json import encode as encode_json
from starlette.responses import Response

from payments.gateway.exchange import HttpRequest
from payments.gateway.problems import slug_of
from payments.process.lines import Lines
from payments.records.record_writer import iso_time

logger = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS = 10.0
"""Minimum time between the warning that lines are dropped and the one with their number."""


class AccessLog:
    """Writes a line for each request: client, route, outcome. Its methods raise nothing."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._lines = Lines(out or sys.stdout)
        self._reported = 0
        self._losing = self._failed = False
        self._next_log_at = 0.0

    def write(self, request: HttpRequest, answer: Response, began: float) -> None:
        """Write the line of a request that began at ``began`` (``perf_counter``)."""

        def found() -> dict[str, object]:
            return {
                "client": request.sender,
                "token": request.token,
                "method": request.method,
                "route": request.route,
                "status": answer.status_code,
                "problem": slug_of(answer),
                "ms": round((perf_counter() - began) * 1000, 1),
                "payment": request.payment,
                **({} if request.account is None else {"account": request.account}),
                "command": request.command,
            }

        self._write(found)

    def write_refused(
        self, client: str, answer: Response, why: str | None, status: int | None
    ) -> None:
        """Write the line of data that is no request; without a status it was not answered."""
        self._write(
            lambda: {"client": client, "status": status, "problem": slug_of(answer), "why": why}
        )

    def close(self) -> None:
        """Log how many lines were dropped since the last report."""
        self._report()

    def _write(self, found: Callable[[], dict[str, object]]) -> None:
        try:
            line = {"time": iso_time(int(time() * 1000)), **found()}
            content = encode_json(line)
        except Exception:
            # The request was carried out, so it is answered even if its line can't be written.
            if not self._failed:
                self._failed = True
                logger.exception("a request has no line in the access log (logged once)")
            return
        if self._lines.write(content + b"\n"):
            # A slow reader reads single lines in between: not each loss gets two warnings.
            if self._losing and perf_counter() >= self._next_log_at:
                self._report()
                self._losing = False
        elif not self._losing:
            self._losing = True
            self._next_log_at = perf_counter() + LOG_INTERVAL_SECONDS
            logger.warning(
                "lines of the access log are dropped: standard output can't be written (%s); "
                "requests continue, and the number of lines is logged when it can be written "
                "again, or at the end",
                self._lines.problem,
            )

    def _report(self) -> None:
        missing = self._lines.dropped - self._reported
        if missing:
            self._reported = self._lines.dropped
            logger.warning("%d lines of the access log were dropped", missing)
