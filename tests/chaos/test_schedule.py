"""The schedule: faults by stand, in rounds or as many as are missing, so that a run can go on."""

import random
from collections import Counter
from itertools import islice

import pytest

from tools.chaos.errors import ChaosError
from tools.chaos.faults.table import FAULTS, Stand, choose
from tools.chaos.part import Part, Strike
from tools.chaos.schedule import PART_FAULTS, by_stand, made, missing, rounds


def chance() -> random.Random:
    return random.Random(7)


def test_faults_are_chosen_by_name_group_and_stand() -> None:
    assert [fault.name for fault in choose(["worker-kill"])] == ["worker-kill"]
    assert {fault.group for fault in choose(["network"])} == {"network"}
    assert {fault.stand for fault in choose(["three"])} == {Stand.THREE}
    assert {"codecs", "transaction-abort"} < {fault.name for fault in choose(["quick"])}
    assert all(fault.quick and fault.stand is Stand.SINGLE for fault in choose(["quick"]))
    assert choose(["all", "worker-kill"], disk=True) == list(FAULTS.values())
    assert [fault for fault in FAULTS.values() if not fault.on_disk] == choose(["all"])
    with pytest.raises(ChaosError, match="no fault 'earthquake'"):
        choose(["earthquake"])


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.text.endswith(".") for fault in FAULTS.values())


def test_each_stand_has_its_faults() -> None:
    found = by_stand(choose(["all"], disk=True))
    assert list(found) == list(Stand)
    assert sum(map(len, found.values())) == len(FAULTS)
    assert by_stand(choose(["network"])).keys() == {Stand.SINGLE}


def test_a_round_has_each_fault_once_and_the_next_another_order() -> None:
    faults = choose(["single"])
    both = list(islice(rounds(faults, chance()), 2 * len(faults)))
    first, second = both[: len(faults)], both[len(faults) :]
    assert set(first) == set(second) == set(faults)
    assert first != second
    quick = [fault.quick for fault in first]
    assert quick == sorted(quick, reverse=True)
    assert any(quick)


def test_what_was_made_already_is_not_made_again() -> None:
    faults = choose(["worker-kill", "worker-pause"])
    parts = [Part("single", 1, strikes=[Strike("worker-kill", 0, 1, 2)] * 5)]
    left = missing(faults, 7, made(parts), chance())
    assert Counter(fault.name for fault in left) == {"worker-kill": 2, "worker-pause": 7}
    assert missing(faults, 5, Counter({f.name: 9 for f in faults}), chance()) == []


def test_a_part_is_no_longer_than_its_limit() -> None:
    assert len(missing(choose(["all"]), 1000, Counter(), chance())) == PART_FAULTS
