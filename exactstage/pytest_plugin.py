"""A pytest fixture for tests of stages; needs ``pytest-asyncio``.

In ``conftest.py``: ``pytest_plugins = ["exactstage.pytest_plugin"]``. Then::

    async def test_a_word_is_counted(stage_testbed):
        bed = await stage_testbed(stage)
        await bed.send("words", b"a")
        assert [record.value for record in bed.records("counts")] == [b"1"]
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest_asyncio

from .stage import Stage
from .testing import StageTestbed


class NewTestbed(Protocol):
    """Makes a running test bed; the arguments are those of ``StageTestbed``."""

    def __call__(self, *stages: Stage, **options: Any) -> Awaitable[StageTestbed]:
        """Return a test bed that runs until the end of the test."""


@pytest_asyncio.fixture
async def stage_testbed() -> AsyncIterator[NewTestbed]:
    """Return a function that makes running test beds; they are stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(*stages: Stage, **options: Any) -> StageTestbed:
            return await stack.enter_async_context(StageTestbed(*stages, **options))

        yield start
