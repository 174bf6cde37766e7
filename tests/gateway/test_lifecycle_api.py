"""Authorize, capture, void and refund over HTTP: each outcome and rejection has its status.

Of the same kind: ``test_payments_api`` has makes, deposits and cancels, ``tests/agents`` the lapse
of holds in workers, ``tests/domain`` every decision.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from payments.domain.payment_table import TABLE, Rule
from payments.domain.results import Outcome, Reason
from payments.gateway.app import Gateway
from payments.gateway.outcomes import problem_of
from payments.gateway.problems import Problem
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import OPENING, problem
from tests.gateway.fake_service import result
from tests.gateway.test_events import Reader

HOLD: dict[str, Any] = {"account": "abc", "amount": 100}
SECONDS = 600
P = "/v1/payments/p1"


async def post(http: httpx.AsyncClient, path: str, body: object = None) -> httpx.Response:
    """Send a command; without a body there is neither body nor Content-Type."""
    return await http.post(P + path, json=body)


async def done(http: httpx.AsyncClient, path: str, body: object = None) -> dict[str, Any]:
    """Send a command that is carried out; return its result."""
    response = await post(http, path, body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def amounts(found: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return what was authorized, captured and refunded, and what is held."""
    return found["authorized"], found["captured"], found["refunded"], found["held"]


async def account(http: httpx.AsyncClient) -> tuple[int, int, int]:
    """Return balance, held and available, as differences from the opening balance."""
    found = (await http.get("/v1/accounts/abc")).json()
    return found["balance"] - OPENING, found["held"], found["available"] - OPENING


async def test_a_payment_is_held_captured_in_parts_voided_and_refunded(
    http: httpx.AsyncClient,
) -> None:
    held = await done(http, "/authorize", {**HOLD, "hold_seconds": SECONDS})
    assert (held["type"], held["outcome"], held["state"]) == ("authorize", *["authorized"] * 2)
    assert (amounts(held), held["hold_expires"]) == ((100, 0, 0, 100), "2026-01-01T00:10:00.000Z")
    assert await account(http) == (0, 100, -100)
    part = await done(http, "/capture", {"capture": "c1", "amount": 60, "final": False})
    assert (part["outcome"], part["part"], part["state"]) == ("captured", "c1", "authorized")
    assert amounts(part) == (100, 60, 0, 40)
    assert await account(http) == (-60, 40, -100)
    rest = await done(http, "/void")
    assert (rest["outcome"], rest["state"], amounts(rest)) == (
        "voided",
        "completed",
        (100, 60, 0, 0),
    )
    assert await account(http) == (-60, 0, -60)
    back = await done(http, "/refunds/r1", {"amount": 20})
    assert (back["outcome"], back["part"], amounts(back)) == ("refunded", "r1", (100, 60, 20, 0))
    all_back = await done(http, "/refunds/r2")
    assert (all_back["part"], amounts(all_back)) == ("r2", (100, 60, 60, 0))
    assert await account(http) == (0, 0, 0)
    found = (await http.get(P)).json()
    assert (found["outcome"], amounts(found)) == ("found", (100, 60, 60, 0))
    entries = (await http.get("/v1/accounts/abc/entries?after=1")).json()["entries"]
    assert [(one["kind"], one["amount"], one["held_change"], one["part"]) for one in entries] == [
        ("hold", 0, 100, None),
        ("capture", -60, -60, "c1"),
        ("release", 0, -40, None),
        ("refund", 20, 0, "r1"),
        ("refund", 40, 0, "r2"),
    ]


async def test_a_capture_without_a_body_takes_all_and_a_cancel_gives_it_back(
    http: httpx.AsyncClient,
) -> None:
    await done(http, "/authorize", HOLD)
    taken = await done(http, "/capture")
    assert (taken["part"], taken["state"], amounts(taken)) == (
        "final",
        "completed",
        (100, 100, 0, 0),
    )
    undone = await done(http, "/cancel")
    assert (undone["outcome"], undone["reason"]) == ("cancelled", "rolled_back")
    assert await account(http) == (0, 0, 0)


