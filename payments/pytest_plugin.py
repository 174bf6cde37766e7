"""A pytest fixture for tests of services that use payments; needs ``pytest-asyncio``.

In ``conftest.py``: ``pytest_plugins = ["payments.pytest_plugin"]``.
"""

from collections.abc import AsyncIterator

import pytest_asyncio

from payments.testing import PaymentsTestbed


@pytest_asyncio.fixture
async def payments_testbed() -> AsyncIterator[PaymentsTestbed]:
    """Payments, embedded; every new account is opened with 100,000 EUR cents."""
    async with PaymentsTestbed(opening_balance=100_000) as testbed:
        yield testbed
