"""Whether a worker is ready, and why not, told through a file that the worker writes every second.

``payments health`` asks from another process of the same container or host. A worker that hangs or
was killed writes nothing: so the age of the file counts too. One that ends by itself says why.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 15.0
_unwritten: set[Path] = set()
"""Files that could not be written the last time: that is said once."""

_ended: set[Path] = set()
"""Files that say why the worker ended, which is the last that they say."""

_writing = threading.Lock()
_WRITING_SECONDS = 1.0
"""How long the end of the process waits for another thread's look."""


def show(file: Path, reasons: Sequence[str]) -> None:
    """Say that the worker is ready now, or why it is not: ``{"ready": false, "reasons": [...]}``.

    A file that can't be written is logged, once until it can be again, not raised.
    """
    with _writing:
        if file not in _ended:
            _write(file, {"ready": not reasons, "reasons": list(reasons)})


def show_end(file: Path, line: str) -> None:
    """Say with which line the worker ends; nothing that ``show`` says counts after that."""
    is_alone = _writing.acquire(timeout=_WRITING_SECONDS)
    try:
        _ended.add(file)
        _write(file, {"ready": False, "reasons": [line], "ended": True})
    finally:
        if is_alone:
            _writing.release()


def _write(file: Path, content: Mapping[str, object]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    try:
        # In one step, so that nobody reads half of it.
        partial.write_text(json.dumps(content) + "\n")
        partial.replace(file)
    except OSError as error:
        # Payments do not depend on it: the check fails, and this says why.
        if file not in _unwritten:
            logger.warning("PAYMENTS_HEALTH_FILE can't be written: %s", error)
        _unwritten.add(file)
    else:
        if file in _unwritten:
            logger.info("PAYMENTS_HEALTH_FILE can be written again")
        _unwritten.discard(file)


def forget(file: Path) -> None:
    """Say that the worker is not ready; what an earlier process left counts no more."""
    _ended.discard(file)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("PAYMENTS_HEALTH_FILE can't be removed: %s", error)


def problem(file: Path) -> str | None:
    """Return why the worker does not count as ready, or None when it is ready."""
    try:
        age_seconds = time.time() - file.stat().st_mtime
        content = json.loads(file.read_text())
        ready, reasons = content["ready"], content["reasons"]
        ended = content.get("ended", False)
    except FileNotFoundError:
        return f"no worker is running: it writes {file} (PAYMENTS_HEALTH_FILE), which is not there"
    except OSError as error:
        return f"the worker's health file can't be read: {error}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{file} is not a health file of a worker; PAYMENTS_HEALTH_FILE names it"
    if ended:
        return f"the worker has ended: {'; '.join(reasons)}"
    return _too_old(file, age_seconds) or (None if ready else f"not ready: {'; '.join(reasons)}")


def _too_old(file: Path, age_seconds: float) -> str | None:
    if age_seconds < -LIMIT_SECONDS:
        return f"{file} was written in the future: this machine's clock was set back since"
    if age_seconds > LIMIT_SECONDS:
        return (
            f"the worker hangs or was killed: it last wrote {file} {age_seconds:.0f} s ago "
            f"(limit {LIMIT_SECONDS:.0f} s)"
        )
    return None
