"""Local copies compared with the journals: a sound one has no finding, each damage is found."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from exactstage import Record, TopicPartition, copy_inspection
from exactstage.errors import UNDECODABLE_BATCH, FailStop
from exactstage.local_copy import KEPT, TIMER, LocalCopy, StateDirectory
from exactstage.log import Bounds
from exactstage.memory import MemoryLog
from payments.cli.state_directory import open_state
from payments.cli.verify import report_text
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.verify import reading
from payments.verify.auditor import Auditor
from payments.verify.findings import CopyReport, CopyState, Kind, Report
from payments.verify.reading import audit
from tests import command_line

from .recording import ACCOUNTS, CANCEL, MAKE, PAYMENTS

pytest.importorskip("rocksdict")

HOLD = {**MAKE, "type": "authorize"}
COPIES = sorted(f"{topic}-{partition}" for topic in (ACCOUNTS, PAYMENTS) for partition in range(4))


@dataclass
class Run:
    """A run that has ended: its log, its settings, and the state directory of its worker."""

    payments: PaymentsTestbed
    path: Path

    @property
    def settings(self) -> Settings:
        """Those of the worker."""
        return self.payments.settings

    def audit(self, **changed: object) -> Report:
        """Audit it, with its copies; ``changed`` are other settings."""
        settings = self.settings.model_copy(update=changed)

        async def all_of_it() -> Report:
            auditor = Auditor(self.settings)
            with open_state(settings, self.path) as state:
                auditor.compare(await state.copies(self.payments.log))
                return await audit(self.payments.log, auditor, show=lambda _: None)

        return asyncio.run(all_of_it())

    def damage(self, name: str, change: Callable[[LocalCopy], None]) -> None:
        """Change one copy as a defect of a worker would."""
        topic, _, partition = name.rpartition("-")
        state = StateDirectory(self.path, memory_bytes=8 * 1024**2)
        change(state.open(TopicPartition(topic, int(partition))))
        state.close()

    def place_of(self, key: bytes, topic: str = PAYMENTS) -> str:
        """Return the name of the copy that has a key's rows."""
        records = self.payments.records(topic)
        [partition] = {record.partition for record in records if record.key == key}
        return f"{topic}-{partition}"

    def row(self, key: bytes, topic: str = PAYMENTS) -> Record:
        """Return the last record of a key in its journal."""
        return [record for record in self.payments.records(topic) if record.key == key][-1]


def report_of(report: Report, name: str) -> CopyReport:
    assert report.copies is not None
    [found] = [copy for copy in report.copies if copy.name == name]
    return found


def faults(report: Report) -> list[str]:
    """Return what is violated: all of it is about copies."""
    assert set(report.by_kind) <= {Kind.COPY_DIFFERS}
    return sorted(violation.message for violation in report.violations)


async def play(payments: PaymentsTestbed) -> None:
    """Make, hold, cancel, decline and forget payments, so that rows are replaced and deleted."""
    for number in range(12):
        await payments.send(f"p{number}", MAKE)
        await payments.send(f"h{number}", {**HOLD, "hold_seconds": 3600 + 600 * number})
    await payments.send("p1", CANCEL)
    await payments.send("poor", {**MAKE, "amount": 10**6})
    await payments.send("h1", {"type": "capture", "amount": 40, "final": False})
    await payments.send("h2", {"type": "void"})
    await payments.advance(7200)
    await payments.send("last", MAKE)
    await payments.quiet()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("state") / "dir"
    payments = PaymentsTestbed(opening_balance=100_000, state_dir=path, hold_notice_seconds=600)

    async def run() -> None:
        async with payments:
            await play(payments)

    asyncio.run(run())
    return Run(payments, path)


@pytest.fixture
def run(played: Run, tmp_path: Path) -> Run:
    shutil.copytree(played.path, tmp_path / "dir")
    return Run(played.payments, tmp_path / "dir")


def files(path: Path) -> dict[str, tuple[int, int]]:
    return {str(f): (f.stat().st_mtime_ns, f.stat().st_size) for f in path.rglob("*")}


