"""A stage that can't work is refused when it is made, not when its records are gone."""

from typing import Any

import pytest

from exactstage.stage import Stage

from .wordcount import WordCount


class Awaiting(WordCount):
    """What who writes asyncio all day writes: nobody would await it, and no record be decided."""

    handle: Any


async def handle(*_: object) -> None:
    """Do nothing."""


def test_logic_that_is_async_is_refused() -> None:
    logic = Awaiting("counts")
    logic.handle = handle
    with pytest.raises(ValueError, match="count: handle of its logic is async"):
        Stage(name="count", logic=logic, changelog="log", dead_letters="dead")
