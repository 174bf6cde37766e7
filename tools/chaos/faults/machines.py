"""Faults of a worker's machine: a wrong clock, a full disk, few open files, a twin of its id."""

import asyncio
import resource
import shutil
import signal
from pathlib import Path

from tools.chaos.errors import ChaosError
from tools.chaos.faults.workers import any_seat
from tools.chaos.fleet import Seat
from tools.chaos.scene import Scene
from tools.chaos.verdict import until
from tools.dev.child_process import WORKER

HOURS = 30
JUMPS = 3
BETWEEN_JUMPS_SECONDS = 2.0
FULL_SECONDS = 3.0
NO_CONNECTION = 3
"""Open files of a process whose standard streams take all that it may have."""

FEWEST_FILES, MANY_FILES = 10, 120
TOO_FEW_FILES = "open files"
EXIT_USER_ERROR = 1
NO_FILES_SECONDS = 3.0
TWIN_LIMIT_SECONDS = 30.0
TWIN_SECONDS = (2.0, 6.0)


def clock_lacks() -> str | None:
    """Return what the fault of clocks needs and is not here."""
    return None if _faketime() else "libfaketime (apt-get install faketime)"


def _faketime() -> Path | None:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return libraries[0] if libraries and shutil.which("env") else None


async def jump_clock(scene: Scene) -> None:
    """One worker's clock jumps by hours, forwards and back, while it runs."""
    library, seat = _faketime(), any_seat(scene)
    if library is None:
        raise ChaosError("there is no libfaketime")
    file = seat.process.log.with_suffix(".clock")
    _set(file, 0)
    variables = (
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    await seat.end(signal.SIGTERM, "deployed", then=("env", *variables, *WORKER))
    process = seat.process
    await seat.until(lambda: seat.ready or seat.process is not process, "is not ready")
    for _ in range(JUMPS):
        _set(file, scene.chance.randint(-HOURS, HOURS))
        await asyncio.sleep(BETWEEN_JUMPS_SECONDS)
    _set(file, 0)


async def jump_clock_in_closing(scene: Scene) -> None:
    """One worker's clock jumps by hours while windows close all the time."""
    await jump_clock(scene)


def _set(clock: Path, hours: int) -> None:
    written = clock.with_suffix(".new")
    written.write_text(f"{hours:+d}h\n")
    written.replace(clock)


async def fill_disk(scene: Scene) -> None:
    """No byte more to disk for one worker (log, health file), while another one joins again."""
    seat, other = scene.chance.sample(scene.fleet.seats, 2)
    process = seat.process
    _limit(process.pid, resource.RLIMIT_FSIZE, 0)
    await other.end(signal.SIGTERM, "deployed")
    await asyncio.sleep(FULL_SECONDS)
    if process is seat.process and scene.chance.choice([False, True]):
        await seat.end(signal.SIGTERM, "deployed")
    else:
        _limit(process.pid, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)


async def start_with_few_files(scene: Scene) -> None:
    """One worker may open few files from its start on: it ends with one line, or runs."""
    seat, files = any_seat(scene), scene.chance.randint(FEWEST_FILES, MANY_FILES)
    limited = ("sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files), *WORKER)
    await seat.end(signal.SIGTERM, "deployed", then=limited)
    process = seat.process
    seat.expect_end("few files", EXIT_USER_ERROR)
    await seat.until(lambda: seat.ready or seat.process is not process, "neither runs nor ends")
    if seat.process is not process:
        said = process.log.read_text().splitlines()
        if len(said) != 1 or TOO_FEW_FILES not in said[0]:
            raise ChaosError(f"{process.log} does not name the limit of {files} open files")


async def run_out_of_files(scene: Scene) -> None:
    """One worker can't open a file more, and its connections break."""
    if scene.proxy is None:
        raise ChaosError("this stand has no proxy")
    process = scene.fleet.seats[0].process
    _limit(process.pid, resource.RLIMIT_NOFILE, NO_CONNECTION)
    scene.proxy.cut()
    scene.proxy.heal()
    await asyncio.sleep(NO_FILES_SECONDS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    _limit(process.pid, resource.RLIMIT_NOFILE, most)


def _limit(pid: int, kind: int, value: int) -> None:
    """Change what a process may use; it may have ended meanwhile."""
    try:
        _, most = resource.prlimit(pid, kind)
        resource.prlimit(pid, kind, (value, most))
    except ProcessLookupError:
        return


async def start_twin(scene: Scene) -> None:
    """Second worker with the same instance id, for some seconds: they throw each other out."""
    named = [seat for seat in scene.fleet.seats if seat.settings.instance_id is not None]
    if not named:
        raise ChaosError("no worker has an instance id: --membership mixed or static")
    seat = scene.chance.choice(named)
    twin = scene.fleet.guest(f"{seat.name}-twin")
    twin = twin or _twin(scene, seat)
    known = len(seat.endings) + len(twin.endings)
    twin.start()
    thrown_out = await until(
        lambda: len(seat.endings) + len(twin.endings) > known, TWIN_LIMIT_SECONDS
    )
    await asyncio.sleep(scene.chance.uniform(*TWIN_SECONDS))
    await twin.stop()
    if not thrown_out:
        raise ChaosError(f"two workers run with the instance id {seat.settings.instance_id}")


def _twin(scene: Scene, seat: Seat) -> Seat:
    name = f"{seat.name}-twin"
    values: dict[str, object] = {"health_file": None}
    if seat.settings.state_dir is not None:
        values["state_dir"] = seat.settings.state_dir.with_name(f"{name}-state")
    twin = Seat(name, seat.settings.model_copy(update=values), seat.process.log.parent)
    scene.fleet.guests.append(twin)
    return twin