def test_copies_of_a_sound_run_are_the_same_as_their_journals(run: Run) -> None:
    before = files(run.path)
    report = run.audit()
    assert report.ok, report.violations
    assert report.copies is not None
    assert [copy.name for copy in report.copies] == COPIES
    assert {copy.state for copy in report.copies} == {CopyState.SAME}
    rows = sum(copy.rows or 0 for copy in report.copies if copy.name.startswith(PAYMENTS))
    assert rows == len({"p", "h"}) * 12 + len({"last"}), "the declined one was forgotten"
    assert files(run.path) == before, "nothing in the directory changes"


def test_a_row_that_differs_is_found(run: Run) -> None:
    row = run.row(b"p3")
    run.damage(run.place_of(b"p3"), lambda copy: copy.write([(b"p3", (row.value or b"") + b" ")]))
    report = run.audit()
    name = run.place_of(b"p3")
    assert faults(report) == [
        f"local copy {name}: the row of 'p3' is another one than the journal's"
    ]
    [violation] = report.violations
    assert violation.place == (PAYMENTS, row.partition, row.offset)
    assert report_of(report, name).state is CopyState.DIFFERS


def test_a_row_of_an_account_that_differs_is_found(run: Run) -> None:
    name = run.place_of(b"abc", ACCOUNTS)
    earlier = run.payments.records(ACCOUNTS)
    first = next(record for record in earlier if record.key == b"abc")
    run.damage(name, lambda copy: copy.write([(b"abc", first.value)]))
    assert faults(run.audit()) == [
        f"local copy {name}: the row of 'abc' is another one than the journal's"
    ]


def test_a_row_that_is_missing_is_found(run: Run) -> None:
    name, row = run.place_of(b"p4"), run.row(b"p4")
    run.damage(name, lambda copy: copy.write([(b"p4", None)]))
    report = run.audit()
    assert faults(report) == [f"local copy {name}: the row of this record is missing"]
    assert report.violations[0].place == (PAYMENTS, row.partition, row.offset)


@pytest.mark.parametrize("key", [b"never", b"poor"])
def test_a_row_too_many_is_found(run: Run, key: bytes) -> None:
    """Of a payment that there never was, and of one that was forgotten."""
    row = run.row(b"p4").value or b""
    name = run.place_of(key if key == b"poor" else b"p4")

    def add(copy: LocalCopy) -> None:
        position = copy.position
        assert position is not None
        copy.write([(key, row)], timers=[timer[0] for timer in timers_of(copy, b"p4")])
        times = [int.from_bytes(t[len(TIMER) :][:8]) for t, *_ in timers_of(copy, b"p4")]
        copy.write((), timers=[TIMER + time.to_bytes(8) + key for time in times])

    run.damage(name, add)
    found = faults(run.audit())
    assert f"local copy {name}: it has a row of {key.decode()!r}, and the journal has none" in found


def timers_of(copy: LocalCopy, key: bytes) -> list[tuple[bytes, int, bytes]]:
    return [timer for timer in copy.timers(b"") if timer[2] == key]


def test_a_timer_that_is_missing_is_found(run: Run) -> None:
    name = run.place_of(b"h11")

    def remove(copy: LocalCopy) -> None:
        lasts = max(timers_of(copy, b"h11"), key=lambda timer: timer[1])
        copy.write((), taken=[lasts[0]])

    run.damage(name, remove)
    [fault] = faults(run.audit())
    assert fault.startswith(f"local copy {name}: the timer of 'h11' at 2026-01-01T02:51:00")


def test_a_timer_that_was_due_may_have_been_taken(run: Run) -> None:
    """It is counted: the next worker would not find it, and nothing says that it is needed."""
    name = run.place_of(b"h11")

    def remove(copy: LocalCopy) -> None:
        assert copy.position is not None
        late = msgspec.structs.replace(copy.position, time_ms=copy.position.time_ms + 10**9)
        copy.write((), taken=[timer for timer, *_ in timers_of(copy, b"h11")], position=late)

    run.damage(name, remove)
    report = run.audit()
    assert not faults(report)
    assert report.unchecked["timers that were due in local copies, and may have been taken"]


