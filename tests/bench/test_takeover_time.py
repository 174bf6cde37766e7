"""Takeovers of two versions in turn: what a worker's log tells, and the table of it."""

import pytest

from tools.bench.failures import BenchError
from tools.bench.takeover_log import Takeover
from tools.bench.takeover_time import Taken, only_takeover, table_rows

LINE = (
    "INFO took over partitions [0, 1]: 7 rows from 12 records, 0 outputs republished "
    "(look 0.010 s, claim 0.500 s, restore 0.250 s, positions 0.040 s)\n"
)


def taken(claim: float) -> Taken:
    takeover = Takeover(7, 12, {"claim": claim, "restore": 0.25, "positions": 0.05})
    return Taken(takeover, 3.0, 1.5)


def test_the_steps_of_a_takeover_are_those_of_the_worker_s_log() -> None:
    found = only_takeover(f"INFO before\n{LINE}INFO ready\n")
    assert (found.rows, found.records, found.restore_seconds) == (7, 12, 0.25)
    assert found.seconds == {"look": 0.01, "claim": 0.5, "restore": 0.25, "positions": 0.04}
    assert found.total_seconds == pytest.approx(0.8)


@pytest.mark.parametrize("text", ["INFO ready\n", LINE * 2])
def test_a_log_without_one_takeover_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="takeover"):
        only_takeover(text)


def test_versions_stand_below_each_other_with_medians_and_ranges() -> None:
    this = [taken(0.7), taken(0.3), taken(0.4), taken(0.9)]
    rest = ["3.0", "1.50"]
    assert list(table_rows({"this": this, "beside": [taken(0.2), taken(0.5)]})) == [
        ["first", "this", "1", "1.00 (1.00 to 1.00)", "0.70, 0.25, 0.05", *rest],
        ["first", "beside", "1", "0.50 (0.50 to 0.50)", "0.20, 0.25, 0.05", *rest],
        ["again", "this", "3", "0.70 (0.60 to 1.20)", "0.40, 0.25, 0.05", *rest],
        ["again", "beside", "1", "0.80 (0.80 to 0.80)", "0.50, 0.25, 0.05", *rest],
    ]
