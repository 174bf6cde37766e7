"""Whether a worker is ready, and why not, told through a file that the worker writes every second.

``payments health`` asks from another process of the same container or host. A worker that hangs
writes nothing: so the age of the file counts too. One that ends by itself says why; one that was
killed can't, so the file names the process that wrote it.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from payments.processes import Process, container_started, has_ended, this_process

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
    text = json.dumps({**content, "process": _writer()})
    try:
        # In one step, so that nobody reads half of it.
        partial.write_text(text + "\n")
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


@cache
def _writer() -> Mapping[str, object]:
    return this_process()._asdict()


def remove(file: Path) -> None:
    """Say that the worker is not ready; what an earlier process left counts no more."""
    _ended.discard(file)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("PAYMENTS_HEALTH_FILE can't be removed: %s", error)


def why_not_ready(file: Path) -> str | None:
    """Return why the worker does not count as ready, or None when it is ready."""
    try:
        written = file.stat().st_mtime
        content = json.loads(file.read_text())
        ready, reasons = content["ready"], content["reasons"]
        ended = content.get("ended", False)
        # A worker of a version before did not name itself.
        writer = Process.of(content["process"]) if "process" in content else None
    except FileNotFoundError:
        return f"no worker is running: it writes {file} (PAYMENTS_HEALTH_FILE), which is not there"
    except OSError as error:
        return f"the worker's health file can't be read: {error}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{file} is not a health file of a worker; PAYMENTS_HEALTH_FILE names it"
    if ended:
        return f"the worker has ended: {'; '.join(reasons)}"
    if writer is not None and has_ended(writer):
        return (
            f"the worker that wrote {file} (pid {writer.pid}) has ended without a word: it was "
            f"killed (kill -9, out of memory?), and no other one has begun since"
        )
    return _too_old(file, written) or (None if ready else f"not ready: {'; '.join(reasons)}")


def _too_old(file: Path, written: float) -> str | None:
    age_seconds = time.time() - written
    if age_seconds < -LIMIT_SECONDS:
        return f"{file} was written in the future: this machine's clock was set back since"
    if age_seconds > LIMIT_SECONDS:
        return (
            f"the worker hangs or was killed: it last wrote {file} {age_seconds:.0f} s ago "
            f"(limit {LIMIT_SECONDS:.0f} s)"
        )
    began = container_started()
    if began is not None and written < began:
        return f"{file} is from before this container was started; no worker has begun since"
    return None
