"""The command line of chaos: how long it goes on."""

import math

import pytest

from tools.chaos.options import parse_options


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
