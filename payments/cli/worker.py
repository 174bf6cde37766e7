"""``payments worker`` and ``payments health``: run a worker, and ask whether it is ready."""

import sys
from pathlib import Path

import click

from payments.cli.output import show
from payments.cli.user_errors import load_settings, plain_errors
from payments.process import ending, logs, open_files

LOG_LEVELS = ["debug", "info", "warning", "error"]


class WebPort(click.ParamType):
    """A port number, or ``none``."""

    name = "port|none"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return the number, or None for ``none``."""
        if value in {None, "none"}:
            return None
        text = str(value)
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:  # the last port
            self.fail(f"{value!r} is neither a port number (1 to 65535) nor none", param, ctx)
        return int(text)


@click.command()
@click.option("--instance-id", metavar="ID", help="Static membership: the same at each restart.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
@click.option(
    "--web-port",
    type=WebPort(),
    default="none",
    show_default=True,
    help="Port of Faust's web pages, on 127.0.0.1.",
)
def worker(instance_id: str | None, log_level: str, web_port: int | None) -> None:
    """Run one worker until SIGTERM or Ctrl-C, which drain it.

    Workers with the same PAYMENTS_APP_ID share the partitions. Exit code 70: a fatal error, such as
    partitions that belong to another worker now; restart the worker.

    \b
    Examples:
      payments worker
      payments worker --instance-id worker-1 --web-port 6066
    """
    ending.end_at_once()
    logs.configure(log_level)  # First: later messages do not wait for a reader of the log.
    open_files.require()
    given = {"instance_id": instance_id} if instance_id else {}
    settings = load_settings(to_log=True, **given)
    with plain_errors(settings):
        from payments.app import run_worker

        sys.exit(run_worker(settings, log_level=log_level, web_port=web_port))


@click.command()
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    envvar="PAYMENTS_HEALTH_FILE",
    show_envvar=True,
    help="The file that the worker writes every second.",
)
def health(file: Path | None) -> None:
    """Exit with 0 if the worker of this host is ready, with 1 if not.

    Ready: it has its partitions and takes commands. The worker needs the same PAYMENTS_HEALTH_FILE.

    \b
    Examples:
      payments health
      payments health -f /run/payments/ready
    """
    from payments.worker.health import why_not_ready

    if file is None:
        message = "PAYMENTS_HEALTH_FILE is not set, here and for the worker"
        raise click.ClickException(message)
    if (found := why_not_ready(file)) is not None:
        raise click.ClickException(found)
    show("ready")
