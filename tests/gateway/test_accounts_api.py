"""The API of accounts: balances and pages of the ledger."""

import httpx
import pytest

from payments.gateway.openapi import document
from tests.gateway.conftest import OPENING, problem


async def test_a_balance_sees_every_answer_before_it(http: httpx.AsyncClient) -> None:
    for number in range(1, 6):
        await http.post(f"/v1/payments/p{number}", json={"account": "abc", "amount": 10})
        found = (await http.get("/v1/accounts/abc")).json()
        assert found == {
            "account": "abc",
            "balance": OPENING - 10 * number,
            "currency": "EUR",
            "exponent": 2,
            "balance_decimal": f"{OPENING // 100 - 1}.{100 - 10 * number}",
            "sequence": number + 1,
            "held": 0,
            "available": OPENING - 10 * number,
            "held_decimal": "0.00",
            "available_decimal": f"{OPENING // 100 - 1}.{100 - 10 * number}",
            "credit_limit": 0,
            "credit_limit_decimal": "0.00",
            "status": "open",
        }


async def test_what_is_held_and_available_is_in_major_units_too(http: httpx.AsyncClient) -> None:
    await http.post("/v1/payments/p1/authorize", json={"account": "abc", "amount": 1999})
    found = (await http.get("/v1/accounts/abc")).json()
    decimals = [found[f"{name}_decimal"] for name in ("balance", "held", "available")]
    assert decimals == ["1000.00", "19.99", "980.01"]


@pytest.mark.parametrize("under", ["", "/entries", "/entries?after=7", "/entries?limit=1"])
async def test_an_account_that_never_was_is_404_on_every_route(
    http: httpx.AsyncClient, under: str
) -> None:
    """The library and the command agree: tests/client/test_client.py, tests/cli."""
    problem(await http.get(f"/v1/accounts/nobody{under}"), 404, "account-not-found")
    problem(await http.get(f"/v1/accounts/%00{under}"), 422, "invalid")
    problem(await http.get(f"/v1/accounts/sales%2F3{under}"), 422, "invalid")
    await http.post("/v1/payments/p1", json={"account": "nobody", "amount": 10})
    assert (await http.get(f"/v1/accounts/nobody{under}")).status_code == 200


def test_every_route_of_an_account_is_described_with_that_404() -> None:
    paths = {path: it for path, it in document()["paths"].items() if "{account}" in path}
    del paths["/v1/accounts/{account}/open"]
    assert len(paths) == 7
    for operations in paths.values():
        [operation] = operations.values()
        examples = operation["responses"]["404"]["content"]["application/problem+json"]
        assert "account-not-found" in examples["examples"]


async def test_the_ledger_comes_in_pages_without_gap_or_repeat(http: httpx.AsyncClient) -> None:
    for number in range(6):
        await http.post(f"/v1/payments/p{number}", json={"account": "a/b", "amount": 1})
    path: str | None = "/v1/accounts/a%2Fb/entries?limit=3"
    sequences = []
    while path is not None:
        response = await http.get(path)
        page = response.json()
        sequences += [entry["sequence"] for entry in page["entries"]]
        path = page["next"]
        link = f'<{path}>; rel="next"' if path else None
        assert response.headers.get("link") == link
    assert sequences == [1, 2, 3, 4, 5, 6, 7]


async def test_a_page_behind_the_last_entry_is_empty(http: httpx.AsyncClient) -> None:
    await http.post("/v1/payments/p1", json={"account": "abc", "amount": 10})
    response = await http.get("/v1/accounts/abc/entries?after=2")
    assert (response.status_code, response.json()) == (200, {"entries": [], "next": None})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
        ("after=" + "9" * 5000, "after"),
        ("after=%C2%B2", "after"),
        ("afer=1", "afer"),
        ("after=1&Limit=2", "Limit"),
        ("=", ""),
    ],
)
async def test_a_bad_page_is_refused_by_field(
    http: httpx.AsyncClient, query: str, field: str
) -> None:
    response = await http.get(f"/v1/accounts/abc/entries?{query}")
    assert problem(response, 422, "invalid")["field"] == field


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/accounts/abc/entries?after=0&after=1", "after"),
        ("/v1/accounts/abc/entries?limit=5&after=1&limit=5", "limit"),
        ("/v1/accounts/abc/entries?after=0&%61fter=", "after"),
        ("/v1/payments/p1/commands/c1?wait=1&wait=1", "wait"),
    ],
)
async def test_a_query_parameter_given_twice_is_refused_by_that_name(
    http: httpx.AsyncClient, path: str, field: str
) -> None:
    """All requests that take query parameters; others ignore them (test_http_page_rules.py).

    Members given twice in a body, and a second Idempotency-Key, are in test_payments_api.py.
    """
    refused = problem(await http.get(path), 422, "invalid")
    assert (refused["field"], refused["detail"]) == (field, f"{field} is given more than once")