async def test_every_request_may_be_sent_again(http: httpx.AsyncClient) -> None:
    requests: list[tuple[str, object]] = [
        ("/authorize", HOLD),
        ("/capture", {"capture": "c1", "amount": 60}),
        ("/refunds/r1", {"amount": 20}),
    ]
    for path, body in requests:
        first = await post(http, path, body)
        again = await post(http, path, body)
        assert "idempotent-replayed" not in first.headers
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert again.json()["outcome"] == first.json()["outcome"]
    assert await account(http) == (-40, 0, -40)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/authorize", {**HOLD, "amount": 101}, "amount"),
        ("/authorize", {**HOLD, "account": "other"}, "account"),
        ("/authorize", {**HOLD, "currency": "USD"}, "currency"),
        ("", HOLD, "type"),
        ("/capture", {"capture": "c1", "amount": 61, "final": False}, "amount"),
        ("/capture", {"capture": "c1", "final": False}, "amount"),
        ("/capture", {"capture": "c1", "amount": 60}, "final"),
        ("/capture", {"capture": "r1", "amount": 10}, "capture"),
        ("/refunds/r1", {"amount": 11}, "amount"),
        ("/refunds/r1", None, "amount"),
        ("/refunds/c1", {"amount": 60}, "refund"),
    ],
)
async def test_the_same_id_with_another_request_names_the_field(
    http: httpx.AsyncClient, path: str, body: object, field: str
) -> None:
    await done(http, "/authorize", HOLD)
    await done(http, "/capture", {"capture": "c1", "amount": 60, "final": False})
    await done(http, "/refunds/r1", {"amount": 10})
    response = await post(http, path, body)
    assert problem(response, 422, "different-request")["field"] == field


async def test_more_than_is_left_is_refused_and_the_answer_says_what_is_left(
    http: httpx.AsyncClient,
) -> None:
    await done(http, "/authorize", HOLD)
    over = problem(await post(http, "/capture", {"amount": 101}), 422, "more-than-left")
    assert (over["reason"], over["field"], over["left"]) == ("over_capture", "amount", 100)
    await done(http, "/capture", {"capture": "c1", "amount": 60, "final": False})
    over = problem(await post(http, "/capture", {"amount": 41}), 422, "more-than-left")
    assert (over["left"], over["result"]["held"]) == (40, 40)
    over = problem(await post(http, "/refunds/r1", {"amount": 61}), 422, "more-than-left")
    assert (over["reason"], over["field"], over["left"]) == ("over_refund", "amount", 60)
    await done(http, "/refunds/r1", {"amount": 60})
    assert problem(await post(http, "/refunds/r2"), 422, "more-than-left")["left"] == 0


async def test_a_refund_of_a_make_knows_what_is_left(http: httpx.AsyncClient) -> None:
    await done(http, "", HOLD)
    over = problem(await post(http, "/refunds/r1", {"amount": 101}), 422, "more-than-left")
    assert (over["field"], over["left"]) == ("amount", 100)
    back = await done(http, "/refunds/r1", {"amount": 30})
    assert (back["captured"], back["refunded"], "held" in back) == (100, 30, False)
    over = problem(await post(http, "/refunds/r2", {"amount": 71}), 422, "more-than-left")
    assert over["left"] == 70


@pytest.mark.parametrize("path", ["/capture", "/refunds/r1"])
async def test_a_payment_that_is_not_there_is_404(http: httpx.AsyncClient, path: str) -> None:
    found = problem(await post(http, path), 404, "payment-not-found")
    assert found["reason"] == "unknown_payment"


