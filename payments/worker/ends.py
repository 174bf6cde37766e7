"""Ends of workers: how often each reason ended the worker of this host, kept in a file.

The counts of a process end with it, so those of its end are beside ``PAYMENTS_HEALTH_FILE``, in
``<file>.ends``: the next worker reads them, and serves them as metrics.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from exactstage import FailStop
from payments.worker.health import was_killed

logger = logging.getLogger(__name__)

KILLED, OTHER = "killed", "other"
"""The process ended without a reason: SIGKILL, out of memory. Another version wrote a reason that
this one does not know."""

REASONS = (
    KILLED,
    OTHER,
    "defect",
    "fail_stop",
    "fenced",
    "fenced_instance",
    "journal_broken",
    "newer_format",
    "no_topic",
    "not_authorized",
    "not_ours",
    "position_lost",
    "records_lost",
    "refusal",
    "stalled",
    "unreadable_batch",
)
"""All reasons: the subclasses of ``FailStop``, and those two."""

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def file_of(health_file: Path) -> Path:
    """Return the file that has the counts."""
    return health_file.with_name(f"{health_file.name}.ends")


def reason_of(failure: FailStop) -> str:
    """Return the reason code of a failure: its class, of which there are few."""
    return _CAPITAL.sub("_", type(failure).__name__).lower()


def note(health_file: Path, reason: str) -> None:
    """Count an end. Where the file can't be written, that is logged, not raised."""
    file = file_of(health_file)
    counts = {**read(health_file)}
    counts[reason] = counts.get(reason, 0) + 1
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.write_text(json.dumps(counts) + "\n")
        partial.replace(file)
    except OSError as error:
        logger.warning("%s can't be written: %s", file, error)


def note_former(health_file: Path) -> None:
    """Count the end of the former worker, if it could not do so itself."""
    if was_killed(health_file):
        note(health_file, KILLED)


def read(health_file: Path) -> Mapping[str, int]:
    """Return how often each reason has ended a worker; none where there is no such file."""
    try:
        found = json.loads(file_of(health_file).read_text())
        return {str(reason): int(count) for reason, count in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def by_reason(health_file: Path | None) -> Mapping[str, int]:
    """Return how often each of ``REASONS`` has ended a worker; without a file never."""
    counts = dict.fromkeys(REASONS, 0)
    for reason, count in ({} if health_file is None else read(health_file)).items():
        counts[reason if reason in counts else OTHER] += count
    return counts
