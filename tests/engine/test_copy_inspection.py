"""Local copies that an audit reads: as they are, while no worker uses them, and unchanged."""

from pathlib import Path

import pytest

from exactstage.copy_inspection import open_copies
from exactstage.errors import FailStop
from exactstage.local_copy import Position, StateDirectory, timer_key
from exactstage.log import TopicPartition

pytest.importorskip("rocksdict")

AT, OTHER = TopicPartition("rows-changelog", 0), TopicPartition("rows-changelog", 1)
POSITION = Position(
    belongs={"partition": 0},
    commit=1,
    checkpoint="",
    checkpoint_offset=2,
    offset=3,
    ring_offset=0,
    time_ms=0,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Have a directory with a copy of two rows, one of them open and with a timer."""
    path = tmp_path / "state"
    state = StateDirectory(path)
    state.open(AT).write(
        [(b"a", b"1"), (b"b", b"2")],
        timers=[timer_key(77, b"a")],
        keeps=lambda key, _: key == b"a",
        position=POSITION,
    )
    state.close()
    return path


def files(path: Path) -> dict[Path, tuple[int, int]]:
    return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")}


def test_a_copy_is_read_and_nothing_changes(directory: Path) -> None:
    before = files(directory)
    with open_copies(directory, [AT, OTHER]) as found:
        [copy] = found.copies
        assert (copy.at, copy.refused, copy.position) == (AT, None, POSITION)
        assert dict(copy.rows()) == {b"a": b"1", b"b": b"2"}
        assert list(copy.open_keys()) == [b"a"]
        assert copy.has_timer(77, b"a")
        assert not copy.has_timer(78, b"a")
        assert not found.others
    assert files(directory) == before


def test_a_directory_that_a_worker_uses_is_not_read(directory: Path) -> None:
    state = StateDirectory(directory)
    with pytest.raises(FailStop, match="is in use by a worker"), open_copies(directory, [AT]):
        pytest.fail("it was opened")
    state.close()
    with open_copies(directory, [AT]) as found:
        assert found.copies


def test_no_worker_can_use_it_until_it_was_read(directory: Path) -> None:
    with open_copies(directory, [AT]), pytest.raises(FailStop, match="by another process"):
        StateDirectory(directory)
    StateDirectory(directory).close()


def test_two_audits_can_read_it(directory: Path) -> None:
    with open_copies(directory, [AT]) as first, open_copies(directory, [AT]) as second:
        assert dict(first.copies[0].rows()) == dict(second.copies[0].rows())


def test_other_directories_are_no_copies(directory: Path) -> None:
    (directory / "something").mkdir()
    with open_copies(directory, [OTHER]) as found:
        assert not found.copies
        assert [path.name for path in found.others] == ["rows-changelog-0", "something"]


def test_a_directory_that_is_not_there_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(FailStop, match="can't be read"), open_copies(tmp_path / "no", [AT]):
        pytest.fail("it was opened")


def test_rows_without_a_position_are_refused(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.open(AT).write([(b"a", b"1")])
    state.close()
    with open_copies(tmp_path, [AT]) as found:
        [copy] = found.copies
        assert copy.refused == (
            "the takeover or standby that filled it did not end; it is filled anew"
        )


def test_a_copy_that_nothing_was_written_to_has_no_position(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.open(AT)
    state.close()
    with open_copies(tmp_path, [AT]) as found:
        [copy] = found.copies
        assert (copy.refused, copy.position, list(copy.rows())) == (None, None, [])
