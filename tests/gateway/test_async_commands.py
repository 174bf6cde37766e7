"""Commands that are answered later: 202, a place to ask, and the same answer as one that waits."""

import asyncio

import httpx
import pytest

from payments.client import DeadlineExceeded
from payments.domain.results import Outcome, Reason
from payments.gateway import async_commands
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService
from tests.gateway.running import LIMIT_SECONDS

MOVEMENT = {"account": "abc", "amount": 100}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
async def gateway(fake: FakeService) -> Gateway:
    return Gateway(fake, GatewaySettings())


async def test_a_command_is_taken_and_its_result_waited_for(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    taken = await http.post("/v1/payments/p%2F1", json=MOVEMENT, headers=ASYNC)
    assert taken.status_code == 202
    assert taken.headers["preference-applied"] == "respond-async"
    location = taken.headers["location"]
    assert location.startswith("/v1/payments/p%2F1/commands/")
    pending = await http.get(location)
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    asked = asyncio.create_task(http.get(f"{location}?wait=10s"))
    await asyncio.sleep(0)
    assert not asked.done()
    fake.release.set()
    answer = await asyncio.wait_for(asked, LIMIT_SECONDS)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "completed")
    assert (await http.get(location)).content == answer.content


async def test_a_wait_that_is_over_answers_202_again(http: httpx.AsyncClient) -> None:
    taken = await http.post("/v1/payments/p1", json=MOVEMENT, headers=ASYNC)
    response = await http.get(taken.headers["location"] + "?wait=20ms")
    assert (response.status_code, response.headers["retry-after"]) == (202, "1")


async def test_a_refusal_that_comes_later_has_the_status_of_one_that_is_waited_for(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    fake.changes = {"outcome": Outcome.DECLINED, "reason": Reason.INSUFFICIENT_FUNDS}
    taken = await http.post(
        "/payments/p1/makePayment", json={"accountId": "a", "amount": 1}, headers=ASYNC
    )
    fake.release.set()
    response = await http.get(taken.headers["location"] + "?wait=5")
    assert problem(response, 402, "declined")["success"] is False


async def test_an_error_that_comes_later_is_told_to_whoever_asks(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    fake.error = DeadlineExceeded("no result")
    taken = await http.post("/v1/payments/p1/cancel", headers=ASYNC)
    fake.release.set()
    location = taken.headers["location"] + "?wait=5"
    for _ in range(2):
        problem(await http.get(location), 504, "deadline-exceeded")


async def test_prefer_wait_answers_in_time_with_the_result(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    fake.release.set()
    headers = {"Prefer": "wait=5, respond-async"}
    response = await http.post("/v1/payments/p1", json=MOVEMENT, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("prefer", ["", "wait=1", "return=minimal", "respond-asynchronously", ",,"])
async def test_other_preferences_are_ignored(
    http: httpx.AsyncClient, fake: FakeService, prefer: str
) -> None:
    fake.release.set()
    response = await http.post("/v1/payments/p1", json=MOVEMENT, headers={"Prefer": prefer})
    assert response.status_code == 200


async def test_what_was_never_taken_is_404(http: httpx.AsyncClient) -> None:
    taken = await http.post("/v1/payments/p1", json=MOVEMENT, headers=ASYNC)
    own = taken.json()["command"]
    problem(await http.get("/v1/payments/p1/commands/other"), 404, "command-not-found")
    problem(await http.get(f"/v1/payments/p2/commands/{own}"), 404, "command-not-found")


@pytest.mark.parametrize("wait", ["", "x", "-1", "1m", "1e3", "999999s", "10 s", "%D9%A1"])
async def test_a_wait_that_is_no_time_is_refused(http: httpx.AsyncClient, wait: str) -> None:
    taken = await http.post("/v1/payments/p1", json=MOVEMENT, headers=ASYNC)
    misspelt = await http.get(f"{taken.headers['location']}?wiat={wait}")
    assert problem(misspelt, 422, "invalid")["field"] == "wiat"
    response = await http.get(f"{taken.headers['location']}?wait={wait}")
    assert problem(response, 422, "invalid")["field"] == "wait"


async def test_as_many_commands_are_held_as_may_be_and_finished_ones_make_room(
    http: httpx.AsyncClient, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_commands, "MAX_COMMANDS", 2)
    first = await http.post("/v1/payments/p1", json=MOVEMENT, headers=ASYNC)
    await http.post("/v1/payments/p2", json=MOVEMENT, headers=ASYNC)
    refused = await http.post("/v1/payments/p3", json=MOVEMENT, headers=ASYNC)
    problem(refused, 429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    fake.release.set()
    assert (await http.get(first.headers["location"] + "?wait=5")).status_code == 200
    third = await http.post("/v1/payments/p3", json=MOVEMENT, headers=ASYNC)
    assert third.status_code in (200, 202)
    problem(await http.get(first.headers["location"]), 404, "command-not-found")
