"""bench.client: its figures are those of the calls that were made."""

from payments.testing import PaymentsTestbed
from tools.bench.client import run


async def test_every_call_of_a_run_is_counted() -> None:
    async with PaymentsTestbed(opening_balance=10**9) as testbed, testbed.client() as client:
        figures = await run(client, 0.2, 4)
        assert figures.calls == len(testbed.records("payments.commands")) > 4
        assert figures.not_completed == 0
        assert 0 < figures.p50_ms <= figures.p99_ms
        assert figures.us_each > 0
    async with PaymentsTestbed() as testbed, testbed.client() as client:
        figures = await run(client, 0.1, 2)
        assert figures.not_completed == figures.calls > 0, "no account has money"
