"""The server: uvicorn with this gateway's ``Connection``, started and stopped in order.

A stopping server accepts no connections, ends event streams, answers all requests that have
arrived, at most within their deadline, and ends.
"""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn
import uvloop

from exactstage.hosting import freeze_and_relax
from payments.client import PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.connections import Connection, ConnectionLimits, limited
from payments.gateway.listening import BACKLOG, address
from payments.gateway.service import Service
from payments.gateway.settings import GatewaySettings
from payments.process import ending
from payments.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_SECONDS, TICKS_PER_SWEEP = 1.0, 10
SPARE_FILES = 256
"""Open files that are not connections of clients: those to the brokers, logs, libraries."""

STOP_MARGIN_SECONDS = 5.0


class Server(uvicorn.Server):
    """A uvicorn server for one gateway."""

    def __init__(
        self, gateway: Gateway, settings: GatewaySettings, started: Callable[["Server"], None]
    ) -> None:
        limits = ConnectionLimits(
            receive_seconds=settings.receive_timeout_seconds,
            idle_seconds=settings.idle_timeout_seconds,
            max_connections=max(_raise_file_limit() - SPARE_FILES, 1),
        )
        config = uvicorn.Config(
            gateway,
            http=limited(limits, gateway.access_log, gateway.counts),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(settings.idle_timeout_seconds) + 1,
            timeout_graceful_shutdown=int(settings.deadline_seconds + STOP_MARGIN_SECONDS),
        )
        super().__init__(config)
        self._gateway, self._started = gateway, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then call ``started``: signal handlers are installed by then."""
        await super().startup(sockets)
        self._gateway.look()
        self._started(self)

    async def on_tick(self, counter: int) -> bool:
        """Run uvicorn's tick, ten times a second; once a second, sweep and look."""
        if counter % TICKS_PER_SWEEP == 0:
            self._sweep()
            self._gateway.look()
            self._gateway.tokens.check_file()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order; see the module's docstring."""
        self._gateway.stopping.set()
        sweeping = asyncio.create_task(self._keep_sweeping())
        try:
            await super().shutdown(sockets)
        finally:
            sweeping.cancel()
            if self._gateway.access_log is not None:
                self._gateway.access_log.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop the server, and SIGHUP read the tokens again.

        The process ends by itself, with exit code 0.
        """
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self._gateway.tokens.read_again,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            cast("Connection", connection).sweep(now)

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep()


async def serve(
    service: Service,
    settings: GatewaySettings,
    *,
    listener: socket.socket,
    started: Callable[[Server], None],
) -> None:
    """Serve until a signal, or until the server that ``started`` is given is stopped."""
    gateway = Gateway(service, settings)
    server = Server(gateway, settings, started)
    if settings.metrics_address is not None:
        from payments.gateway import gateway_metrics  # noqa: PLC0415 - only where it is served

        connections = server.server_state.connections
        gateway_metrics.serve(gateway, lambda: len(connections), settings.metrics_address)
    await server.serve(sockets=[listener])


def run(settings: Settings, gateway_settings: GatewaySettings, listener: socket.socket) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; it starts even if no broker answers yet."""
    host, port = listener.getsockname()[:2]

    def say(_: Server) -> None:
        freeze_and_relax()
        logger.info("gateway ready on http://%s", address(host, port))
        if gateway_settings.is_open_to_others:
            logger.warning(
                "every client that can reach %s may move money: no tokens are set "
                "(PAYMENTS_GATEWAY_TOKENS_FILE or PAYMENTS_GATEWAY_TOKENS)",
                gateway_settings.host,
            )

    async def main() -> None:
        # Readiness reports whether Kafka answers; requests wait for it up to their deadline.
        async with PaymentsClient(settings=settings, connect_seconds=0) as client:
            await serve(
                client,
                gateway_settings,
                listener=listener,
                started=say,
            )
            ending.ignore()  # A second signal must not interrupt the stop in order.

    uvloop.run(main())
    logger.info("gateway stopped")


def _raise_file_limit() -> int:
    """Raise the limit of open files to the maximum for this process; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
