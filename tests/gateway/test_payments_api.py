"""The API of payments: statuses, headers, problems."""

import httpx
import pytest

MOVEMENT = {"account": "abc", "amount": 100}


async def test_a_make_is_answered_with_its_result(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/payments/pay-1", json=MOVEMENT)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    body = response.json()
    assert (body["payment"], body["outcome"], body["amount"]) == ("pay-1", "completed", 100)