@pytest.mark.parametrize(
    ("before", "path", "slug", "reason"),
    [
        (["/authorize", "/capture"], "/capture?second", "wrong-state", "nothing_held"),
        (["/authorize", "/capture"], "/void", "wrong-state", "nothing_held"),
        (["/authorize"], "/refunds/r1", "wrong-state", "nothing_captured"),
        ([""], "/capture", "wrong-state", "not_authorized"),
        ([""], "/void", "wrong-state", "not_authorized"),
        (["/authorize", "/void"], "/capture", "wrong-state", "cancelled"),
        (["/authorize", "/void"], "/refunds/r1", "wrong-state", "cancelled"),
        (["/authorize", "/void"], "/authorize", "cancelled", "voided"),
        (["/void"], "/authorize", "cancelled", "prevented"),
        (["/authorize", "lapse"], "/capture", "hold-expired", "hold_expired"),
        (["/authorize", "lapse"], "/authorize", "hold-expired", "hold_expired"),
        (["/authorize", "lapse"], "/refunds/r1", "wrong-state", "nothing_captured"),
    ],
)
async def test_what_the_state_does_not_allow_is_409(  # noqa: PLR0917 - fixtures
    http: httpx.AsyncClient, testbed: PaymentsTestbed,
    before: list[str], path: str, slug: str, reason: str,
) -> None:  # fmt: skip
    for step in before:
        if step == "lapse":
            await testbed.advance(SECONDS + 60)
        else:
            await done(http, step, body_of(step))
    if path == "/capture?second":
        path, body = "/capture", {"capture": "second"}
    else:
        body = body_of(path)
    found = problem(await post(http, path, body), 409, slug)
    assert found["reason"] == reason
    assert found["result"]["payment"] == "p1"


def body_of(path: str) -> Any:
    """Return the body of a usual request."""
    if path == "/authorize":
        return {**HOLD, "hold_seconds": SECONDS}
    return None if path else HOLD


@pytest.mark.parametrize("path", ["/void", "/cancel"])
async def test_a_void_or_cancel_of_what_has_lapsed_has_what_it_asks_for(
    http: httpx.AsyncClient, testbed: PaymentsTestbed, path: str
) -> None:
    await done(http, "/authorize", {**HOLD, "hold_seconds": SECONDS})
    await testbed.advance(SECONDS + 60)
    found = await done(http, path)
    assert (found["outcome"], found["reason"], found["held"]) == ("lapsed", "hold_expired", 0)


async def test_an_authorize_over_the_available_balance_is_declined_with_402(
    http: httpx.AsyncClient,
) -> None:
    await done(http, "/authorize", HOLD)
    other = {"account": "abc", "amount": OPENING - 99}
    for path in ("/v1/payments/p2/authorize", "/v1/payments/p2"):
        found = problem(await http.post(path, json=other), 402, "declined")
        assert found["reason"] == "insufficient_funds"