def test_timers_that_a_change_of_their_row_has_moved_are_no_difference(run: Run) -> None:
    name = run.place_of(b"p4")
    run.damage(name, lambda copy: copy.write((), timers=[TIMER + (10**12).to_bytes(8) + b"p4"]))
    assert run.audit().ok


@pytest.mark.parametrize(
    ("key", "is_kept", "message"),
    [
        (b"h11", False, "'h11' is missing among its open rows"),
        (b"p4", True, "'p4' is among its open rows, and is not open"),
        (b"nothing", True, "'nothing' is among its open rows, and it has no such row"),
    ],
)
def test_wrong_open_keys_are_found(run: Run, key: bytes, message: str, *, is_kept: bool) -> None:
    name = run.place_of(b"h11" if key == b"h11" else b"p4")
    mark = KEPT + key

    def change(copy: LocalCopy) -> None:
        # ``taken`` and ``timers`` are keys of the store, whatever they begin with.
        copy.write((), timers=[mark] if is_kept else [], taken=[] if is_kept else [mark])

    run.damage(name, change)
    assert faults(run.audit()) == [f"local copy {name}: {message}"]


# --- what the next worker throws away ---------------------------------------------------------


def not_used(report: Report, name: str) -> str:
    """Return why a copy was not used: that is no violation."""
    assert report.ok, report.violations
    found = report_of(report, name)
    assert found.state in {CopyState.NOT_USED, CopyState.UNKNOWN}
    assert found.why is not None
    assert str(found) == f"local copy {name}: not compared: {found.why}"
    return found.why


def test_a_copy_of_another_partition_is_not_compared(run: Run) -> None:
    first, second = f"{PAYMENTS}-0", f"{PAYMENTS}-1"
    shutil.rmtree(run.path / first)
    shutil.copytree(run.path / second, run.path / first)
    report = run.audit()
    assert not_used(report, first) == "it was written for partition 1, here is 0"
    assert report_of(report, second).state is CopyState.SAME


def test_a_copy_of_another_topic_of_this_name_is_not_compared(run: Run) -> None:
    def other(copy: LocalCopy) -> None:
        assert copy.position is not None
        belongs = {**copy.position.belongs, "topic": "another"}
        copy.write((), position=msgspec.structs.replace(copy.position, belongs=belongs))

    name = f"{PAYMENTS}-2"
    run.damage(name, other)
    assert not_used(run.audit(), name).startswith("it was written for topic 'another', here is ")


def test_copies_of_workers_with_other_settings_are_not_compared(run: Run) -> None:
    report = run.audit(hold_seconds=77)
    former = run.settings.hold_seconds
    assert not_used(report, f"{PAYMENTS}-0") == (
        f"it was written with PAYMENTS_HOLD_SECONDS={former} (here 77)"
    )
    assert report_of(report, f"{ACCOUNTS}-0").state is CopyState.SAME


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"offset": 10**6}, "it is ahead of its journal"),
        ({"checkpoint": "another"}, "its journal does not have its commit"),
        ({"checkpoint_offset": 0}, "its journal does not have its commit"),
        ({"format": 99}, "it has format 99, this version reads up to"),
    ],
)
def test_a_copy_that_its_journal_contradicts_is_not_compared(
    run: Run, change: dict[str, object], why: str
) -> None:
    def pretend(copy: LocalCopy) -> None:
        assert copy.position is not None
        copy.write((), position=msgspec.structs.replace(copy.position, **change))

    name = f"{PAYMENTS}-2"
    run.damage(name, pretend)
    assert not_used(run.audit(), name).startswith(why)


def test_a_copy_that_was_found_damaged_is_not_compared(run: Run) -> None:
    name = f"{PAYMENTS}-2"
    (run.path / name / "damaged").touch()
    assert not_used(run.audit(), name) == "it was found damaged while it was in use"


