"""Commands for accounts over HTTP: each outcome has its status; tokens, 202, and what is declined.

Of the same kind: ``test_accounts_api`` has the reads, ``tests/domain/test_account_table.py`` every
decision.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from payments.client import ClientClosed, DeadlineExceeded, PaymentsClient, PaymentsClientError
from payments.domain.account_table import ACCOUNT_TABLE
from payments.domain.account_table import Rule as AccountRule
from payments.domain.results import Outcome, Reason
from payments.gateway.app import Gateway
from payments.gateway.outcomes import answer_of_account
from payments.gateway.settings import GatewaySettings
from payments.records.record_models import AccountResult, Later
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import OPENING, problem

A = "/v1/accounts/abc"
LATER = {"prefer": "respond-async"}
ADVICE = "only if no one else has changed it since."


async def post(
    http: httpx.AsyncClient, command: str, body: object = None, **headers: str
) -> httpx.Response:
    """Send a command for the account; without a body there is neither body nor Content-Type."""
    return await http.post(f"{A}/{command}", json=body, headers=headers)


async def done(http: httpx.AsyncClient, command: str, body: object = None) -> dict[str, Any]:
    """Send a command that is carried out; return its result."""
    response = await post(http, command, body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_an_account_is_opened_limited_frozen_and_closed(http: httpx.AsyncClient) -> None:
    opened = await done(http, "open", {"currency": "JPY", "credit_limit": 50})
    assert (opened["status"], opened["balance"], opened["available"]) == ("open", 0, 50)
    assert (opened["currency"], opened["exponent"], opened["message"]) == ("JPY", 0, None)
    assert (await done(http, "limit", {"credit_limit": 0}))["available"] == 0
    assert (await done(http, "freeze"))["status"] == "frozen"
    shown = (await http.get(A)).json()
    assert (shown["status"], shown["credit_limit"], shown["held"]) == ("frozen", 0, 0)
    assert (await done(http, "unfreeze"))["status"] == "open"
    assert (await done(http, "close"))["status"] == "closed"
    assert (await done(http, "open", {"currency": "JPY"}))["status"] == "open"
    kinds = [entry["kind"] for entry in (await http.get(f"{A}/entries")).json()["entries"]]
    assert kinds == ["open", "limit", "freeze", "unfreeze", "close", "open"]


async def test_a_repeat_changes_nothing_and_is_marked(http: httpx.AsyncClient) -> None:
    await post(http, "open")
    await post(http, "freeze")
    again = await post(http, "freeze")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["message"] == (
        "account abc was frozen before, and nothing was changed: 0.00 EUR"
    )
    assert len((await http.get(f"{A}/entries")).json()["entries"]) == 2


async def test_makes_authorizes_and_deposits_are_declined_and_holds_are_kept(
    http: httpx.AsyncClient,
) -> None:
    money = {"account": "abc", "amount": 100}
    await http.post("/v1/payments/p1/authorize", json=money)
    await post(http, "freeze")
    for path in ("/v1/payments/p2", "/v1/payments/p3/authorize"):
        declined = problem(await http.post(path, json=money), 402, "declined")
        assert declined["reason"] == "account_frozen"
        assert "account abc is frozen" in declined["detail"]
    assert (await http.post("/v1/payments/p1/capture")).status_code == 200
    assert (await http.post("/v1/payments/p1/refunds/r1")).status_code == 200
    assert (await http.post("/v1/deposits/d1", json=money)).status_code == 200
    await post(http, "unfreeze")
    taken = {"account": "abc", "amount": OPENING + 100}
    assert (await http.post("/v1/payments/p4", json=taken)).status_code == 200
    assert (await post(http, "close")).status_code == 200
    for path in ("/v1/payments/p5", "/v1/payments/p6/authorize", "/v1/deposits/d2"):
        declined = problem(await http.post(path, json=money), 402, "declined")
        assert declined["reason"] == "account_closed"


async def test_what_the_account_does_not_allow_is_refused(http: httpx.AsyncClient) -> None:
    for command, body in (
        ("freeze", None),
        ("unfreeze", None),
        ("close", None),
        ("limit", {"credit_limit": 5}),
    ):
        missing = problem(await post(http, command, body), 404, "account-not-found")
        assert (missing["reason"], missing["result"]["status"]) == ("unknown_account", None)
    await http.post("/v1/deposits/d1", json={"account": "abc", "amount": 100})
    refused = problem(await post(http, "close"), 409, "not-zero")
    assert (refused["reason"], refused["result"]["balance"]) == ("not_zero", OPENING + 100)
    assert "1,001.00 EUR" in refused["detail"]
    for field, value in (("currency", "JPY"), ("credit_limit", 5)):
        differs = problem(await post(http, "open", {field: value}), 422, "different-account")
        assert differs["field"] == field
        assert differs["title"] == "The account has another currency or credit limit"
    await http.post("/v1/payments/p1", json={"account": "abc", "amount": OPENING + 100})
    await post(http, "close")
    for command, body in (("freeze", None), ("unfreeze", None), ("limit", {"credit_limit": 5})):
        closed = problem(await post(http, command, body), 409, "account-closed")
        assert closed["reason"] == "account_closed"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/accounts/abc/open", {"currency": "euro"}, "currency"),
        ("/v1/accounts/abc/open", {"credit_limit": -1}, "credit_limit"),
        ("/v1/accounts/abc/open", {"credit_limit": "5"}, "credit_limit"),
        ("/v1/accounts/abc/open", {"credit_limit": None}, "credit_limit"),
        ("/v1/accounts/abc/open", {"id": "x"}, "id"),
        ("/v1/accounts/abc/open", {"balance": 5}, "balance"),
        ("/v1/accounts/abc/limit", {}, "credit_limit"),
        ("/v1/accounts/abc/limit", None, "credit_limit"),
        ("/v1/accounts/abc/limit", {"credit_limit": 1.5}, "credit_limit"),
        ("/v1/accounts/abc/limit", {"credit_limit": 10**18 + 1}, "credit_limit"),
        ("/v1/accounts/abc/limit", {"credit_limit": 5, "currency": "EUR"}, "currency"),
        ("/v1/accounts/abc/freeze", {"credit_limit": 5}, "credit_limit"),
        ("/v1/accounts/sales%2F3/freeze", None, "account"),
        ("/v1/accounts/%00/freeze", None, "account"),
        ("/v1/accounts/%20abc/open", None, "account"),
    ],
)
async def test_a_bad_value_is_refused_by_field(
    http: httpx.AsyncClient, path: str, body: Mapping[str, object] | None, field: str
) -> None:
    refused = problem(await http.post(path, json=body), 422, "invalid")
    assert refused["field"] == field, refused


async def test_every_rejection_of_the_account_table_has_a_problem_of_its_own() -> None:
    rejections: set[Reason] = set()
    for row in ACCOUNT_TABLE.values():
        for cell in row.values():
            for rule in (cell,) if isinstance(cell, AccountRule) else cell:
                if rule.outcome is Outcome.REJECTED and rule.reason is not None:
                    rejections.add(rule.reason)
    statuses = {reason: answer_of_account(rejected(reason)).status_code for reason in rejections}
    assert statuses == {
        Reason.UNKNOWN_ACCOUNT: 404,
        Reason.ACCOUNT_CLOSED: 409,
        Reason.NOT_ZERO: 409,
        Reason.WRONG_CURRENCY: 422,
        Reason.DIFFERENT_LIMIT: 422,
        Reason.INVALID_ACCOUNT: 422,
    }
    assert answer_of_account(rejected(Reason.INTERNAL_ERROR)).status_code == 500
    later = rejected(Reason.NOT_ZERO).model_copy(update={"outcome": Later("merged")})
    assert answer_of_account(later).status_code == 502


def rejected(reason: Reason) -> AccountResult:
    """Return the result of a command that is rejected."""
    names = ("status", "balance", "held", "credit_limit", "available", "currency", "exponent")
    return AccountResult(
        account="abc",
        command="c1",
        type="close",
        outcome=Outcome.REJECTED,
        reason=reason,
        message="it is not possible",
        replayed=False,
        sequence=None,
        time="2026-01-01T00:00:00.000Z",
        **dict.fromkeys(names),
    )


async def test_a_command_that_was_answered_202_is_found_by_any_gateway(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    taken = await post(http, "open", {"credit_limit": 5}, **LATER)
    assert taken.status_code == 202
    location = taken.headers["location"]
    assert taken.json() == {
        "account": "abc",
        "command": location.rpartition("/")[2],
        "status": "pending",
        "location": location,
    }
    assert location.startswith(f"{A}/commands/a")
    async with testbed.client() as other:
        gateway = Gateway(other, GatewaySettings())
        transport = httpx.ASGITransport(gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://other") as elsewhere:
            for client in (http, elsewhere):
                found = (await client.get(f"{location}?wait=10s")).json()
                assert (found["status"], found["credit_limit"]) == ("open", 5)
            wrong = location[:-1] + ("1" if location[-1] != "1" else "2")
            problem(await elsewhere.get(wrong), 404, "command-not-found")
    unknown = problem(await http.get(f"{A}/commands/p1"), 404, "command-not-found")
    assert unknown["detail"].endswith(ADVICE)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (DeadlineExceeded("no result"), (504, "deadline-exceeded")),
        (ClientClosed("closed"), (503, "stopping")),
    ],
)
async def test_after_a_command_in_doubt_the_advice_is_to_read_the_account_first(
    http: httpx.AsyncClient,
    service: PaymentsClient,
    monkeypatch: pytest.MonkeyPatch,
    error: PaymentsClientError,
    answer: tuple[int, str],
) -> None:
    """A late repeat of an unfreeze would end a freeze that someone else has set since."""

    async def fail(*_: object, **__: object) -> AccountResult:
        raise error

    monkeypatch.setattr(service.account_commands, "send", fail)
    body = problem(await post(http, "unfreeze"), *answer)
    assert body["detail"] == (
        f"The command may still be carried out. Read the account first; send it again {ADVICE}"
    )


async def test_the_name_of_the_token_is_in_the_header_of_the_command(
    service: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    settings = GatewaySettings(tokens="the-token-of-the-bank")
    transport = httpx.ASGITransport(Gateway(service, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        assert (await http.post(f"{A}/open")).status_code == 401
        headers = {"authorization": "Bearer the-token-of-the-bank"}
        assert (await http.post(f"{A}/open", headers=headers)).status_code == 200
    [record] = testbed.records(testbed.settings.topics.account_commands)
    assert list(record.headers) == [("payments_client", b"token-1")]
