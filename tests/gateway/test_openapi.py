"""The OpenAPI document: it is valid, describes what there is, and its examples hold."""

import json
import re
import shlex
from itertools import pairwise
from typing import Any

import httpx
import jsonschema_rs
import pytest

from payments.gateway.openapi import document
from payments.gateway.problems import Problem
from payments.testing import PaymentsTestbed

DOCUMENT = document()
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
NAMES = [operation["operationId"] for _, _, operation in OPERATIONS]
LIFE = ["authorize", "capture", "void", "refund"]
RULES = ["openAccount", "freezeAccount", "unfreezeAccount", "setCreditLimit", "closeAccount"]


def schema_at(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of the document as one of its own."""
    return {**schema, "components": DOCUMENT["components"]}


def test_operation_ids_are_unique() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_example_is_valid_by_its_schema(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    contents = [*operation.get("requestBody", {}).get("content", {}).values()]
    for response in operation["responses"].values():
        contents += response["content"].values()
    checked = 0
    for content in contents:
        examples = [one["value"] for one in content.get("examples", {}).values()]
        for example in [*examples, *([content["example"]] if "example" in content else [])]:
            jsonschema_rs.validate(schema_at(content["schema"]), example)
            checked += 1
    assert checked > 1


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
async def test_every_example_is_answered_as_described(
    http: httpx.AsyncClient,
    testbed: PaymentsTestbed,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    if operation["operationId"] in ("getEvents", "getCommand", "getAccountCommand"):
        pytest.skip("needs a stream or a command in flight: see test_events, test_async_commands")
    if operation["operationId"] in ("getPayment", "getAccount", "getEntries", "cancel"):
        await http.post("/v1/payments/docs-1", json={"account": "abc", "amount": 100})
    if operation["operationId"] in ("capture", "void", "refund"):
        await http.post("/v1/payments/docs-6/authorize", json={"account": "abc", "amount": 100})
    if operation["operationId"] == "refund":
        await http.post("/v1/payments/docs-6/capture")
    if operation["operationId"] in RULES[1:]:
        await http.post("/v1/accounts/docs-account/open")
    response = await http.send(request_of(http, method, path, operation))
    assert response.status_code == 200, response.text
    described = operation["responses"]["200"]["content"]
    [(media_type, content)] = described.items()
    assert response.headers["content-type"] == media_type
    if media_type == "application/json":
        jsonschema_rs.validate(schema_at(content["schema"]), response.json())


def curl(method: str, path: str, operation: dict[str, Any]) -> str:
    """Return a command line that sends the operation's example."""
    words = ["curl"] if method == "get" else ["curl", "-X", method.upper()]
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif parameter["in"] == "query" and "example" in parameter:
            path += f"?{parameter['name']}={parameter['example']}"
        elif parameter.get("required"):
            words += ["-H", f"'{parameter['name'].lower()}: {parameter['example']}'"]
    if operation["operationId"] == "getEvents":
        words.append("-N")
    words.append(f"localhost:8080{path}")
    body = operation.get("requestBody")
    example = body and body["content"]["application/json"]["example"]
    if example:
        words += ["-H", "'content-type: application/json'", "-d", f"'{json.dumps(example)}'"]
    return " ".join(words)


def request_of(
    http: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> httpx.Request:
    """Return the request of the operation's example, as a command line sends it."""
    words = shlex.split(curl(method, path, operation))
    headers = dict(value.split(": ", 1) for flag, value in pairwise(words) if flag == "-H")
    body = next((v for f, v in pairwise(words) if f == "-d"), None)
    url = next(word for word in words if word.startswith("localhost:8080"))
    url = url.removeprefix("localhost:8080")
    return http.build_request(method.upper(), url, headers=headers, content=body)


@pytest.mark.parametrize("names", [LIFE, RULES])
async def test_the_examples_of_a_life_are_answered_word_for_word(
    http: httpx.AsyncClient, names: list[str]
) -> None:
    """In the document's order they authorize, capture, void and refund one payment.

    And they open, freeze, unfreeze, limit and close one account.
    """
    life = [one for one in OPERATIONS if one[2]["operationId"] in names]
    assert [operation["operationId"] for _, _, operation in life] == names
    for method, path, operation in life:
        found = (await http.send(request_of(http, method, path, operation))).json()
        shown = operation["responses"]["200"]["content"]["application/json"]["example"]
        differ = {name for name in {*shown, *found} if found.get(name) != shown.get(name)}
        assert differ <= {"command", "time"}, (operation["operationId"], found)


def test_every_problem_is_described_somewhere() -> None:
    described = {
        slug
        for _, _, operation in OPERATIONS
        for response in operation["responses"].values()
        for content in response["content"].values()
        for slug in content.get("examples", {})
    }
    # Known only by what the request is: no operation of the document has it.
    assert {problem.slug for problem in Problem} - described == {"method-not-allowed"}


async def test_the_page_loads_only_what_the_gateway_serves(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "'unsafe-eval'" not in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 5
    for address in loaded:
        if not address.startswith("data:"):
            assert not address.startswith(("/", "http")), "it works under any path"
            assert (await http.get(f"/{address}")).status_code == 200, address
    assert (await http.get("/docs/package.json")).status_code == 404


async def test_the_start_page_leads_to_the_documents(http: httpx.AsyncClient) -> None:
    found = await http.get("/")
    assert (found.status_code, found.headers["location"]) == (302, "docs")
    for address in found.json().values():
        assert (await http.get(f"/{address}")).status_code == 200
