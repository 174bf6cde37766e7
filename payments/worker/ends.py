"""Ends of workers: how often each reason ended the worker of this host, kept in a file.

The counts of a process end with it, so those of its end are beside ``PAYMENTS_HEALTH_FILE``, in
``<file>.ends``: the next worker reads them, and serves them as metrics. The file has the times of
the last ends too: a process that ends before its first scrape has shown no count that an increase
could be seen from.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

RECENT_SECONDS = 900.0
"""For how long an end is recent."""

_KEPT_TIMES = 20
"""Of so many last ends for each reason the times are kept."""

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Ends:
    """How often a reason has ended a worker, and when it did last."""

    count: int = 0
    times: tuple[float, ...] = ()
    """Of the last ends, in seconds since 1970, by this host's clock."""

    @classmethod
    def of(cls, stored: Any) -> "Ends":
        """Return what a file says of a reason: an earlier version wrote the count alone."""
        count, *times = stored if isinstance(stored, list) else [stored]
        return cls(int(count), tuple(float(each) for each in times))

    def __add__(self, other: "Ends") -> "Ends":
        """Return both together."""
        return Ends(self.count + other.count, (*self.times, *other.times))

    @property
    def recent(self) -> int:
        """How many of them are recent."""
        since = time.time() - RECENT_SECONDS
        return sum(each > since for each in self.times)


def file_of(health_file: Path) -> Path:
    """Return the file that has the counts."""
    return health_file.with_name(f"{health_file.name}.ends")


def reason_of(failure: FailStop) -> str:
    """Return the reason code of a failure: its class, of which there are few."""
    return _CAPITAL.sub("_", type(failure).__name__).lower()


def note(health_file: Path, reason: str) -> None:
    """Count an end. Where the file can't be written, that is logged, not raised."""
    file = file_of(health_file)
    found = {**_read(health_file)}
    found[reason] = found.get(reason, Ends()) + Ends(1, (time.time(),))
    stored = {name: [each.count, *each.times[-_KEPT_TIMES:]] for name, each in found.items()}
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.write_text(json.dumps(stored) + "\n")
        partial.replace(file)
    except OSError as error:
        logger.warning("%s can't be written: %s", file, error)


def note_former(health_file: Path) -> None:
    """Count the end of the former worker, if it could not do so itself."""
    if was_killed(health_file):
        note(health_file, KILLED)


def read(health_file: Path) -> Mapping[str, int]:
    """Return how often each reason has ended a worker; none where there is no such file."""
    return {reason: each.count for reason, each in _read(health_file).items()}


def _read(health_file: Path) -> Mapping[str, Ends]:
    try:
        found = json.loads(file_of(health_file).read_text())
        return {str(reason): Ends.of(stored) for reason, stored in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def by_reason(health_file: Path | None) -> Mapping[str, Ends]:
    """Return the ends of workers by each of ``REASONS``; without a file none."""
    found = dict.fromkeys(REASONS, Ends())
    for reason, each in ({} if health_file is None else _read(health_file)).items():
        known = reason if reason in found else OTHER
        found[known] += each
    return found
