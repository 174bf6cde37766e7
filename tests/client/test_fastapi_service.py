"""A service of a user's own on FastAPI, tested with its TestClient: the example of docs/extend.md.

With pytest-asyncio and anyio the test bed is entered by the test (``tests/agents/test_extending``).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from payments.client import Outcome, PaymentsClient
from payments.testing import PaymentsTestbed


def test_a_service_and_its_test_bed_share_the_loop_of_the_test_client() -> None:
    payments = PaymentsTestbed(opening_balance=5000)
    opened: list[PaymentsClient] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with payments, payments.client() as client:
            opened.append(client)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders/{order}")
    async def pay(order: str, customer: str, cents: int) -> dict[str, str | None]:
        result = await opened[0].make(order, account=customer, amount=cents)
        if result.outcome is not Outcome.COMPLETED:
            raise HTTPException(402, result.reason)
        return {"state": result.state}

    with TestClient(app) as http:
        paid = http.post("/orders/o1?customer=xenia&cents=1999")
        assert (paid.status_code, paid.json()) == (200, {"state": "completed"})
        assert http.post("/orders/o2?customer=xenia&cents=9999").status_code == 402
        assert http.portal is not None, "it is entered"
        http.portal.call(payments.quiet)
        assert payments.ledger("xenia")[-1].amount == -1999
