"""Metrics of a worker, for Prometheus: what its engine and its stages count, as families.

They are read at each scrape, so they cost nothing in between. A dead letter with the reason
``impossible`` or ``internal_error`` is a defect of this program and should raise an alert.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric

from exactstage.hosting import AppendCounts, Counts
from payments.process import metric_family
from payments.process.metric_family import MetricsError
from payments.settings import Settings
from payments.stages import accounts, payments
from payments.stages.accounts import AccountsLogic
from payments.stages.payments import PaymentsLogic
from payments.worker import ends
from payments.worker import metric_families as families
from payments.worker.metric_families import CHANNELS, DEFECTS, NOT_READY

__all__ = ["Logics", "MetricsError", "serve"]


class Logics(NamedTuple):
    """The logic of both stages, which counts what it decides."""

    payments: PaymentsLogic
    accounts: AccountsLogic


def serve(counts: Callable[[], Counts], logics: Logics, settings: Settings) -> int:
    """Serve them at ``settings.metrics_address`` until the process ends; return the port.

    Raises ``MetricsError`` when the address can't be used.
    """
    assert settings.metrics_address is not None, "without an address nothing is served"
    collect = partial(collected, counts, logics, settings)
    return metric_family.serve(collect, settings.metrics_address, "PAYMENTS_METRICS_ADDRESS")


def collected(counts: Callable[[], Counts], logics: Logics, settings: Settings) -> Iterator[Metric]:
    """Yield each family as it is now."""
    found = counts()
    yield metric_family.build_info()
    yield from _readiness(found, settings)
    yield from _settings(found, settings)
    yield from _payments(logics.payments, found.time_ms)
    yield families.ACCOUNT_RESULTS.of(dict(logics.accounts.counts.results))
    yield from _records(found)
    yield from _appends(found)
    yield from _takeovers(found)
    yield from _ends(settings.health_file)


def _readiness(found: Counts, settings: Settings) -> Iterable[Metric]:
    installation = found.installation
    yield families.INSTALLATION.of(
        {} if installation is None else {(settings.app_id, installation): 1}
    )
    yield families.READY.of(found.ready)
    why = {found.phase, *found.troubles}
    yield families.NOT_READY_FAMILY.of(
        {(label,): float(reason in why) for reason, label in NOT_READY.items()}
    )
    yield families.OWNED.of(found.owned_partitions)
    yield families.BLOCKED.of(found.standing_partitions)
    yield families.BLOCKED_SECONDS.of(found.standing_seconds)
    yield families.CLOCK.of(found.clock_difference_seconds)


def _settings(found: Counts, settings: Settings) -> Iterable[Metric]:
    values = settings.of(*payments.DECIDES_BY, *accounts.DECIDES_BY)
    app_id = settings.app_id
    yield families.SETTING.of({(app_id, name, value): 1 for name, value in values.items()})
    differ = found.settings_differ
    yield families.SETTINGS_DIFFER.of({(name,): differ.get(name, 0) for name in values})


def _payments(logic: PaymentsLogic, now_ms: int) -> Iterable[Metric]:
    counts = logic.counts
    yield families.RESULTS.of(dict(counts.results))
    yield families.RESULT_SECONDS.distribution({(): counts.seconds})
    waiting, held = logic.waiting(), counts.held()
    oldest_ms = now_ms if waiting.oldest_ms is None else waiting.oldest_ms
    yield families.WAITING.of(waiting.payments)
    yield families.WAITING_SECONDS.of(max(0, now_ms - oldest_ms) / 1000)
    yield families.OPEN_HOLDS.of({(code,): each.payments for code, each in held.items()})
    yield families.HELD.of({(code,): each.amount for code, each in held.items()})


def _records(found: Counts) -> Iterable[Metric]:
    yield families.HANDLED.of({(stage,): number for stage, number in found.handled.items()})
    yield families.OVERDUE.of(
        {(stage,): seconds for stage, seconds in found.timers_overdue_seconds.items()}
    )
    yield families.ROWS.of({(stage,): number for stage, number in found.rows.items()})
    letters = {(stage, reason): 0 for stage in found.rows for reason in DEFECTS}
    for stage, reasons in found.dead_lettered.items():
        letters |= {(stage, reason): number for reason, number in reasons.items()}
    yield families.DEAD_LETTERS.of(letters)
    lags = {(at.topic, str(at.partition)): lag for at, lag in sorted(found.lags.items())}
    yield families.LAG.of({labels: lag.records for labels, lag in lags.items()})
    yield families.LAG_SECONDS.of({labels: lag.seconds for labels, lag in lags.items()})
    yield families.STANDBYS.of(found.standby_partitions)
    lags_of = dict.fromkeys(found.rows, 0) | dict(found.standby_lags)
    yield families.STANDBY_LAG.of({(stage,): lag for stage, lag in lags_of.items()})


def _appends(found: Counts) -> Iterable[Metric]:
    yield families.GROUPS.of(found.commits)
    yield families.IN_FLIGHT.of(found.commits_in_flight)
    yield families.JOURNAL_APPENDS.of(found.commit_rounds)
    appends = {
        (name,): found.appends.get(channel, AppendCounts()) for channel, name in CHANNELS.items()
    }
    yield families.APPEND_SECONDS.distribution(
        {labels: each.seconds for labels, each in appends.items()}
    )
    yield families.BATCHES.of({labels: each.batches for labels, each in appends.items()})
    yield families.RECORDS.of({labels: each.records for labels, each in appends.items()})
    yield families.BYTES.of(
        {(name,): found.appended_bytes.get(channel, 0) for channel, name in CHANNELS.items()}
    )


def _takeovers(found: Counts) -> Iterable[Metric]:
    yield families.REBALANCES.of(found.rebalances)
    yield families.TAKEOVERS.of(found.takeovers)
    parts = found.takeover_seconds
    yield families.TAKEOVER_SECONDS.of({(part,): seconds for part, seconds in parts.items()})
    yield families.TAKEOVER_ROWS.of(found.rows_taken_over)
    yield families.TAKEOVER_RECORDS.of(found.records_read)
    yield families.RECENT_TAKEOVER_ROWS.of(found.recent_rows_taken_over)
    yield families.RECENT_TAKEOVER_RECORDS.of(found.recent_records_read)


def _ends(health_file: Path | None) -> Iterable[Metric]:
    found = ends.by_reason(health_file)
    yield families.ENDS.of({(reason,): each.count for reason, each in found.items()})
    yield families.RECENT_ENDS.of({(reason,): each.recent for reason, each in found.items()})
