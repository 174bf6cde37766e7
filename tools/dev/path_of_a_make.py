"""``python -m tools.dev.path_of_a_make``: through which files one make runs.

One ``POST /v1/payments/pay-1`` goes through the gateway, the client, the log in memory and both
stages, and its answer comes back. Every call of a Python function of ``payments`` and
``exactstage`` is recorded, and every time a coroutine continues; the log in memory and the test bed
are left out. A move is a call in another file than the call before it.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx

from payments.client import LogTransport, PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.testing import PaymentsTestbed

ROOT = Path(__file__).parents[2]
PACKAGES = ("payments", "exactstage")
LEFT_OUT = ("payments/testing.py", "exactstage/testing.py", "exactstage/memory")
OPENING_BALANCE = 100_000


class Recorder:
    """Notes the files of the calls, in order."""

    def __init__(self) -> None:
        self.calls = 0
        self.functions: set[tuple[str, str]] = set()
        self.visits: list[str] = []
        self._names: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take one event of ``sys.setprofile``."""
        name = self._name(frame.f_code.co_filename) if event == "call" else None
        if name is None:
            return
        self.calls += 1
        self.functions.add((name, frame.f_code.co_qualname))
        if not self.visits or self.visits[-1] != name:
            self.visits.append(name)

    def _name(self, filename: str) -> str | None:
        if filename not in self._names:
            self._names[filename] = _own(filename)
        return self._names[filename]


def _own(filename: str) -> str | None:
    """Return the path of a file of ours, from the root; None for any other."""
    path = Path(filename)
    if not path.is_relative_to(ROOT):
        return None
    name = path.relative_to(ROOT).as_posix()
    return name if name.startswith(PACKAGES) and not name.startswith(LEFT_OUT) else None


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record what this thread calls."""
    recorder = Recorder()
    sys.setprofile(recorder)
    try:
        yield recorder
    finally:
        sys.setprofile(None)


async def record_one_make() -> Recorder:
    """Make one payment over HTTP in memory; return what was called for it."""
    async with PaymentsTestbed(opening_balance=OPENING_BALANCE) as testbed:
        transport = LogTransport(testbed.log)
        async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
            gateway = Gateway(client, GatewaySettings())
            http = httpx.AsyncClient(
                transport=httpx.ASGITransport(gateway), base_url="http://gateway"
            )
            async with http:
                # The first one also opens what the following ones share.
                await _make(http, "pay-0")
                with recording() as recorder:
                    await _make(http, "pay-1")
    return recorder


async def _make(http: httpx.AsyncClient, payment: str) -> None:
    body = {"account": "acct-1", "amount": 1999}
    answer = await http.post(f"/v1/payments/{payment}", json=body)
    answer.raise_for_status()


def main() -> int:
    """Print the figures, and with ``--files`` how often each file is come to."""
    parser = argparse.ArgumentParser(description="Follow one make through the files")
    parser.add_argument("--files", action="store_true", help="also show each file")
    given = parser.parse_args()
    recorder = asyncio.run(record_one_make())
    visited = Counter(recorder.visits)
    print(
        f"{len(visited)} files, {len(recorder.functions)} functions, {recorder.calls} calls, "
        f"{len(recorder.visits) - 1} moves between files"
    )
    if given.files:
        for name, visits in visited.most_common():
            print(f"{visits:4}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
