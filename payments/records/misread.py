"""Recognises bytes that were meant to be JSON in UTF-8 and are not, and names the correction.

Called only for refused records: a parser's "column 1" does not show that a file begins with a byte
order mark, or that a serializer put a schema's number in front.
"""

import codecs

UTF8_MARK = codecs.BOM_UTF8
_UTF8_WITHOUT = "produce it as UTF-8 without a byte order mark"
_MARKS = {
    UTF8_MARK: f"starts with a byte order mark: {_UTF8_WITHOUT}",
    # The longer ones first: the mark of UTF-32 begins as that of UTF-16 does.
    codecs.BOM_UTF32_LE: f"is UTF-32, with its byte order mark: {_UTF8_WITHOUT}",
    codecs.BOM_UTF32_BE: f"is UTF-32, with its byte order mark: {_UTF8_WITHOUT}",
    codecs.BOM_UTF16_LE: f"is UTF-16, with its byte order mark: {_UTF8_WITHOUT}",
    codecs.BOM_UTF16_BE: f"is UTF-16, with its byte order mark: {_UTF8_WITHOUT}",
}
_COMPRESSED = "send it plain; a Kafka producer compresses by itself (compression.type)"
_STARTS = {
    b"\x1f\x8b": f"is compressed with gzip: {_COMPRESSED}",
    b"\x28\xb5\x2f\xfd": f"is compressed with zstd: {_COMPRESSED}",
    b"\x04\x22\x4d\x18": f"is compressed with lz4: {_COMPRESSED}",
    b"'": "starts with a single quote, as of a shell or of Python: JSON has double quotes only",
    b"{'": "has single quotes, as of Python: JSON has double quotes only",
    b'{\\"': "has backslashes before its quotes, as a shell or a string needs them: produce it "
    "without them",
    "{\u201c".encode(): "has typographic quotes: JSON has the plain ones only",
    "{\u201d".encode(): "has typographic quotes: JSON has the plain ones only",
    "{\u201e".encode(): "has typographic quotes: JSON has the plain ones only",
}
_SCHEMA_BYTES = 5
"""A zero byte and the number of a schema, as Confluent's serializers write them before a value."""

_LOOKED_AT = 16
"""Bytes at the start that are examined for a wide encoding."""


def misread(data: bytes) -> str | None:
    """Return what these bytes are instead, and the correction; None where that is not known."""
    found = text_mark(data)
    if found is not None:
        return found
    start = data.lstrip()
    return next((advice for mark, advice in _STARTS.items() if start.startswith(mark)), None)


def text_mark(data: bytes) -> str | None:
    """Return what an encoding or a serializer added to a text, and the correction; else None."""
    for mark, advice in _MARKS.items():
        if data.startswith(mark):
            return advice
    if data[:1] == b"\0" and data[_SCHEMA_BYTES : _SCHEMA_BYTES + 1] in {b"{", b'"'}:
        return (
            "starts with a zero byte and a schema's number, as a schema registry's serializer "
            "writes them: produce plain JSON (StringSerializer)"
        )
    if data.endswith(b"\0") and b"\0" not in data.rstrip(b"\0"):
        return "ends with a zero byte, as a string of C does: produce it without that byte"
    wide = _wide(data)
    return None if wide is None else f"is {wide}, not UTF-8: {_UTF8_WITHOUT}"


def _wide(data: bytes) -> str | None:
    """Return ``UTF-16`` or ``UTF-32`` where Latin text without a mark shows that."""
    start = data[:_LOOKED_AT]
    if len(data) % 4 == 0 and start[:4].count(0) == 3:  # one of four is not zero
        return "UTF-32"
    even, odd = start[::2], start[1::2]
    for zeros, letters in ((even, odd), (odd, even)):
        if len(data) % 2 == 0 and data and not any(zeros) and all(letters):
            return "UTF-16"
    return None
