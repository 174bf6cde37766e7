"""The access log: one line of JSON on standard output for each request. No line has a secret.

What could not be read as HTTP, or did not arrive in time, has a line too: ``problem`` says what was
wrong, ``why`` what the parser met; who asked for what is not known then.

A line that standard output does not take is dropped: no request waits for it or fails with it.
"""

import logging
import sys
from collections.abc import Callable
from time import perf_counter, time
from typing import TextIO

import orjson

from payments.gateway.exchange import Answer, Request, Stream
from payments.gateway.problems import slug_of
from payments.process.lines import Lines
from payments.records.record_writer import iso_time

logger = logging.getLogger(__name__)

QUIET_SECONDS = 10.0
"""Lines are lost for so long at least before their number is told, and a next loss is."""


class AccessLog:
    """Writes what was asked, by whom, and how it ended. Its methods raise nothing."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._lines = Lines(out or sys.stdout)
        self._reported = 0
        self._losing = self._failed = False
        self._quiet_until = 0.0

    def write(self, request: Request, answer: Answer | Stream, began: float) -> None:
        """Write the line of a request that began at ``began`` (``perf_counter``)."""

        def found() -> dict[str, object]:
            status, problem = 200, None
            if isinstance(answer, Answer):
                status, problem = answer.status, slug_of(answer)
            return {
                "client": request.client,
                "token": request.token,
                "method": request.method,
                "route": request.route,
                "status": status,
                "problem": problem,
                "ms": round((perf_counter() - began) * 1000, 1),
                "payment": request.payment,
                "command": request.command,
            }

        self._write(found)

    def write_refused(
        self, client: str, answer: Answer, why: str | None, status: int | None
    ) -> None:
        """Write the line of a request that never was one; without a status it was not answered."""
        self._write(
            lambda: {"client": client, "status": status, "problem": slug_of(answer), "why": why}
        )

    def close(self) -> None:
        """Say how many lines were dropped since that was last said."""
        self._report()

    def _write(self, found: Callable[[], dict[str, object]]) -> None:
        try:
            line = {"time": iso_time(int(time() * 1000)), **found()}
            content = orjson.dumps(line)
        except Exception:
            # The request was carried out: whatever is wrong with its line, it is answered.
            if not self._failed:
                self._failed = True
                logger.exception("a request has no line in the access log (said once)")
            return
        if self._lines.write(content + b"\n"):
            # A slow reader takes a line now and then: not each time is worth two warnings.
            if self._losing and perf_counter() >= self._quiet_until:
                self._report()
                self._losing = False
        elif not self._losing:
            self._losing = True
            self._quiet_until = perf_counter() + QUIET_SECONDS
            logger.warning(
                "lines of the access log are dropped: standard output can't be written (%s); "
                "requests go on, and the number of lines is told when it can be written again, or "
                "at the end",
                self._lines.problem,
            )

    def _report(self) -> None:
        missing = self._lines.dropped - self._reported
        if missing:
            self._reported = self._lines.dropped
            logger.warning("%d lines of the access log were dropped", missing)
