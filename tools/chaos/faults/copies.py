"""Faults of local copies: deleted, damaged, exchanged, replaced by older ones, without room."""

import asyncio
import shutil
import signal
from pathlib import Path

from tools.chaos.errors import ChaosError
from tools.chaos.faults.workers import any_seat
from tools.chaos.fleet import Seat
from tools.chaos.scene import Scene
from tools.dev.child_process import WORKER

ROWS = "rows"
"""Folder with the files of a copy, in that of the copy."""

IGNORED = ("LOCK", "LOG")
"""How names of files begin in which RocksDB has nothing that it reads."""

FLIPPED_BYTES = 4
OLDER_SECONDS = (1.0, 5.0)
"""By so much a copy that is put back is older, and more."""

FEWEST_BLOCKS, MANY_BLOCKS = 2, 40
"""Room for each file of a worker, in blocks of 512 bytes: its copies fit at most at first."""

FULL_SECONDS = 3.0


async def delete(scene: Scene) -> None:
    """Local copies of a worker deleted before it starts again: some, or all."""
    seat = any_seat(scene)
    await _end(scene, seat)
    for copy in _some(scene, copies_of(seat)):
        shutil.rmtree(copy)
    seat.start()


async def damage(scene: Scene) -> None:
    """Local copies of a worker damaged before it starts again: bytes flipped, files cut, gone."""
    seat = any_seat(scene)
    await _end(scene, seat)
    for copy in _some(scene, copies_of(seat)):
        damage_copy(copy, scene)
    seat.start()


def _some(scene: Scene, copies: list[Path]) -> list[Path]:
    """Choose one copy at least, and all of them as often as any other number."""
    return scene.chance.sample(copies, scene.chance.randint(min(1, len(copies)), len(copies)))


def damage_copy(copy: Path, scene: Scene) -> None:
    """Damage one file of a copy, if it has one."""
    files = [
        file
        for file in sorted((copy / ROWS).glob("*"))
        if file.stat().st_size and not file.name.startswith(IGNORED)
    ]
    if not files:
        return
    file, kind = scene.chance.choice(files), scene.chance.choice(["flipped", "cut", "gone"])
    content = bytearray(file.read_bytes())
    if kind == "gone":
        file.unlink()
    elif kind == "cut":
        file.write_bytes(content[: scene.chance.randrange(len(content))])
    else:
        for _ in range(FLIPPED_BYTES):
            content[scene.chance.randrange(len(content))] ^= scene.chance.randint(1, 255)
        file.write_bytes(content)


async def swap(scene: Scene) -> None:
    """Local copies of two workers exchanged while both are down, or of two journals of one."""
    seats = scene.chance.sample(scene.fleet.seats, 2)
    await asyncio.gather(*(_end(scene, seat) for seat in seats))
    if scene.chance.choice([False, True]):
        exchange(*(directory_of(seat) for seat in seats))
    elif len(copies := copies_of(seats[0])) > 1:
        exchange(*scene.chance.sample(copies, 2))
    for seat in seats:
        seat.start()


async def put_back(scene: Scene) -> None:
    """Older backup of a worker's local copies put back while it is down."""
    seat = any_seat(scene)
    await _end(scene, seat)
    directory = directory_of(seat)
    backup = directory.with_name(f"{directory.name}.backup")
    shutil.copytree(directory, backup)
    seat.start()
    await seat.until(lambda: seat.ready, "is not ready")
    await asyncio.sleep(scene.chance.uniform(*OLDER_SECONDS))
    await _end(scene, seat)
    shutil.rmtree(directory)
    backup.rename(directory)
    seat.start()


async def fill_disk(scene: Scene) -> None:
    """No room for one worker's local copies from its start on; its next process has room."""
    seat, blocks = any_seat(scene), scene.chance.randint(FEWEST_BLOCKS, MANY_BLOCKS)
    limited = ("sh", "-c", 'ulimit -f "$0" && exec "$@"', str(blocks), *WORKER)
    await seat.end(signal.SIGTERM, "deployed", then=limited)
    process = seat.process
    await seat.until(lambda: seat.ready or seat.process is not process, "neither runs nor ends")
    await asyncio.sleep(FULL_SECONDS)
    if seat.process is process:
        await seat.end(signal.SIGTERM, "deployed")


async def _end(scene: Scene, seat: Seat) -> None:
    """End a worker, its copies written to their end or not, and leave the seat empty."""
    if scene.chance.choice([False, True]):
        await seat.stop(signal.SIGKILL, "killed")
    else:
        await seat.stop()


def directory_of(seat: Seat) -> Path:
    """Return a worker's state directory. Raises ``ChaosError``."""
    if seat.settings.state_dir is None:
        raise ChaosError(f"{seat.name} has its rows in memory")
    return seat.settings.state_dir


def copies_of(seat: Seat) -> list[Path]:
    """Return the local copies of a worker. Raises ``ChaosError``."""
    return sorted(path for path in directory_of(seat).iterdir() if path.is_dir())


def exchange(one: Path, other: Path) -> None:
    """Give two directories each other's name."""
    between = one.with_name(f"{one.name}.exchanged")
    one.rename(between)
    other.rename(one)
    between.rename(other)
