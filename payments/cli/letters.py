"""Prints dead letters: as one line, one JSON object, or one page."""

import base64
import json
from typing import TYPE_CHECKING

from payments.cli.output import colored, printable, show

if TYPE_CHECKING:
    from payments.dead_letters.letter import DeadLetter

_UNITS = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]


def age(age_ms: int) -> str:
    """Return an age in its largest unit: ``3 h``."""
    seconds = max(age_ms, 0) // 1000
    unit, size = next(((u, size) for u, size in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds // size} {unit}"


HEAD = ["POSITION", "AGE", "REASON", "KEY", "MESSAGE"]
_KEY_CHARACTERS, _MESSAGE_CHARACTERS = 30, 70


def row(letter: "DeadLetter", now_ms: int) -> list[str]:
    """Return the cells of a letter in ``list``, under ``HEAD``."""
    return [
        str(letter.position),
        age(now_ms - letter.time_ms),
        letter.reason,
        printable(letter.key, _KEY_CHARACTERS),
        printable(letter.facts.get("message", ""), _MESSAGE_CHARACTERS),
    ]


def summary(letter: "DeadLetter", now_ms: int) -> dict[str, object]:
    """Return the object of a letter in ``list --json``."""
    from payments.records.record_writer import iso_time

    return {
        "position": str(letter.position),
        "time": iso_time(letter.time_ms),
        "age_seconds": max(now_ms - letter.time_ms, 0) // 1000,
        "reason": letter.reason,
        "message": letter.facts.get("message"),
        "source": letter.source or None,
        "last_offset": letter.last_offset,
        "key": _json_text(letter.key),
        "value_bytes": None if letter.value is None else len(letter.value),
    }


def details(letter: "DeadLetter") -> dict[str, object]:
    """Return the object of a letter in ``show --json``."""
    from payments.records.record_writer import iso_time

    return {
        "position": str(letter.position),
        "time": iso_time(letter.time_ms),
        "received": iso_time(letter.received_ms),
        "source": letter.source or None,
        "last_offset": letter.last_offset,
        "unanswered": letter.unanswered,
        "reason": letter.reason,
        "message": letter.facts.get("message"),
        "exception": letter.facts.get("exception"),
        "stacktrace": letter.facts.get("stacktrace"),
        "key": _json_text(letter.key),
        "value": _json_text(letter.value),
        "headers": [[name, _json_text(content)] for name, content in letter.headers],
    }


def _json_text(content: bytes | None) -> object:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def show_details(letter: "DeadLetter", now_ms: int) -> None:
    """Print a letter on a page; control characters that it contains are escaped."""
    from payments.records.record_writer import iso_time

    since = f"{iso_time(letter.time_ms)} ({age(now_ms - letter.time_ms)} ago)"
    lines = {
        "position": str(letter.position),
        "dead-lettered": since,
        "came in at": _place(letter),
        "received": iso_time(letter.received_ms),
        "reason": letter.reason,
        "message": letter.facts.get("message", ""),
        "exception": letter.facts.get("exception", ""),
        "key": printable(letter.key),
    }
    for name, text in lines.items():
        show(f"{colored(f'{name:<10}', 'cyan')}  {printable(text)}")
    for name, content in letter.headers:
        show(f"{colored('header    ', 'cyan')}  {printable(name)}: {printable(content)}")
    show(colored("value", "cyan"))
    if letter.last_offset is None:
        for line in _value_lines(letter.value):
            show(f"  {printable(line)}")
    else:
        show(f"  a batch: {len(letter.value or b''):,} bytes of it, which --json shows")
        if letter.unanswered is not None:
            show(f"  the last {letter.unanswered:,} of its records got no answer")
    if trace := letter.facts.get("stacktrace"):
        show(colored("stacktrace", "cyan"))
        for line in trace.splitlines():
            show(f"  {printable(line)}")


def _place(letter: "DeadLetter") -> str:
    """Return the address of a letter's record, or the range of a batch."""
    if letter.last_offset is None:
        return letter.source or "(no stage wrote this record)"
    return f"{letter.source} up to offset {letter.last_offset}"


def _value_lines(value: bytes | None) -> list[str]:
    """Return a value in lines: JSON is indented, all else is as it was received."""
    if value is None:
        return ["null"]
    text = value.decode(errors="backslashreplace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return text.splitlines() or [""]
