"""Local copies for an audit: read as they are, without a worker, and without a change (4.11).

RocksDB writes files even into a directory that it only reads. So each copy is opened through a
directory of links to its files.
"""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from .advice import setting
from .errors import FailStop
from .local_copy import (
    DAMAGED,
    KEPT,
    LOCK,
    POSITION,
    ROW,
    CopyRefused,
    CopyUnfinished,
    Position,
    between,
    decode_position,
    digest,
    path_of,
    shows_damage,
    timer_key,
)
from .log import TopicPartition

copy_digest = digest
"""Digest of a checkpoint's value, as ``Position.checkpoint`` has it."""

_NOT_LINKED = frozenset({"LOCK", "LOG", "rocksdict-config.json"})
"""Files that are written when a copy is opened, and not needed."""


class FoundCopy:
    """The local copy of one journal, open for reading."""

    def __init__(self, at: TopicPartition, path: Path, links: Path) -> None:
        """Open it; ``links`` is an empty directory. Raises ``FailStop`` where it can't be read."""
        self.at, self.path = at, path
        self.position: Position | None = None
        """Up to where it has which journal; None of an empty or a refused one."""

        self.refused: str | None = None
        """Why a worker would throw it away, whatever its journal has."""

        self._links = links
        self._db: Any = None
        try:
            self._open(links)
        except CopyRefused as why:
            self.refused = str(why)

    def _open(self, links: Path) -> None:
        from rocksdict import AccessType, Options, Rdict  # noqa: PLC0415 - an optional extra

        if _exists(self.path / DAMAGED):
            raise CopyRefused("it was found damaged while it was in use")
        if not _link(self.path / "rows", links):
            return
        options = Options(raw_mode=True)
        options.create_if_missing(False)  # noqa: FBT003 - another
        try:
            self._db = Rdict(str(links), options, access_type=AccessType.read_only())
            stored = self._db.get(POSITION)
        except Exception as error:
            raise self._broken(error) from error
        if stored is not None:
            self.position = decode_position(stored)
        elif next(self._between(b""), None) is not None:
            raise CopyUnfinished

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows.

        Raises ``CopyRefused`` where the disk has damaged it, ``FailStop`` where it can't be read.
        """
        for key, row in self._between(ROW):
            yield key[len(ROW) :], row

    def open_keys(self) -> Iterator[bytes]:
        """Yield the keys of the rows that it has as open. Raises ``CopyRefused``."""
        for key, _ in self._between(KEPT):
            yield key[len(KEPT) :]

    def has_timer(self, time_ms: int, key: bytes) -> bool:
        """Whether it has a timer. Raises ``CopyRefused``."""
        try:
            return self._db.get(timer_key(time_ms, key)) is not None
        except Exception as error:
            raise self._broken(error) from error

    def _between(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from between(self._db, prefix)
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> Exception:
        """Return what the disk's refusal means, with the paths of the files, not of the links."""
        text = str(error).replace(str(self._links), str(self.path / "rows"))
        if shows_damage(error):
            return CopyRefused(f"it can't be read ({text})")
        return _unreadable(self.path, text)

    def close(self) -> None:
        """Close it."""
        if self._db is not None:
            self._db.close()


class FoundCopies(NamedTuple):
    """What is in a state directory."""

    copies: list[FoundCopy]
    others: list[Path]
    """Directories that are no copies of the journals that were asked for."""


@contextmanager
def open_copies(directory: Path, journals: Collection[TopicPartition]) -> Iterator[FoundCopies]:
    """Open the local copies of ``journals`` in a state directory, for as long as the block lasts.

    No worker can use the directory until then. Raises ``FailStop`` where one does, where a file
    can't be read, and where rocksdict is not installed.
    """
    try:
        import rocksdict  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise FailStop(
            "local copies are read with rocksdict, which is not here: install the extra disk"
        ) from error
    with ExitStack() as stack:
        _lock(directory, stack)
        links = _temporary_directory(stack)
        by_path = {path_of(directory, at): at for at in journals}
        copies, others = list[FoundCopy](), list[Path]()
        for path in _directories(directory):
            if (at := by_path.get(path)) is None:
                others.append(path)
                continue
            own = links / str(len(copies))
            with _making_links():
                own.mkdir()
            copies.append(copy := FoundCopy(at, path, own))
            stack.callback(copy.close)
        yield FoundCopies(copies, others)


def _lock(directory: Path, stack: ExitStack) -> None:
    """Keep workers from a directory. Raises ``FailStop`` where one uses it."""
    try:
        lock = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # Somebody has copied it, or no worker has ever used it.
    except OSError as error:
        raise _unreadable(directory / LOCK, error) from error
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        raise FailStop(
            f"{directory} is in use by a worker, which changes it all the time: stop that worker "
            f"first, or read a snapshot of its file system"
        ) from error


def _directories(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError as error:
        raise _unreadable(directory, error) from error


def _exists(file: Path) -> bool:
    """Whether a file is there. Raises ``FailStop`` where its directory may not be searched."""
    try:
        return file.exists()
    except OSError as error:
        raise _unreadable(file, error) from error


def _temporary_directory(stack: ExitStack) -> Path:
    """Make a directory for links, for as long as the stack lasts. Raises ``FailStop``."""
    with _making_links():
        return Path(stack.enter_context(TemporaryDirectory(prefix="local-copies-")))


@contextmanager
def _making_links() -> Iterator[None]:
    """Convert an error of the disk that has the links."""
    try:
        yield
    except OSError as error:
        raise FailStop(
            f"local copies are read through links to their files, and these can't be made "
            f"({error}): may this user write to the directory for temporary files (TMPDIR), and "
            f"does it have space?"
        ) from error


def _link(rows: Path, links: Path) -> bool:
    """Link the files of a copy; False where there are none. Raises ``FailStop``."""
    try:
        files = [file for file in rows.iterdir() if file.name not in _NOT_LINKED]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(rows, error) from error
    for file in files:
        if not os.access(file, os.R_OK):
            raise _unreadable(file, PermissionError("no permission"))
        with _making_links():
            (links / file.name).symlink_to(file.absolute())
    return bool(files)


def _unreadable(path: Path, error: object) -> FailStop:
    return FailStop(
        f"{path} can't be read ({error}): is it in the {setting('STATE_DIR')} of a worker, and may "
        f"this user read it?"
    )
