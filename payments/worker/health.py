"""Readiness by a heartbeat file: the worker writes its state and reasons there every second.

``payments health`` reads it in another process of the same container or host. A worker that hangs
writes nothing, so the age of the file counts too. A worker that ends by itself writes why; one that
was killed can't, so the file names the process that wrote it.
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
"""Files that could not be written the last time: that is logged once."""

_ended: set[Path] = set()
"""Files with the reason for which the worker ended; they are not written again."""

_writing = threading.Lock()
_WRITING_SECONDS = 1.0
"""How long the end of the process waits for another thread's write."""


def show(file: Path, reasons: Sequence[str]) -> None:
    """Write that the worker is ready, or why it is not: ``{"ready": false, "reasons": [...]}``.

    A file that can't be written is logged, once until it can be again, not raised.
    """
    with _writing:
        if file not in _ended:
            _write(file, {"ready": not reasons, "reasons": list(reasons)})


def show_end(file: Path, line: str) -> None:
    """Write the line with which the worker ends; ``show`` has no effect after that."""
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
        # In one step, so that no reader sees half of it.
        partial.write_text(text + "\n")
        partial.replace(file)
    except OSError as error:
        # Payments do not depend on the file: the health check fails, and this line says why.
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
    """Remove the file, so that the worker is not ready, whatever an earlier process left."""
    _ended.discard(file)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("PAYMENTS_HEALTH_FILE can't be removed: %s", error)


def was_killed(file: Path) -> bool:
    """Whether the worker that wrote the file has ended, and has not written why."""
    try:
        written, content = file.stat().st_mtime, json.loads(file.read_text())
        writer = Process.of(content["process"])
        ended = bool(content.get("ended"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    began = container_started()
    return not ended and (has_ended(writer) or (began is not None and written < began))


def why_not_ready(file: Path) -> str | None:
    """Return why the worker does not count as ready, or None when it is ready."""
    try:
        written = file.stat().st_mtime
        content = json.loads(file.read_text())
        ready, reasons = content["ready"], content["reasons"]
        ended = content.get("ended", False)
        # A worker of an earlier version did not name itself.
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
            f"the worker that wrote {file} (pid {writer.pid}) has ended without a reason: it was "
            f"killed (kill -9, out of memory?), and no other one has started since"
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
        return f"{file} is from before this container was started; no worker has started since"
    return None
