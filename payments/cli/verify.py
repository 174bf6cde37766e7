"""``payments verify``: audits the topics, and reports on the terminal or as JSON."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exactstage.hosting import freeze_and_relax
from payments.cli.options import JSON
from payments.cli.output import printable, show, show_json, talk
from payments.cli.user_errors import NoBroker, load_settings, plain_errors, silence_client_logs

if TYPE_CHECKING:
    from payments.cli.state_directory import StateDirectory
    from payments.settings import Settings
    from payments.verify.findings import Report

EXIT_VIOLATED = 1
EXIT_NOT_VERIFIED = 2


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare the local copies in this directory too: the PAYMENTS_STATE_DIR of a stopped "
    "worker.",
)
@JSON
def verify(*, state_dir: Path | None, as_json: bool) -> None:
    """Prove from the topics that every guarantee holds.

    Reads the journals, then the topics up to the ends that they have then; workers may run.

    Exit code 0: every guarantee holds; 1: one does not; 2: it could not be found out; 69: no broker
    answers.

    \b
    Examples:
      payments verify
      payments verify --json > report.json
      payments verify --state-dir /var/lib/payments
    """
    silence_client_logs()
    with _not_verified():
        settings = load_settings()
        with plain_errors(settings):
            report = asyncio.run(_audit(settings, state_dir))
    if as_json:
        show_json(report.as_json())
    else:
        show(report_text(report))
    sys.exit(0 if report.ok else EXIT_VIOLATED)


@contextmanager
def _not_verified() -> Iterator[None]:
    """Give failures an exit code of their own: 1 means violations only."""
    try:
        yield
    except NoBroker:
        raise
    except click.ClickException as error:
        error.exit_code = EXIT_NOT_VERIFIED
        raise


async def _audit(settings: "Settings", state_dir: Path | None) -> "Report":
    """Audit an installation, with the local copies in ``state_dir`` if that is given."""
    if state_dir is None:
        return await _audit_with(settings, None)
    from payments.cli.state_directory import open_state

    with open_state(settings, state_dir) as state:
        return await _audit_with(settings, state)


async def _audit_with(settings: "Settings", state: "StateDirectory | None") -> "Report":
    from exactstage.kafka import KafkaLog
    from payments.topics.cluster import TopicsError, cluster
    from payments.verify.auditor import Auditor
    from payments.verify.reading import audit

    freeze_and_relax()
    auditor = Auditor(settings)
    topics = [topic for phase in auditor.topics.phases for topic in phase]
    async with cluster(settings) as connected:
        missing = set(topics) - await connected.names()
    if missing:
        message = (
            f"there is no topic {', '.join(sorted(missing))}: are PAYMENTS_TOPIC_PREFIX and "
            f"PAYMENTS_APP_ID those of the workers? Else make it with: payments topics apply"
        )
        raise TopicsError(message)
    log = KafkaLog(
        settings.connection(), delivery_timeout_seconds=settings.delivery_timeout_seconds
    )
    try:
        await log.start(topics)
        if state is not None:
            auditor.compare(await state.copies(log))
        return await audit(log, auditor, show=_show)
    finally:
        await log.close()


def _show(progress: str) -> None:
    talk(progress)


def report_text(report: "Report") -> str:
    """Return a report as lines for people."""
    lines = [str(violation) for violation in report.violations]
    violated = sum(report.by_kind.values())
    if violated > len(lines):
        lines.append(f"... and {violated - len(lines):,} more")
    lines += [f"not checked: {count:,} {what}" for what, count in report.unchecked.items()]
    counts = ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in report.counts.items())
    lines.append(f"read: {counts}")
    if report.dead_letters:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(report.dead_letters.items()))
        lines.append(f"dead letters: {reasons}")
    lines += [str(copy) for copy in report.copies or ()]
    if report.copies_counted is not None:
        lines.append(report.copies_counted)
    lines.append(
        f"in flight: {report.in_flight:,} commands without a result yet, "
        f"{report.pending:,} payments whose transfer is in flight"
    )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.by_kind.items()))
    lines.append(f"VIOLATED: {kinds}" if kinds else "verified: no violation")
    return "\n".join(map(printable, lines))
