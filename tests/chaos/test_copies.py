"""Faults of local copies: what is done to the files of a worker while it is down."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.settings import Settings
from tests.chaos.test_fleet import LASTING
from tools.chaos import fleet as module
from tools.chaos.faults import copies
from tools.chaos.fleet import Fleet, Seat
from tools.chaos.scene import Scene

SEEDS = range(6)
"""Enough for each way in which a fault is made."""

JOURNALS = ("a-0", "a-1", "b-0")


def worker(folder: Path, name: str) -> Seat:
    """Return a seat whose state directory has copies; each file says to whom it belongs."""
    directory = folder / f"{name}-state"
    for journal in JOURNALS:
        rows = directory / journal / copies.ROWS
        rows.mkdir(parents=True)
        for file in ("CURRENT", "LOCK", "LOG"):
            (rows / file).write_text(f"{name} {journal} {file}")
    (directory / "lock").touch()
    return Seat(name, Settings(state_dir=directory), folder)


def content(seat: Seat) -> dict[str, str]:
    """Return what the files of a worker's copies have in them, by journal and name."""
    directory = copies.directory_of(seat)
    return {
        str(file.relative_to(directory)): file.read_text(errors="replace")
        for file in directory.rglob("*")
        if file.is_file()
    }


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "WORKER", LASTING)
    monkeypatch.setattr(Seat.start, "__defaults__", (LASTING,))
    monkeypatch.setattr(copies, "WORKER", LASTING)
    monkeypatch.setattr(copies, "OLDER_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(copies, "FULL_SECONDS", 0.0)
    seats = [worker(tmp_path, "worker-0"), worker(tmp_path, "worker-1")]
    made = Scene(Settings(), Fleet(seats))
    made.fleet.start()
    await seats[0].until(made.fleet.all_ready, "is not ready")
    yield made
    await made.fleet.abandon()


def runs_again(scene: Scene) -> bool:
    """Whether every worker is wanted, and one has started again at least."""
    return scene.fleet.size == 2 and sum(seat.starts for seat in scene.fleet.seats) > 2


@pytest.mark.parametrize("seed", SEEDS)
async def test_deleted_copies_are_those_of_one_worker(scene: Scene, seed: int) -> None:
    scene.chance = random.Random(seed)
    before = [content(seat) for seat in scene.fleet.seats]
    await copies.delete(scene)
    assert runs_again(scene)
    [deleted, kept] = sorted(scene.fleet.seats, key=lambda seat: seat.starts, reverse=True)
    assert content(kept) in before
    assert "lock" in content(deleted)


async def test_all_copies_may_be_deleted(scene: Scene) -> None:
    for seed in SEEDS:
        scene.chance = random.Random(seed)
        await copies.delete(scene)
    assert not all(copies.copies_of(seat) for seat in scene.fleet.seats)


def test_damage_is_done_to_one_file_that_is_read(tmp_path: Path) -> None:
    kinds = set()
    for seed in range(20):
        seat = worker(tmp_path / str(seed), "worker-0")
        before = content(seat)
        scene = Scene(Settings(), Fleet([seat]), chance=random.Random(seed))
        copies.damage_copy(copies.directory_of(seat) / "a-1", scene)
        after = content(seat)
        [changed] = [name for name in before if after.get(name) != before[name]]
        assert changed == "a-1/rows/CURRENT"
        left = after.get(changed)
        kinds.add("gone" if left is None else len(left) < len(before[changed]))
    assert kinds == {"gone", True, False}


@pytest.mark.parametrize("seed", SEEDS)
async def test_copies_are_damaged_while_their_worker_is_down(scene: Scene, seed: int) -> None:
    scene.chance = random.Random(seed)
    await copies.damage(scene)
    assert runs_again(scene)


@pytest.mark.parametrize("seed", SEEDS)
async def test_copies_are_exchanged_and_none_is_lost(scene: Scene, seed: int) -> None:
    scene.chance = random.Random(seed)
    before = [content(seat) for seat in scene.fleet.seats]
    await copies.swap(scene)
    assert runs_again(scene)
    after = [content(seat) for seat in scene.fleet.seats]
    assert after != before
    texts = [
        sorted(text for found in all_files for text in found.values())
        for all_files in (before, after)
    ]
    assert texts[0] == texts[1]


async def test_older_copies_are_put_back(scene: Scene) -> None:
    scene.chance = random.Random(1)
    before = [content(seat) for seat in scene.fleet.seats]
    newer = []
    until = Seat.until

    async def note(seat: Seat, *given: object) -> None:
        await until(seat, *given)  # type: ignore[arg-type]
        newer.append(file := copies.directory_of(seat) / "newer")
        file.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Seat, "until", note)
        await copies.put_back(scene)
    assert len(newer) == 1
    assert [content(seat) for seat in scene.fleet.seats] == before
    assert runs_again(scene)


async def test_a_worker_without_room_is_started_with_room(scene: Scene) -> None:
    await copies.fill_disk(scene)
    assert sum(seat.starts for seat in scene.fleet.seats) == 4
    assert runs_again(scene)
