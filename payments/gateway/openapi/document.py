"""The document as a whole: every operation with its parameters, bodies, answers and problems."""

import re
from itertools import groupby
from typing import Any

from payments import __version__
from payments.gateway.accounts_api import DEFAULT_LIMIT, MAX_LIMIT, MAX_SEQUENCE
from payments.gateway.openapi import examples
from payments.gateway.openapi.schemas import TEXT, schemas
from payments.gateway.operations import OPERATIONS, Operation
from payments.gateway.problems import PROBLEM_JSON, Problem

Json = dict[str, Any]
DESCRIPTION = """Every payment has an id of your choice, and every request may be sent again at any
time: money moves once, and the answer is the outcome. Amounts are in minor units of the currency.
Errors are answered with problem details (RFC 9457)."""
DESCRIPTIONS = {
    "payment": "The id of the payment, percent-encoded: a slash is %2F, a question mark %3F. "
    "The ids '.' and '..' are %2E and %2E%2E, which browsers can't send (WHATWG URL).",
    "refund": "The id of the refund within its payment, percent-encoded as that of the payment.",
    "account": "The id of the account.",
    "command": "The command's own id, from the answer 202.",
    "problem": "The last part of a problem's type.",
}
PATH_EXAMPLES = {
    "payment": "docs-1",
    "refund": "refund-1",
    "account": "abc",
    "command": examples.PENDING["command"],
    "problem": "declined",
}
OWN_EXAMPLES = {
    "deposit": "docs-2",
    "makePayment": "docs-3",
    "cancelPayment": "docs-3",
    **dict.fromkeys(("authorize", "capture", "void", "refund"), "docs-6"),
}
"""Payment ids of operations that need a payment of their own. No other page has these ids."""

OF_ACCOUNTS = {one.id for one in OPERATIONS if one.answer == "AccountResult"}
"""The operations that send commands for an account: they have one of their own."""

PATH_SCHEMAS = {"payment": "PaymentId", "account": "PaymentId", "refund": "RefundId"}
OPTIONAL_BODIES = {"Nothing", "Capture", "Refund", "OpenAccount"}

HEADERS: Json = {
    "Idempotent-Replayed": {
        "description": "The outcome of an earlier request is repeated; nothing moved now.",
        "schema": {"const": "true"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "Location": {"description": "Where to ask.", "schema": TEXT},
}


def document() -> Json:
    """Return the OpenAPI document."""
    paths: dict[str, Json] = {}
    described = [operation for operation in OPERATIONS if operation.described]
    for operation in described:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Payments",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "The gateway that this document came from."}],
        "tags": [{"name": tag} for tag in dict.fromkeys(o.tag for o in described)],
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(operation: Operation) -> Json:
    names = [*re.findall(r"{(\w+)}", operation.path), *operation.parameters]
    if operation.replays and operation.method == "POST":
        names.append("Prefer")
    described: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_parameter(name, operation.id) for name in names],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        example = examples.REQUESTS[operation.body]
        content = {"schema": _reference(operation.body), "example": example}
        described["requestBody"] = {
            "required": operation.body not in OPTIONAL_BODIES,
            "content": {"application/json": content},
        }
    if not operation.scopes:
        described["security"] = []
    return described


def _parameter(name: str, operation: str) -> Json:
    if name == "Idempotency-Key":
        return {
            "name": name,
            "in": "header",
            "required": True,
            "description": 'The payment id, as a string in quotes: "order-17".',
            "schema": TEXT,
            "example": '"docs-4"',
        }
    if name == "Prefer":
        text = (
            "respond-async: 202 as soon as the command is stored; respond-async, wait=10: 202 "
            "after 10 s without a result. Other preferences are ignored."
        )
        return {"name": name, "in": "header", "description": text, "schema": TEXT}
    if name in {"wait", "after", "limit"}:
        return {"name": name, "in": "query", **_QUERY[name]}
    schema = _reference(PATH_SCHEMAS[name]) if name in PATH_SCHEMAS else TEXT
    own = None
    if name == "payment":
        own = OWN_EXAMPLES.get(operation)
    elif operation in OF_ACCOUNTS:
        own = examples.PENDING_OF_ACCOUNT.get(name)
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": DESCRIPTIONS[name],
        "schema": schema,
        "example": own or PATH_EXAMPLES[name],
    }


_QUERY: dict[str, Json] = {
    "wait": {
        "description": "How long to wait for the result, such as 10s; at most a minute.",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,5}(\.[0-9]{1,3})?(ms|s)?$"},
        "example": "10s",
    },
    "after": {
        "description": "The sequence number after which the page begins.",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE, "default": 0},
    },
    "limit": {
        "description": "Entries of a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
}


def _responses(operation: Operation) -> Json:
    media_type, schema = operation.answer, None
    if "/" not in media_type:
        media_type, schema = "application/json", _reference(operation.answer)
    content: Json = {"schema": schema or ({} if media_type == "application/json" else TEXT)}
    if operation.id in examples.ANSWERS:
        content["example"] = examples.ANSWERS[operation.id]
    elif operation.answer == "text/event-stream":
        content["example"] = examples.EVENTS
    answer: Json = {"description": "Done.", "content": {media_type: content}}
    if operation.replays:
        answer["headers"] = {"Idempotent-Replayed": HEADERS["Idempotent-Replayed"]}
    responses = {"200": answer}
    if operation.replays:
        pending: Json = {"schema": _reference("Pending"), "example": examples.PENDING}
        if operation.id in OF_ACCOUNTS:
            example = examples.PENDING_OF_ACCOUNT
            pending = {"schema": _reference("PendingOfAccount"), "example": example}
        responses["202"] = {
            "description": "Accepted: the command is stored, its result comes later.",
            "headers": {name: HEADERS[name] for name in ("Location", "Retry-After")},
            "content": {"application/json": pending},
        }
    found = sorted(operation.all_problems(), key=lambda one: (one.value.status, one.name))
    for status, same in groupby(found, key=lambda one: one.value.status):
        responses[str(status)] = _problem(list(same))
    return responses


def _problem(problems: list[Problem]) -> Json:
    shown = {
        problem.slug: {
            "value": {
                "type": problem.reference,
                "title": problem.value.title,
                "status": problem.value.status,
                "detail": problem.value.advice,
            }
        }
        for problem in problems
    }
    content = {"schema": _reference("Problem"), "examples": shown}
    return {
        "description": "; ".join(problem.value.title for problem in problems) + ".",
        "content": {PROBLEM_JSON: content},
    }


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
