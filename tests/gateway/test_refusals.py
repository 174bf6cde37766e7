"""What the application refuses by itself: paths, methods, tokens, and what the client raises."""

import logging

import httpx
import pytest
from pydantic import SecretStr

from payments.client import (
    AccountsUnavailable,
    BrokersUnavailable,
    ClientClosed,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    PaymentsClientError,
)
from payments.domain.account import Account, Opening, Status, Transfer, post
from payments.domain.results import Outcome, Reason
from payments.gateway.app import Gateway
from payments.gateway.outcomes import problem_of
from payments.gateway.problems import Problem
from payments.gateway.settings import GatewaySettings
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService, result

MOVEMENT = {"account": "abc", "amount": 100}
TOKEN = "a-token-for-the-tests-1"  # noqa: S105 - of no use anywhere


@pytest.fixture
async def gateway(fake: FakeService) -> Gateway:
    fake.release.set()
    return Gateway(fake, GatewaySettings())


@pytest.mark.parametrize("path", ["/v1", "/v1/payments/", "/v1/payments/a/b", "/docs/"])
async def test_a_path_that_is_none_is_404(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        response = await http.request(method, path)
        if response.status_code != 405:
            problem(response, 404, "not-found")


async def test_another_method_is_405_and_told_what_is_allowed(http: httpx.AsyncClient) -> None:
    response = await http.put("/v1/payments/p1")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (DeadlineExceeded("x"), 504, "deadline-exceeded"),
        (BrokersUnavailable("x"), 503, "unavailable"),
        (ClientClosed("x"), 503, "stopping"),
        (AccountsUnavailable("x"), 503, "accounts-unavailable"),
        (Overloaded("x"), 429, "overloaded"),
        (InvalidCommand("amount", "is wrong", "missing_field"), 422, "invalid"),
        (PaymentsClientError("x"), 500, "internal"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
async def test_every_error_of_the_client_has_a_status(
    http: httpx.AsyncClient, fake: FakeService, error: Exception, status: int, slug: str
) -> None:
    fake.error = error
    response = await http.post("/v1/payments/p1", json=MOVEMENT)
    body = problem(response, status, slug)
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert "secret" not in response.text
    if status == 504:
        assert "may still be carried out" in body["detail"]


async def test_what_is_said_of_a_read_that_fails_does_not_speak_of_a_command(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    errors = [DeadlineExceeded("x"), BrokersUnavailable("x"), AccountsUnavailable("too many")]
    for fake.error in errors:
        for path in ("/v1/payments/p1", "/v1/payments/p1/events", "/v1/accounts/abc"):
            text = (await http.get(path)).text
            assert "carried out" not in text
            assert "command" not in text
    assert "too many" in (await http.get("/v1/accounts/abc")).json()["detail"]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_a_rejection_has_a_problem(reason: Reason) -> None:
    found = problem_of(result("p1", "c", outcome=Outcome.REJECTED, reason=reason))
    assert found is not None
    defect = reason in (Reason.IMPOSSIBLE, Reason.INTERNAL_ERROR)
    assert (found is Problem.INTERNAL) == defect


async def test_too_many_waiting_for_one_payment_is_429(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    fake.changes = {"outcome": Outcome.REJECTED, "reason": Reason.TOO_MANY_WAITING}
    response = await http.post("/v1/payments/p1", json=MOVEMENT)
    problem(response, 429, "overloaded")
    assert response.headers["retry-after"] == "1"


@pytest.fixture
async def guarded(fake: FakeService) -> httpx.AsyncClient:
    fake.release.set()
    tokens = (SecretStr("another-token-of-the-list"), SecretStr(TOKEN))
    gateway = Gateway(fake, GatewaySettings(tokens=tokens))
    transport = httpx.ASGITransport(gateway)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"X-API-Key": "wrong"},
    ],
)
async def test_without_a_token_of_the_list_nothing_is_done(
    guarded: httpx.AsyncClient,
    fake: FakeService,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await guarded.post("/v1/payments/p1", json=MOVEMENT, headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert fake.sent == []
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN}"},
        {"X-API-Key": TOKEN},
    ],
)
async def test_a_token_of_the_list_lets_in(
    guarded: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await guarded.post("/v1/payments/p1", json=MOVEMENT, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
async def test_what_tells_of_the_gateway_needs_no_token(
    guarded: httpx.AsyncClient, path: str
) -> None:
    assert (await guarded.get(path)).status_code == 200


async def test_readiness_follows_kafka_and_the_stop(
    http: httpx.AsyncClient, fake: FakeService, gateway: Gateway
) -> None:
    assert (await http.get("/health/ready")).json() == {"status": "ready"}
    fake.is_healthy = False
    away = await http.get("/health/ready")
    problem(away, 503, "unavailable")
    assert away.json()["detail"] == "the brokers are away"
    assert (await http.get("/health/live")).status_code == 200
    fake.is_healthy = True
    gateway.stopping.set()
    problem(await http.get("/health/ready"), 503, "stopping")


@pytest.mark.parametrize(
    ("trouble", "slug", "title"),
    [
        ("no connection to Kafka: nothing listens there", "unavailable", "Kafka can't be reached"),
        (
            "no connection to Kafka: not authorized: lacks Read on t. Grant it: kafka-acls",
            "rights-missing",
            "The gateway is not authorized at Kafka",
        ),
        (
            "results are not read: blocked by an open transaction: t/1",
            "open-transaction",
            "An open transaction blocks records",
        ),
        (
            "results are not read: can't be read: t/1",
            "standstill",
            "Kafka takes or gives no records",
        ),
        (
            "a broker has not taken the last commands yet",
            "standstill",
            "Kafka takes or gives no records",
        ),
    ],
)
async def test_the_title_of_what_is_not_ready_fits_the_reason(
    http: httpx.AsyncClient, fake: FakeService, trouble: str, slug: str, title: str
) -> None:
    """That the client words it so is tried in tests/broker (standstill, rights)."""
    fake.is_healthy, fake.told = False, trouble
    away = await http.get("/health/ready")
    problem(away, 503, slug)
    assert away.json()["title"] == title
    assert "kafka-acls" not in away.text


async def test_every_type_of_problem_is_described_at_its_reference(http: httpx.AsyncClient) -> None:
    for one in Problem:
        body = (await http.get(one.reference)).json()
        assert (body["type"], body["status"]) == (one.reference, one.value.status)
    problem(await http.get("/problems/none"), 404, "not-found")


async def test_the_page_of_declined_names_each_reason_of_an_account(
    http: httpx.AsyncClient,
) -> None:
    make = Transfer("make", "abc", -100, "EUR", "sales")
    accounts = [None, Account(0, 1, "EUR"), Account(100, 1, "JPY")]
    accounts += [Account(100, 1, "EUR", 0, status) for status in (Status.FROZEN, Status.CLOSED)]
    reasons = {post(account, make, opening=Opening(0, "EUR")) for account in accounts}
    assert len(reasons) == len(accounts)
    advice = str((await http.get("/problems/declined")).json())
    assert {reason for reason in reasons if str(reason) not in advice} == set()


async def test_the_page_of_an_account_that_is_not_there_says_what_opens_it(
    http: httpx.AsyncClient,
) -> None:
    advice = str((await http.get("/problems/account-not-found")).json())
    for opens in ("deposit", "make", "authorize", "open"):
        assert opens in advice


@pytest.mark.parametrize("tokens", ["short", "x" * 513, "has a space in the token", "ümläut-" * 4])
def test_a_weak_token_is_refused_without_showing_it(tokens: str) -> None:
    with pytest.raises(ValueError, match="16 to 512") as caught:
        GatewaySettings.model_validate({"tokens": tokens})
    assert tokens not in str(caught.value)
