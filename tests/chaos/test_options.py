"""The command line of chaos: how long it goes on, and where rows are."""

import math

import pytest

from tools.chaos.options import parse_options

COPIES = {"copies-deleted", "copies-damaged", "copies-swapped", "copies-old", "copies-disk-full"}


@pytest.mark.parametrize(
    ("given", "seconds", "commands"),
    [
        ([], 180.0, math.inf),
        (["--duration", "60"], 60.0, math.inf),
        (["--commands", "100000"], math.inf, 100_000),
        (["--commands", "100", "--duration", "60"], 60.0, 100),
    ],
)
def test_it_ends_by_time_or_by_commands(given: list[str], seconds: float, commands: float) -> None:
    options = parse_options(given)
    assert (options.duration, options.commands) == (seconds, commands)


def test_copies_are_damaged_only_where_rows_are_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rocksdict")
    assert not COPIES & {fault.name for fault in parse_options([]).chosen}
    assert {fault.name for fault in parse_options(["--rows", "disk"]).chosen} > COPIES
    chosen = parse_options(["--rows", "disk", "--faults", "copies"]).chosen
    assert {fault.name for fault in chosen} == COPIES
    with pytest.raises(SystemExit):
        parse_options(["--faults", "worker-kill,copies-old"])
    assert "copies-old needs workers with rows on disk: --rows disk" in capsys.readouterr().err
