"""The topics as an AsyncAPI 3 document, made from the same models and settings as the code."""

import json
from typing import Any

from payments import __version__
from payments.domain.account import Account, Status
from payments.domain.account_table import AccountAnswer
from payments.domain.results import Amounts, Answer, Outcome, Reason, Request
from payments.records.record_writer import encode_account_result, encode_result
from payments.schemas.json_schema import account_id_schema, component_schemas, payment_id_schema
from payments.settings import Settings

Document = dict[str, Any]

_BINDING = "0.5.0"
"""Version of AsyncAPI's Kafka bindings."""

_DESCRIPTION = (
    "Payments on Kafka: each command gets one result, each movement of money, or of what is held, "
    "one double-entry ledger event. A command may be sent any number of times; the money moves "
    "once."
)
_SECURITY = {
    "PLAIN": "plain",
    "SCRAM-SHA-256": "scramSha256",
    "SCRAM-SHA-512": "scramSha512",
}
_EXAMPLE_MS = 1_767_225_600_000
_MAKE = {"type": "make", "account": "abc", "amount": 100}


def document(settings: Settings) -> Document:
    """Return the AsyncAPI document of the installation that these settings describe."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "payments",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            f"broker{number}": _server(host.strip(), settings)
            for number, host in enumerate(settings.brokers.split(","), start=1)
        },
        "channels": _channels(settings),
        "operations": _operations(),
        "components": {"schemas": component_schemas(), "messages": _messages()},
    }


def _server(host: str, settings: Settings) -> Document:
    encrypted = settings.security_protocol.endswith("SSL")
    server: Document = {"host": host, "protocol": "kafka-secure" if encrypted else "kafka"}
    if settings.security_protocol.startswith("SASL"):
        server["security"] = [{"type": _SECURITY[settings.sasl_mechanism]}]
    return server


def _channels(settings: Settings) -> Document:
    """Return the public topics; internal topics are not described."""

    def channel(topic: str, message: str, description: str) -> Document:
        return {
            "address": topic,
            "description": description,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            "bindings": {
                "kafka": {
                    "topic": topic,
                    "partitions": settings.partitions,
                    "replicas": settings.replication,
                    "bindingVersion": _BINDING,
                }
            },
        }

    topics = settings.topics
    return {
        "commands": channel(topics.commands, "command", "What clients ask for."),
        "results": channel(
            topics.results,
            "result",
            "One result for each command, and notices of the ends of holds and of expiry.",
        ),
        "accountCommands": channel(
            topics.account_commands, "accountCommand", "What clients ask for accounts."
        ),
        "accountResults": channel(
            topics.account_results, "accountResult", "One result for each command for an account."
        ),
        "ledger": channel(topics.ledger, "entry", "Double-entry events of each account."),
        "paymentsDeadLetters": channel(
            topics.payments_dead_letters,
            "deadLetter",
            "Commands that were not understood or handled.",
        ),
        "accountsDeadLetters": channel(
            topics.accounts_dead_letters,
            "deadLetter",
            "Commands for accounts that were not understood or handled.",
        ),
    }


def _operations() -> Document:
    def operation(action: str, channel: str, message: str, summary: str) -> Document:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        }

    handle = operation("receive", "commands", "command", "Decide a command, and answer it.")
    handle["reply"] = {
        "channel": {"$ref": "#/channels/results"},
        "messages": [{"$ref": "#/channels/results/messages/result"}],
    }
    decide = operation(
        "receive", "accountCommands", "accountCommand", "Decide a command for an account."
    )
    decide["reply"] = {
        "channel": {"$ref": "#/channels/accountResults"},
        "messages": [{"$ref": "#/channels/accountResults/messages/accountResult"}],
    }
    return {
        "handleCommand": handle,
        "handleAccountCommand": decide,
        "publishAccountResult": operation(
            "send", "accountResults", "accountResult", "Answer a command for an account."
        ),
        "publishResult": operation("send", "results", "result", "Answer a command."),
        "publishEntry": operation(
            "send", "ledger", "entry", "Publish a movement of money, or of what is held."
        ),
        "putCommandAside": operation(
            "send", "paymentsDeadLetters", "deadLetter", "Dead-letter what is no command."
        ),
        "putAccountCommandAside": operation(
            "send", "accountsDeadLetters", "deadLetter", "Dead-letter what is no such command."
        ),
    }


def _messages() -> Document:
    return {
        "command": {
            "title": "Command",
            "summary": "Make, deposit, authorize, capture, void, refund, cancel or get; the key is "
            "the payment's id.",
            "payload": {"$ref": "#/components/schemas/Command"},
            "correlationId": {"location": "$message.payload#/id"},
            "bindings": _keyed(payment_id_schema()),
            "examples": [{"name": value["type"], "payload": value} for value in _commands()],
        },
        "result": {
            "title": "Result",
            "summary": "What became of a command; the key is the payment's id.",
            "headers": {"$ref": "#/components/schemas/CloudEventsHeaders"},
            "payload": {"$ref": "#/components/schemas/Result"},
            "correlationId": {"location": "$message.payload#/command"},
            "bindings": _keyed(payment_id_schema()),
            "examples": [{"name": value["outcome"], "payload": value} for value in _results()],
        },
        "accountCommand": {
            "title": "Command for an account",
            "summary": "Open, freeze, unfreeze, close, limit or get; the key is the account's id.",
            "payload": {"$ref": "#/components/schemas/AccountCommand"},
            "correlationId": {"location": "$message.payload#/id"},
            "bindings": _keyed(account_id_schema()),
            "examples": [{"name": value["type"], "payload": value} for value in _ACCOUNT_COMMANDS],
        },
        "accountResult": {
            "title": "Result for an account",
            "summary": "What became of a command for an account; the key is the account's id.",
            "headers": {"$ref": "#/components/schemas/CloudEventsHeaders"},
            "payload": {"$ref": "#/components/schemas/AccountResult"},
            "correlationId": {"location": "$message.payload#/command"},
            "bindings": _keyed(account_id_schema()),
            "examples": [
                {"name": value["outcome"], "payload": value} for value in _account_results()
            ],
        },
        "entry": {
            "title": "Ledger entry",
            "summary": "Money that moved on an account or is held on it, or a change of its rules; "
            "the key is the account.",
            "headers": {"$ref": "#/components/schemas/CloudEventsHeaders"},
            "payload": {"$ref": "#/components/schemas/LedgerEntry"},
            "bindings": _keyed({"type": "string", "description": "The account."}),
        },
        "deadLetter": {
            "title": "Dead letter",
            "summary": "A record as it was received, and why it was dead-lettered.",
            "contentType": "application/octet-stream",
            "headers": {
                "allOf": [
                    {"$ref": "#/components/schemas/CloudEventsHeaders"},
                    {"$ref": "#/components/schemas/DeadLetterHeaders"},
                ]
            },
        },
    }


def _keyed(key: Document) -> Document:
    # Not a reference: the official schema of the binding finds one ambiguous, and refuses it.
    return {"kafka": {"key": key, "bindingVersion": _BINDING}}


def _commands() -> list[Document]:
    return [
        _MAKE,
        {**_MAKE, "type": "deposit", "currency": "EUR", "id": "order-7-deposit"},
        {**_MAKE, "type": "authorize", "hold_seconds": 86_400, "metadata": {"order": "7"}},
        {"type": "capture", "capture": "parcel-1", "amount": 60, "final": False},
        {"type": "void"},
        {"type": "refund", "refund": "return-1", "amount": 20},
        {"type": "cancel"},
        {"type": "get"},
    ]


_ACCOUNT_COMMANDS: list[Document] = [
    {"type": "open", "currency": "EUR", "credit_limit": 5000},
    {"type": "freeze", "id": "case-7"},
    {"type": "unfreeze"},
    {"type": "close"},
    {"type": "limit", "credit_limit": 0},
    {"type": "get"},
]


def _account_results() -> list[Document]:
    """Return examples in the form in which the stage writes them."""
    own = "accounts.commands/6/0"
    frozen = Account(1000, 3, "EUR", 100, Status.FROZEN, 5000)
    answers = [
        AccountAnswer("case-7", "freeze", Outcome.COMPLETED, account=frozen),
        AccountAnswer(own, "close", Outcome.REJECTED, Reason.UNKNOWN_ACCOUNT, "there is none"),
    ]
    return [json.loads(encode_account_result("abc", each, _EXAMPLE_MS)) for each in answers]


def _results() -> list[Document]:
    """Return examples in the form in which the stage writes them."""
    request, own = Request("make", "abc", 100, "EUR"), "payments.commands/6/0"
    held = Request("authorize", "abc", 100, "EUR")
    ends_ms = _EXAMPLE_MS + 86_400_000
    answers = [
        Answer(own, "make", Outcome.COMPLETED, state="completed", request=request),
        Answer(own, "make", Outcome.DECLINED, Reason.INSUFFICIENT_FUNDS, request=request),
        Answer(
            command=own,
            type="authorize",
            outcome=Outcome.AUTHORIZED,
            state="authorized",
            request=held,
            amounts=Amounts(0, 0, authorized=100, held=100, hold_expires_ms=ends_ms),
        ),
        Answer(
            command=own,
            type="capture",
            outcome=Outcome.CAPTURED,
            state="authorized",
            request=held,
            part="parcel-1",
            amounts=Amounts(60, 0, authorized=100, held=40, hold_expires_ms=ends_ms),
        ),
        Answer(
            command=None,
            type="notice",
            outcome=Outcome.HOLD_ENDS_SOON,
            state="authorized",
            request=held,
            amounts=Amounts(60, 0, authorized=100, held=40, hold_expires_ms=ends_ms),
        ),
        Answer(
            command=None,
            type="lapse",
            outcome=Outcome.LAPSED,
            reason=Reason.HOLD_EXPIRED,
            state="lapsed",
            request=held,
            amounts=Amounts(0, 0, authorized=100, held=0, hold_expires_ms=_EXAMPLE_MS),
        ),
    ]
    return [json.loads(encode_result("pay-1", answer, _EXAMPLE_MS)) for answer in answers]
