"""The API of accounts: balances and pages of the ledger."""

import httpx
import pytest

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
        }


async def test_an_account_that_never_was_is_404(http: httpx.AsyncClient) -> None:
    problem(await http.get("/v1/accounts/nobody"), 404, "account-not-found")
    problem(await http.get("/v1/accounts/%00"), 422, "invalid")


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


async def test_the_ledger_of_nobody_is_empty(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/accounts/nobody/entries")
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
    ],
)
async def test_a_bad_page_is_refused_by_field(
    http: httpx.AsyncClient, query: str, field: str
) -> None:
    response = await http.get(f"/v1/accounts/abc/entries?{query}")
    assert problem(response, 422, "invalid")["field"] == field
