"""Schemas of what requests and answers hold, made from the models of the records."""

from typing import Any

from payments.domain.results import Reason
from payments.gateway.problems import Problem
from payments.schemas.json_schema import balance_schema, component_schemas

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}


def schemas() -> dict[str, Schema]:
    """Return the schemas by the names under which the operations refer to them."""
    records = component_schemas()
    made = {name: records[name] for name in ("PaymentId", "Result", "Outcome", "Reason")}
    made["LedgerEntry"], made["AccountResult"] = records["LedgerEntry"], records["AccountResult"]
    return made | _bodies(records) | _results(records) | _accounts(records) | _pages()


def _bodies(records: dict[str, Schema]) -> dict[str, Schema]:
    """Return the bodies of requests."""
    make, name = records["Authorize"]["properties"], records["PaymentId"]
    account, amount, currency = make["account"], make["amount"], make["currency"]
    movement = {
        "account": account,
        "amount": amount,
        "currency": currency,
        "metadata": make["metadata"],
    }
    hold = {**movement, "hold_seconds": make["hold_seconds"]}
    refund = records["Refund"]["properties"]
    restate_payment = {"accountId": account, "amount": amount, "currency": currency}
    keyed = {"key": name, "request": _reference("ExamplePayment")}
    return {
        "Movement": _object(movement, ["account", "amount"]),
        "Authorization": _object(hold, ["account", "amount"]),
        "Capture": _without(records["Capture"], "type", "id"),
        "Refund": _object({"amount": refund["amount"]}, []),
        "RefundId": {**refund["refund"], "description": "The id of a refund."},
        "ExamplePayment": _object(restate_payment, ["accountId", "amount"]),
        "KeyedExamplePayment": _object(keyed, ["key", "request"]),
        "Key": _object({"key": name}, ["key"]),
        "OpenAccount": _without(records["Open"], "type", "id"),
        "CreditLimit": _without(records["Limit"], "type", "id"),
        "Nothing": _object({}, []),
    }


def _results(records: dict[str, Schema]) -> dict[str, Schema]:
    """Return the answers to commands."""
    result = records["Result"]
    return {
        "ExampleAnswer": {
            **result,
            "description": "A result, with the fields that Restate's examples answer.",
            "properties": {"success": {"const": True}, **result["properties"], "message": TEXT},
            "required": ["success", *result["required"]],
            "title": "ExampleAnswer",
        },
        "Pending": _pending("payment"),
        "PendingOfAccount": _pending("account"),
    }


def _pending(subject: str) -> Schema:
    return _object(
        {
            subject: TEXT,
            "command": TEXT,
            "status": {"const": "pending"},
            "location": {"type": "string", "format": "uri-reference"},
        }
    )


def _accounts(records: dict[str, Schema]) -> dict[str, Schema]:
    """Return the answers to reads of accounts."""
    entry, balance = records["LedgerEntry"], balance_schema()
    following = {
        "type": ["string", "null"],
        "format": "uri-reference",
        "description": "The next page; null after the last entry.",
    }
    entries = {"type": "array", "items": _reference("AccountEntry")}
    decimal = balance["properties"]["balance_decimal"]
    return {
        "Balance": {
            **balance,
            "title": "Balance",
            "required": list(balance["properties"]),
            "additionalProperties": False,
        },
        "AccountEntry": {
            **entry,
            "description": "A ledger entry, and its balance as a decimal number.",
            "properties": {
                **entry["properties"],
                "balance_decimal": decimal,
            },
            "title": "AccountEntry",
        },
        "Entries": _object({"entries": entries, "next": following}),
    }


def _pages() -> dict[str, Schema]:
    """Return the gateway's own answers, and the problem."""
    trouble = {
        "type": "string",
        "description": "Why accounts can't be read, though commands can be sent.",
    }
    problem_type = {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "advice": TEXT}
    return {
        "Status": _object({"status": {"enum": ["live", "ready"]}, "trouble": trouble}, ["status"]),
        "ProblemType": _object(problem_type),
        "Problem": _problem(),
    }


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "properties": {
            "type": {"enum": [problem.reference for problem in Problem]},
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "field": {"type": "string", "description": "The field that is wrong or differs."},
            "reason": {"enum": [*(reason.value for reason in Reason), None]},
            "result": {"anyOf": [_reference("Result"), _reference("AccountResult")]},
            "left": {
                "type": "integer",
                "description": "How much can be captured or refunded, in minor units.",
            },
            "scope": {"type": "string", "description": "The scope that the token needs."},
            "success": {"const": False},
            "message": TEXT,
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    }


def _without(command: Schema, *names: str) -> Schema:
    """Return the schema of a command without the fields that its request has no need of."""
    properties = {name: one for name, one in command["properties"].items() if name not in names}
    required = [name for name in command["required"] if name not in names]
    return {**command, "properties": properties, "required": required}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
