"""The recorded run that the tests of the auditor plant their violations in."""

import asyncio

import pytest

from payments.testing import PaymentsTestbed

from .recording import OPENING, Recording, every_kind_of_command


@pytest.fixture(scope="session")
def recorded() -> Recording:
    """Return the run as it was; not to be changed."""

    async def run() -> Recording:
        async with PaymentsTestbed(opening_balance=OPENING, max_waiters=3) as payments:
            await every_kind_of_command(payments)
            return Recording.of(payments)

    return asyncio.run(run())


@pytest.fixture
def run(recorded: Recording) -> Recording:
    """Return a copy of the run, to plant something in."""
    return recorded.copy()
