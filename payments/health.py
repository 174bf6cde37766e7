"""Whether a worker is ready, told through a file that the worker renews while it is.

``payments health`` asks from another process of the same container or host: what counts is the age
of the file. A worker that hangs renews nothing, so it is not ready either.
"""

import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)

RENEWAL_SECONDS = 3.0
LIMIT_SECONDS = 15.0


def renew(file: Path) -> None:
    """Say that the worker is ready now; a file that can't be written is logged, not raised."""
    try:
        file.touch()
    except OSError as error:
        # Payments do not depend on it: the check fails, and this says why.
        logger.warning("the heartbeat file can't be written: %s", error)


def forget(file: Path) -> None:
    """Say that the worker is not ready; what an earlier process left counts no more."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the heartbeat file can't be removed: %s", error)


def problem(file: Path) -> str | None:
    """Return why the worker does not count as ready, or None when it is ready."""
    try:
        age_seconds = time.time() - file.stat().st_mtime
    except OSError as error:
        return f"no heartbeat: {error}"
    if age_seconds > LIMIT_SECONDS:
        return (
            f"the last heartbeat is {age_seconds:.0f} s old (limit {LIMIT_SECONDS:.0f} s): {file}"
        )
    return None
