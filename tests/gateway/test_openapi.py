"""The OpenAPI document: it is valid, describes what there is, and its examples hold."""

import shlex
from itertools import pairwise
from typing import Any

import httpx
import jsonschema_rs
import pytest

from payments.gateway.app import Gateway
from payments.gateway.docs_page import curl, page
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


def schema_at(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of the document as one of its own."""
    return {**schema, "components": DOCUMENT["components"]}


def test_every_operation_is_described_and_no_other(gateway: Gateway) -> None:
    described = {(method.upper(), path) for method, path, _ in OPERATIONS}
    assert described == {(route.method, route.path) for route in gateway.routes}


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
    if operation["operationId"] in ("getEvents", "getCommand"):
        pytest.skip("needs a stream or a command under way: see test_events, test_operations")
    if operation["operationId"] in ("getPayment", "getAccount", "getEntries", "cancel"):
        await http.post("/v1/payments/pay-1", json={"account": "abc", "amount": 100})
    response = await http.send(request_of(http, method, path, operation))
    assert response.status_code == 200, response.text
    described = operation["responses"]["200"]["content"]
    [(media_type, content)] = described.items()
    assert response.headers["content-type"] == media_type
    if media_type == "application/json":
        jsonschema_rs.validate(schema_at(content["schema"]), response.json())


def request_of(
    http: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> httpx.Request:
    """Return the request of the command line that the page shows."""
    words = shlex.split(curl(method, path, operation))
    headers = dict(value.split(": ", 1) for flag, value in pairwise(words) if flag == "-H")
    body = next((v for f, v in pairwise(words) if f == "-d"), None)
    url = next(word for word in words if word.startswith("localhost:8080"))
    url = url.removeprefix("localhost:8080")
    return http.build_request(method.upper(), url, headers=headers, content=body)


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


def test_the_page_shows_every_operation_and_loads_nothing() -> None:
    html = page(DOCUMENT)
    for _, path, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in html
        assert str(path) in html
    for loading in ("<script", "src=", "@import", "url(", "<link", "http://", "https://"):
        assert loading not in html


def test_what_comes_from_the_document_is_escaped_in_the_page() -> None:
    hostile = {**DOCUMENT, "info": {**DOCUMENT["info"], "title": "<script>alert(1)</script>"}}
    assert "<script" not in page(hostile)
