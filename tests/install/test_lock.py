"""The locks are complete: an installer that resolves nothing still installs everything.

``make`` installs with ``--no-deps``, so a requirement that no lock names would be missing; and an
installer that does resolve would take its newest release.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("runtime", "dev", "build")


def locked(name: str) -> dict[str, Requirement]:
    """Return what a lock pins in this environment, by name; its extras are those that it names."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    pins = [line.rstrip("\\ ") for line in lines if re.match(r"[a-z]", line)]
    found = [Requirement(pin) for pin in pins]
    return {
        canonicalize_name(pin.name): pin
        for pin in found
        if pin.marker is None or pin.marker.evaluate()
    }


def needed(pin: Requirement) -> Iterator[Requirement]:
    """Yield what a pinned package requires in this environment, with the extras that are pinned."""
    for text in metadata.requires(pin.name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *pin.extras)):
            yield requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_a_locked_package_is_locked(lock: str) -> None:
    pins = locked(lock)
    assert pins, "the lock names something"
    for pin in pins.values():
        for requirement in needed(pin):
            target = pins.get(canonicalize_name(requirement.name))
            assert target is not None, f"{pin} requires {requirement}, which {lock}.txt lacks"
            version = str(target.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{pin} requires {requirement}, but {lock}.txt has {target}"
            )
            assert requirement.extras <= target.extras, (
                f"{pin} requires {requirement}, but {lock}.txt pins no such extra"
            )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_one_version_and_a_hash(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", text)
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ;.*)? \\\n", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_index(lock: str) -> None:
    assert "://" not in (ROOT / "requirements" / f"{lock}.txt").read_text()
