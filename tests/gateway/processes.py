"""Gateways as processes, for tests of kills, stops and many connections."""

import re
import sys

import httpx

from payments.settings import Settings
from tests.broker.client import WorkerProcess
from tools.dev.ports import connects

GATEWAY = (sys.executable, "-m", "payments.cli", "gateway", "--port", "0")


class GatewayProcess(WorkerProcess):
    """One ``payments gateway`` on a free port."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, *GATEWAY)

    def ready_count(self) -> int:
        """Return how often a gateway with this log listened."""
        return len(self._addresses())

    @property
    def url(self) -> str:
        """Where the last one listens."""
        return self._addresses()[-1]

    @property
    def port(self) -> int:
        """The port of the last one."""
        return httpx.URL(self.url).port or 0

    async def until_up(self) -> None:
        """Wait until it listens; between a kill and the next start it does not."""
        await self.until(lambda: connects(self.port), "does not listen", alive=False)

    def _addresses(self) -> list[str]:
        return re.findall(r"gateway ready on (\S+)", self.log.read_text())
