"""Lines for standard output and standard error: written at once or dropped, never waited for.

A full disk, a closed pipe, and a pipe without a reader may cost lines of a log, and nothing else:
an event loop that waits for the reader of its log handles no records.
"""

import io
import os
import select
import stat
from typing import TextIO


class Lines:
    """Writes lines to one stream; a line that can't be written at once is dropped and counted."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to the file of ``stream``; None is one that is closed."""
        self._stream = stream
        self._file = _descriptor(stream)
        self._poll = select.poll()
        if self._file is not None:
            self._poll.register(self._file, select.POLLOUT)
        self._torn = False
        self.dropped = 0
        """Lines that were dropped so far."""

        self.problem: str | None = None
        """Why the last line was dropped; None where it was written."""

    def write(self, line: bytes) -> bool:
        """Write one line, which ends with a line break; return whether it is there."""
        self.problem = self._tried(b"\n" + line if self._torn else line)
        self.dropped += self.problem is not None
        return self.problem is None

    def _tried(self, line: bytes) -> str | None:
        try:
            if self._file is not None:
                return self._put(self._file, memoryview(line))
            if self._stream is None:
                return "it is closed"
            self._stream.write(line.decode())
            self._stream.flush()
        except BlockingIOError:
            return "it takes nothing"
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        return None

    def _put(self, file: int, line: memoryview) -> str | None:
        """Write pieces that a pipe accepts whole or not at all (POSIX: ``PIPE_BUF``)."""
        while line:
            if not self._poll.poll(0):
                return "it takes nothing"
            written = os.write(file, line[: select.PIPE_BUF])
            line = line[written:]
            self._torn = bool(line)
        return None


def _descriptor(stream: TextIO | None) -> int | None:
    """Return the file to write to; None for a stream that has none, such as a test's."""
    try:
        file = -1 if stream is None else stream.fileno()
    except (OSError, ValueError, io.UnsupportedOperation):
        return None
    if file < 0:
        return None
    try:
        if stat.S_ISFIFO(os.fstat(file).st_mode):
            # Other processes may fill the pipe between the poll and the write, so writes must not
            # block. It is opened again, since the flag of a shared file would be theirs too.
            return os.open(f"/dev/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pass  # Such as a pipe of another user, or one whose reader has gone.
    return file