def test_a_copy_with_flipped_bytes_is_not_compared(run: Run) -> None:
    name = f"{PAYMENTS}-2"
    [file] = (run.path / name / "rows").glob("*.sst")
    content = bytearray(file.read_bytes())
    content[10] ^= 255
    file.write_bytes(bytes(content))
    before = files(run.path)
    why = not_used(run.audit(), name)
    assert why.startswith("it can't be read (")
    assert f"{file}" in why
    assert "local-copies-" not in why, "the links are the command's own"
    assert files(run.path) == before


def test_a_copy_that_lacks_a_file_is_not_compared(run: Run) -> None:
    name = f"{PAYMENTS}-2"
    [file] = (run.path / name / "rows").glob("*.sst")
    file.unlink()
    assert not_used(run.audit(), name).startswith("it can't be ")


class HeldBack(MemoryLog):
    """Has records of an open transaction at the end of a journal, which nobody may see."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Count them too, as a broker does."""
        found = dict(await super().bounds(at))
        held = TopicPartition(PAYMENTS, 2)
        if held in found:
            found[held] = found[held]._replace(end=found[held].end + 5)
        return found


def test_a_copy_whose_journal_is_held_back_is_not_compared(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has replaced a row may be behind, and the row compacted away."""
    monkeypatch.setattr(reading, "LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(run.payments.log, "__class__", HeldBack)
    report = run.audit()
    assert not_used(report, f"{PAYMENTS}-2") == "its journal could not be read to its end"
    [held_back] = [why for why in report.unchecked if "open transaction" in why]
    assert report.unchecked[held_back] == 5
    assert report_of(report, f"{PAYMENTS}-1").state is CopyState.SAME


def test_a_copy_whose_journal_has_a_batch_that_can_not_be_read_is_not_compared(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dir"
    payments = PaymentsTestbed(opening_balance=100_000, state_dir=path)

    async def run() -> None:
        async with payments:
            await play(payments)
        payments.log.produce_unreadable(TopicPartition(PAYMENTS, 2), 3, UNDECODABLE_BATCH)

    asyncio.run(run())
    report = Run(payments, path).audit()
    assert report.by_kind == {Kind.MALFORMED_RECORD: 1}
    found = report_of(report, f"{PAYMENTS}-2")
    assert (found.state, found.why) == (CopyState.NOT_USED, "a batch of its journal can't be read")
    assert report_of(report, f"{PAYMENTS}-1").state is CopyState.SAME


def test_an_empty_copy_says_nothing(run: Run) -> None:
    name = f"{PAYMENTS}-2"
    shutil.rmtree(run.path / name / "rows")
    report = run.audit()
    assert report.ok
    assert str(report_of(report, name)) == (
        f"local copy {name}: empty (nothing in its files yet: nothing was compared)"
    )


def test_copies_are_counted_by_what_became_of_them(run: Run) -> None:
    shutil.rmtree(run.path / f"{PAYMENTS}-2" / "rows")
    (run.path / f"{PAYMENTS}-1" / "damaged").touch()
    shutil.rmtree(run.path / f"{ACCOUNTS}-3")
    shutil.rmtree(run.path / f"{ACCOUNTS}-2")
    report = run.audit()
    counted = "local copies: 4 compared, 1 not used, 1 empty, 2 missing"
    assert report.copies_counted == counted
    assert report.ok
    assert report.as_json()["copies_missing"] == 2
    said = report_text(report).splitlines()
    assert said[said.index(counted) - 1].startswith("local copy ")


def test_copies_that_differ_and_other_folders_are_counted_too(run: Run) -> None:
    (run.path / "other-changelog-0").mkdir()
    run.damage(run.place_of(b"p4"), lambda copy: copy.write([(b"p4", None)]))
    assert run.audit().copies_counted == (
        "local copies: 8 compared (1 NOT as the journal), 0 not used, 0 empty, 0 missing; "
        "other folders: 1"
    )


def test_an_audit_without_a_directory_counts_no_copies(run: Run) -> None:
    report = replace(run.audit(), copies=None)
    assert report.copies_counted is None
    assert "local copies:" not in report_text(report)
    assert "copies_missing" not in report.as_json()


def test_other_directories_are_named(run: Run) -> None:
    (run.path / "other-payments-changelog-0").mkdir()
    assert not_used(run.audit(), "other-payments-changelog-0") == (
        "it is no copy of a journal of this app id"
    )


# --- the command ------------------------------------------------------------------------------


def test_a_directory_that_a_worker_uses_is_refused(run: Run) -> None:
    state = StateDirectory(run.path, memory_bytes=8 * 1024**2)
    try:
        with pytest.raises(FailStop, match=r"is in use by a worker.*stop that worker first"):
            run.audit()
    finally:
        state.close()


def test_no_worker_can_use_the_directory_meanwhile(run: Run) -> None:
    with (
        open_state(run.settings, run.path),
        pytest.raises(FailStop, match="is in use by another process"),
    ):
        StateDirectory(run.path)
    StateDirectory(run.path).close()


def test_a_directory_without_a_lock_can_be_read(run: Run) -> None:
    """As it is where the copies were copied."""
    (run.path / "lock").unlink()
    assert run.audit().ok
    assert not (run.path / "lock").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may read all files")
def test_a_copy_that_this_user_may_not_read_is_an_error(run: Run) -> None:
    [file] = (run.path / f"{PAYMENTS}-2" / "rows").glob("*.sst")
    file.chmod(0)
    with pytest.raises(FailStop, match="may this user read it"):
        run.audit()


def refusing(of: object, name: str, patch: pytest.MonkeyPatch, path: str) -> None:
    """Let a method refuse for one path, as the disk does where this user has no right."""
    works = getattr(of, name)

    def refuses(self: Path, *given: object, **named: object) -> object:
        if str(self).endswith(path):
            raise PermissionError(13, "Permission denied", str(self))
        return works(self, *given, **named)

    patch.setattr(of, name, refuses)


def test_a_folder_that_this_user_may_not_search_is_an_error_of_the_directory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(Path, "exists", monkeypatch, f"{PAYMENTS}-2/damaged")
    shown = command_line.run("verify", "--state-dir", str(run.path))
    assert shown.exit_code == 2
    assert f"{PAYMENTS}-2/damaged can't be read ([Errno 13]" in shown.stderr
    assert "PAYMENTS_STATE_DIR of a worker, and may this user read it?" in shown.stderr
    assert "PAYMENTS_SSL" not in shown.stderr


@pytest.mark.parametrize("name", ["mkdir", "symlink_to"])
def test_links_that_can_not_be_made_are_an_error_of_the_temporary_directory(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refusing(Path, name, monkeypatch, "0" if name == "mkdir" else ".sst")
    with pytest.raises(FailStop, match=r"links .* can't be made \(\[Errno 13\].*TMPDIR"):
        run.audit()


def test_a_temporary_directory_that_can_not_be_made_is_an_error_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**_: object) -> object:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(copy_inspection, "TemporaryDirectory", refuses)
    with pytest.raises(FailStop, match=r"can't be made \(\[Errno 2\] No usable.*TMPDIR"):
        run.audit()


def test_a_directory_without_copies_is_a_usage_error(tmp_path: Path) -> None:
    shown = command_line.run("verify", "--state-dir", str(tmp_path))
    assert shown.exit_code == 2
    assert "there is no local copy of a journal of payments in" in shown.stderr


def test_a_directory_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    shown = command_line.run("verify", "--state-dir", str(tmp_path / "no"))
    assert shown.exit_code == 2
    assert "does not exist" in shown.stderr


def test_a_directory_in_use_ends_the_command_with_2(run: Run) -> None:
    state = StateDirectory(run.path, memory_bytes=8 * 1024**2)
    try:
        shown = command_line.run("verify", "--state-dir", str(run.path))
    finally:
        state.close()
    assert shown.exit_code == 2
    assert "is in use by a worker" in shown.stderr