BAD: list[tuple[str, object, str, str]] = [
    ("/authorize", {"amount": 1}, "account", "missing_field"),
    ("/authorize", {**HOLD, "amount": 1.5}, "amount", "amount_not_integer"),
    ("/authorize", {**HOLD, "hold_seconds": 0}, "hold_seconds", "invalid_hold_seconds"),
    ("/authorize", {**HOLD, "hold_seconds": 31_536_001}, "hold_seconds", "invalid_hold_seconds"),
    ("/authorize", {**HOLD, "hold_seconds": "60"}, "hold_seconds", "invalid_hold_seconds"),
    ("/authorize", {**HOLD, "hold_seconds": True}, "hold_seconds", "invalid_hold_seconds"),
    ("/authorize", {**HOLD, "metadata": []}, "metadata", "invalid_metadata"),
    ("/authorize", {**HOLD, "metadata": {"a": 1}}, "metadata", "invalid_metadata"),
    ("/authorize", {**HOLD, "metadata": {"": "x"}}, "metadata", "invalid_metadata"),
    ("/authorize", {**HOLD, "metadata": {"a": "x" * 4096}}, "metadata", "invalid_metadata"),
    ("/authorize", {**HOLD, "metadata": {str(n): "" for n in range(33)}}, "metadata",
     "invalid_metadata"),
    ("/authorize", {**HOLD, "capture": "c1"}, "capture", "unknown_field"),
    ("", {**HOLD, "metadata": {"a": None}}, "metadata", "invalid_metadata"),
    ("", {**HOLD, "hold_seconds": 60}, "hold_seconds", "unknown_field"),
    ("/capture", {"final": False}, "capture", "missing_field"),
    ("/capture", {"capture": ""}, "capture", "invalid_part"),
    ("/capture", {"capture": "x" * 65}, "capture", "invalid_part"),
    ("/capture", {"capture": None}, "capture", "invalid_part"),
    ("/capture", {"capture": " c1"}, "capture", "invalid_part"),
    ("/capture", {"amount": 0}, "amount", "amount_not_positive"),
    ("/capture", {"final": "no"}, "final", "invalid_final"),
    ("/capture", {"refund": "r1"}, "refund", "unknown_field"),
    ("/capture", {"id": "x"}, "id", "unknown_field"),
    ("/refunds/r1", {"amount": -1}, "amount", "amount_not_positive"),
    ("/refunds/r1", {"refund": "r1"}, "refund", "unknown_field"),
    ("/refunds/" + "x" * 65, None, "refund", "invalid_part"),
    ("/refunds/%20r1", None, "refund", "invalid_part"),
    ("/refunds/%00", None, "refund", "invalid_part"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field", "reason"), BAD)
async def test_a_bad_field_is_named_and_nothing_is_sent(  # noqa: PLR0917 - fixtures
    http: httpx.AsyncClient, testbed: PaymentsTestbed,
    path: str, body: object, field: str, reason: str,
) -> None:  # fmt: skip
    found = problem(await post(http, path, body), 422, "invalid")
    assert (found["field"], found["reason"]) == (field, reason)
    assert testbed.records("payments.commands") == []


async def test_a_void_has_no_fields_and_a_refund_is_named_in_utf_8(http: httpx.AsyncClient) -> None:
    assert problem(await post(http, "/void", {"amount": 1}), 422, "invalid")["field"] == "amount"
    assert problem(await post(http, "/refunds/%ff"), 422, "invalid")["field"] == "refund"
    await done(http, "", HOLD)
    assert (await done(http, "/refunds/a%2Fb%20%C3%BC", {"amount": 1}))["part"] == "a/b ü"
    problem(await http.get(f"{P}/refunds/r1"), 405, "method-not-allowed")
    problem(await http.post(f"{P}/refunds", json={}), 404, "not-found")


@pytest.mark.parametrize("path", ["/capture", "/void", "/refunds/r1"])
async def test_an_optional_body_is_json_all_the_same(http: httpx.AsyncClient, path: str) -> None:
    await done(http, "" if "refund" in path else "/authorize", HOLD)
    json_type = {"content-type": "application/json"}
    bad = await http.post(P + path, content=b"{", headers=json_type)
    problem(bad, 400, "not-json")
    text = await http.post(P + path, content=b"{}", headers={"content-type": "text/plain"})
    problem(text, 415, "unsupported-media-type")
    assert (await http.post(P + path, content=b"", headers=json_type)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/payments/p1", "/v1/payments/p1/authorize"])
async def test_metadata_is_on_results_and_entries_and_is_not_compared(
    http: httpx.AsyncClient, path: str
) -> None:
    noted = {"order": "17", "ü": "€"}
    first = (await http.post(path, json={**HOLD, "metadata": noted})).json()
    again = await http.post(path, json={**HOLD, "metadata": {"order": "18"}})
    assert (first["metadata"], again.json()["metadata"]) == (noted, noted)
    assert again.headers["idempotent-replayed"] == "true"
    entries = (await http.get("/v1/accounts/abc/entries")).json()["entries"]
    assert [entry["metadata"] for entry in entries] == [None, noted]
    assert (await http.get(P)).json()["metadata"] == noted
    deposit = {**HOLD, "metadata": noted}
    assert (await http.post("/v1/deposits/d1", json=deposit)).json()["metadata"] == noted


async def test_a_make_without_anything_of_this_has_the_fields_that_it_had(
    http: httpx.AsyncClient,
) -> None:
    made = await done(http, "", HOLD)
    assert list(made) == [
        "payment", "command", "type", "outcome", "reason", "message", "replayed", "state",
        "account", "amount", "currency", "exponent", "time",
    ]  # fmt: skip
    example = await http.post("/payments/p2/makePayment", json={"accountId": "abc", "amount": 1})
    assert {*example.json()} == {"success", *made}
    noted = {"accountId": "abc", "amount": 1, "metadata": {}}
    refused = problem(await http.post("/payments/p3/makePayment", json=noted), 422, "invalid")
    assert refused["field"] == "metadata"


async def test_the_example_endpoints_cancel_an_authorized_payment_and_do_not_make_it(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    for payment in ("p1", "p2"):
        path = f"/v1/payments/{payment}/authorize"
        await http.post(path, json={**HOLD, "hold_seconds": SECONDS})
    made = await http.post("/payments/p1/makePayment", json={"accountId": "abc", "amount": 100})
    assert problem(made, 422, "different-request")["field"] == "type"
    undone = await http.post("/payments/p1/cancelPayment")
    assert (undone.status_code, undone.json()["success"]) == (200, True)
    assert undone.json()["outcome"] == "cancelled"
    await testbed.advance(SECONDS + 60)
    lapsed = await http.post("/payments/p2/cancelPayment")
    assert (lapsed.status_code, lapsed.json()["success"]) == (200, True)


async def test_a_command_that_is_answered_202_ends_with_the_status_of_the_request(
    http: httpx.AsyncClient,
) -> None:
    later = {"prefer": "respond-async"}

    async def ended(path: str, body: object) -> httpx.Response:
        taken = await http.post(P + path, json=body, headers=later)
        assert taken.status_code == 202, taken.text
        return await http.get(f"{taken.headers['location']}?wait=10s")

    assert (await ended("/authorize", HOLD)).json()["outcome"] == "authorized"
    over = problem(await ended("/capture", {"amount": 101}), 422, "more-than-left")
    assert (over["field"], over["left"]) == ("amount", 100)
    assert (await ended("/capture", {"amount": 60})).json()["captured"] == 60
    assert (await ended("/refunds/r1", {"amount": 10})).json()["refunded"] == 10
    assert problem(await ended("/void", {}), 409, "wrong-state")["reason"] == "nothing_held"


async def test_an_event_stream_shows_that_the_hold_lapsed(
    gateway: Gateway, http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    await done(http, "/authorize", {**HOLD, "hold_seconds": SECONDS})
    reader = Reader(gateway)
    await reader.part()
    _, state = await reader.event()
    assert (state["state"], state["held"]) == ("authorized", 100)
    await testbed.advance(SECONDS + 60)
    name, notice = await reader.event()
    assert (name, notice["type"], notice["command"]) == ("result", "lapse", None)
    assert (notice["outcome"], notice["state"], notice["held"]) == ("lapsed", "lapsed", 0)
    assert json.dumps(notice["message"]) != "null"
    reader.gone.set()
    await reader.ended()


async def test_captures_and_refunds_at_once_move_no_more_than_there_is(
    http: httpx.AsyncClient,
) -> None:
    await done(http, "/authorize", HOLD)
    same = await asyncio.gather(
        *(post(http, "/capture", {"capture": "c", "amount": 60, "final": False}) for _ in range(20))
    )
    assert {answer.status_code for answer in same} == {200}
    assert sum("idempotent-replayed" not in answer.headers for answer in same) == 1
    others = await asyncio.gather(
        *(post(http, "/capture", {"capture": f"c{n}", "amount": 40}) for n in range(20))
    )
    assert sorted(answer.status_code for answer in others) == [200] + [409] * 19
    refunds = await asyncio.gather(
        *(post(http, f"/refunds/r{n}", {"amount": 30}) for n in range(8))
    )
    assert sorted(answer.status_code for answer in refunds) == [200] * 3 + [422] * 5
    assert {answer.json()["left"] for answer in refunds if answer.status_code == 422} == {10}
    assert await account(http) == (-10, 0, -10)


def rejections() -> set[Reason]:
    """Return the reasons with which the payment table rejects commands."""
    found = set()
    for cells in TABLE.values():
        for cell in cells.values():
            for rule in (cell,) if isinstance(cell, Rule) else cell:
                if rule.outcome is Outcome.REJECTED and rule.reason is not None:
                    found.add(rule.reason)
    return found


@pytest.mark.parametrize("reason", [*sorted(rejections()), Reason.TOO_MANY_PARTS])
def test_no_rejection_of_the_table_is_called_an_invalid_value(reason: Reason) -> None:
    rejected = result("p1", "c1", type="capture", outcome=Outcome.REJECTED, reason=reason)
    assert problem_of(rejected) not in {None, Problem.INVALID, Problem.INTERNAL}
