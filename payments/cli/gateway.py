"""``payments gateway``: serve payments over HTTP."""

import logging
from typing import Any

import click

from payments.cli.user_errors import load_settings, settings_problems
from payments.process import ending, logs

LOG_LEVELS = ["debug", "info", "warning", "error"]


@click.command()
@click.option("--host", help="Address to listen on (PAYMENTS_GATEWAY_HOST, 127.0.0.1).")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port to listen on, 0 for a free one (PAYMENTS_GATEWAY_PORT, 8080).",
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
def gateway(host: str | None, port: int | None, log_level: str) -> None:
    """Serve payments over HTTP until SIGTERM or Ctrl-C, which answer what is in flight.

    It needs a worker somewhere, and the same PAYMENTS_* settings as that one; its own are
    PAYMENTS_GATEWAY_*. Any number of gateways can run side by side. /docs describes the requests.

    \b
    Examples:
      payments gateway
      payments gateway --port 9000
      PAYMENTS_GATEWAY_TOKENS=a-long-random-token payments gateway --host 0.0.0.0
    """
    from pydantic import ValidationError

    from payments.gateway.listening import CantListen, listen
    from payments.gateway.server import run
    from payments.gateway.settings import GatewaySettings
    from payments.gateway.tokens_file import TokensFileError
    from payments.process.metric_family import MetricsError
    from payments.settings import SettingsError

    given: dict[str, Any] = {"host": host, "port": port}
    ending.end_at_once()
    logs.configure(log_level)
    settings = load_settings(to_log=True)
    try:
        own = GatewaySettings(**{name: it for name, it in given.items() if it is not None})
    except ValidationError as error:
        raise click.ClickException(settings_problems(error, "PAYMENTS_GATEWAY_")) from error
    try:
        listener = listen(own)
    except CantListen as error:
        raise click.ClickException(str(error)) from error
    # uvicorn warns of malformed requests, with which any client could fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # The client logs aiokafka's retries itself, with their meaning.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        run(settings, own, listener)
    except (MetricsError, SettingsError, TokensFileError) as error:
        raise click.ClickException(str(error)) from error
