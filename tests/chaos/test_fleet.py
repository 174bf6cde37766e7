"""The fleet: what ends is started again, and an end that is not as it should be is told."""

import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from payments.settings import Settings
from tools.chaos import fleet as module
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Fleet, Seat, first_traceback
from tools.dev.child_process import READY

LASTING = (sys.executable, "-u", "-c", f"import time; print({READY!r}); time.sleep(600)")


def ending(code: str) -> tuple[str, ...]:
    """Return the command of a process that runs some Python and ends."""
    return (sys.executable, "-u", "-c", code)


@pytest.fixture
async def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Seat]:
    monkeypatch.setattr(module, "WORKER", LASTING)
    made = Seat("worker-0", Settings(), tmp_path)
    yield made
    await made.abandon()


async def until(seat: Seat, condition: Callable[[], bool]) -> None:
    await seat.until(condition, "does not come to that", limit_seconds=120.0)


async def test_a_killed_worker_is_started_again_and_its_end_is_as_expected(seat: Seat) -> None:
    seat.start(LASTING)
    await until(seat, lambda: seat.ready)
    first = seat.process.pid
    await seat.end(signal.SIGKILL, "killed", then=LASTING)
    await until(seat, lambda: seat.ready)
    assert seat.process.pid != first
    [end] = seat.endings
    assert (end.code, end.cause, end.expected) == (-signal.SIGKILL, "killed", True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(70)", True),
        ("raise SystemExit(0)", False),
        ("raise SystemExit(1)", False),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", False),
        ("import sys; print('Traceback (most recent call last)'); sys.exit(70)", False),
    ],
)
async def test_an_end_by_itself_is_expected_with_exit_code_70_and_no_traceback(
    seat: Seat, code: str, expected: bool
) -> None:
    seat.start(ending(code))
    await until(seat, lambda: len(seat.endings) == 1)
    await until(seat, lambda: seat.ready)
    assert (seat.endings[0].expected, seat.endings[0].cause) == (expected, None)
    assert seat.starts == 2


@pytest.mark.parametrize(("said", "expected"), [("", True), ("begun", False)])
async def test_a_worker_may_end_by_sigterm_only_while_it_is_starting(
    seat: Seat, said: str, expected: bool
) -> None:
    code = f"import os, signal; print({said!r}, end=''); os.kill(os.getpid(), signal.SIGTERM)"
    seat.start(ending(code))
    seat.expect_end("deployed")
    await until(seat, lambda: len(seat.endings) == 1)
    await until(seat, lambda: seat.ready)
    [end] = seat.endings
    assert (end.code, end.expected) == (-signal.SIGTERM, expected)


@pytest.mark.parametrize(("code", "expected"), [(1, True), (2, False)])
async def test_a_worker_may_end_with_the_code_that_a_fault_has_told(
    seat: Seat, code: int, expected: bool
) -> None:
    seat.start(ending(f"raise SystemExit({code})"))
    seat.expect_end("few files", 1)
    await until(seat, lambda: len(seat.endings) == 1)
    await until(seat, lambda: seat.ready)
    [end] = seat.endings
    assert (end.cause, end.expected) == ("few files", expected)


async def test_a_guest_is_no_worker_that_is_wanted_but_its_end_counts(
    seat: Seat, tmp_path: Path
) -> None:
    fleet, guest = Fleet([seat]), Seat("twin", Settings(), tmp_path)
    fleet.guests.append(guest)
    assert (fleet.guest("twin"), fleet.guest("other")) == (guest, None)
    guest.start(LASTING)
    await fleet.abandon()
    assert fleet.size == 0
    assert [(end.seat, end.cause) for end in fleet.endings()] == [("twin", "abandoned")]


async def test_a_seat_that_is_stopped_stays_empty(seat: Seat) -> None:
    fleet = Fleet([seat])
    seat.start(LASTING)
    assert fleet.size == 1
    await fleet.stop()
    assert fleet.size == 0
    assert not seat.ready
    with pytest.raises(ChaosError, match="worker-0 is not running"):
        _ = seat.process
    assert [end.cause for end in fleet.endings()] == ["stopped"]


async def test_a_fleet_is_ready_when_each_wanted_worker_is(seat: Seat) -> None:
    fleet = Fleet([seat])
    seat.start(ending("import time; time.sleep(600)"))
    assert not fleet.all_ready()
    await seat.end(signal.SIGKILL, "killed", then=LASTING)
    await until(seat, fleet.all_ready)


def test_the_first_traceback_of_a_log_is_told_with_the_line_that_says_what_met_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "worker-0.0001.log"
    log.write_text("ready\n")
    assert first_traceback(log) is None
    first = "ERROR it broke\nTraceback (most recent call last):\n  File\nValueError: 1"
    log.write_text(f"ready\n{first}\n")
    assert first_traceback(log) == first
    log.write_text("Traceback (most recent call last):\n" * 100)
    assert len((first_traceback(log) or "").splitlines()) == 40
