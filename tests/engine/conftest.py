"""What tests of the engine share."""

import asyncio

import pytest


@pytest.fixture
async def complaints() -> list[str]:
    """Collect what asyncio complains about, as of a task whose error nobody took."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context["message"]))
    return found
