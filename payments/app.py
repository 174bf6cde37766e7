"""The composition: settings, stages, tables, agents; and the worker that runs them.

``payments worker`` runs it; ``faust -A payments.app worker`` does too, with Faust's own options.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from exactstage import FailStop, Limits, Log
from exactstage.hosting import EngineApp, StateDirectory
from payments.process import logs
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.stages.accounts import AccountsLogic
from payments.stages.payments import PaymentsLogic
from payments.worker import ends, health, metrics

logger = logging.getLogger(__name__)

EXIT_USER_ERROR = 1


def create_app(settings: Settings, *, log: Log | None = None) -> EngineApp:
    """Return the Faust app of this installation; ``log`` stands in for the broker in tests."""
    payments = payments_stage(settings)
    accounts = accounts_stage(settings)
    file = settings.health_file
    app = EngineApp(
        settings.app_id,
        stages=[payments, accounts],
        partitions=settings.partitions,
        connection=settings.connection(),
        log=log,
        delivery_timeout_seconds=settings.delivery_timeout_seconds,
        drain_timeout_seconds=settings.drain_timeout_seconds,
        renewal_seconds=settings.renewal_seconds,
        session_timeout_seconds=settings.session_timeout_seconds,
        instance_id=settings.instance_id,
        open_state=_open_state(settings),
        standbys=_standbys(settings),
        limits=Limits(stall_seconds=settings.stall_seconds),
        show_readiness=None if file is None else partial(health.show, file),
        show_end=None if file is None else partial(_show_end, file),
    )
    for stage in (payments, accounts):
        app.rows(stage)
        app.run_stage(stage)
    return app


def _show_end(file: Path, line: str, failure: FailStop | None) -> None:
    if failure is not None:
        ends.note(file, ends.reason_of(failure))
    health.show_end(file, line)


def _open_state(settings: Settings) -> Callable[[], StateDirectory] | None:
    """Return what opens the local copies of a worker; None where rows are in memory."""
    path = settings.state_dir
    if path is None:
        return None
    return partial(StateDirectory, path, memory_bytes=settings.state_memory_mb * 1024**2)


def _standbys(settings: Settings) -> int:
    """Return how many workers follow each partition: none where rows are in memory."""
    if settings.standbys and settings.state_dir is None:
        logger.warning(
            "PAYMENTS_STANDBYS is %d and ignored: nothing is followed without PAYMENTS_STATE_DIR",
            settings.standbys,
        )
        return 0
    return settings.standbys


def run_worker(settings: Settings, *, log_level: str = "info", web_port: int | None = None) -> int:
    """Run a worker until SIGTERM or Ctrl-C, which drain it; return its exit code.

    On a fail-stop the process ends at once with ``EXIT_FAIL_STOP``.
    """
    _configure_logging(log_level)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)  # Parts of Faust take it before it runs.
    if settings.health_file is not None:
        ends.note_former(settings.health_file)
        health.remove(settings.health_file)
    app = create_app(settings)
    if settings.metrics_address is not None:
        try:
            metrics.serve(app.counts, _logics(app), settings)
        except metrics.MetricsError as error:
            logger.error("%s", error)  # noqa: TRY400 - the user's mistake needs no traceback
            return EXIT_USER_ERROR
    if web_port is not None:
        app.conf.web_enabled, app.conf.web_port = True, web_port
        app.conf.web_bind = (
            "127.0.0.1"  # Faust's pages have no login; its default is every address.
        )
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    worker = app.Worker(loop=loop, override_logging=False, quiet=True)
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        if settings.health_file is not None:
            health.remove(settings.health_file)


def _logics(app: EngineApp) -> metrics.Logics:
    payments, accounts = app.stages["payments"].logic, app.stages["accounts"].logic
    assert isinstance(payments, PaymentsLogic), "payments_stage makes it"
    assert isinstance(accounts, AccountsLogic), "accounts_stage makes it"
    return metrics.Logics(payments, accounts)


def _configure_logging(log_level: str) -> None:
    """Log to standard error; of Faust only warnings and errors, of aiokafka see ``EngineApp``."""
    logs.configure(log_level)
    if log_level != "debug":
        for name in ("faust", "mode"):
            logging.getLogger(name).setLevel(logging.WARNING)


def __getattr__(name: str) -> Any:
    """Make ``app`` from the environment when ``faust -A payments.app`` asks for it."""
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()["app"] = app = create_app(Settings())
    return app
