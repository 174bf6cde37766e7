"""JSON Schemas (2020-12) of the public records, generated from their models.

A schema can't refuse a field that is given twice, a whole number that is written ``1.0`` or
``1e2``, a large value, or metadata of too many bytes: ``payments.records.commands`` does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from msgspec.structs import FieldInfo, fields
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from exactstage.inspection import DEAD_LETTER_TYPE, FOREIGN_RECORD, HEADER_PREFIX, MISSING_POSITION
from payments.domain.account import COUNTER_PATTERN, MAX_BALANCE
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import (
    MAX_AMOUNT,
    MAX_HOLD_SECONDS,
    MAX_METADATA_BYTES,
    MAX_METADATA_KEYS,
    MAX_PART_CHARACTERS,
    Capture,
    Command,
)
from payments.domain.currencies import CURRENCIES, EXPONENTS, PUBLISHED
from payments.domain.names import MAX_NAME_CHARACTERS, REFUSED, SURROGATES, refused_class
from payments.domain.results import Reason
from payments.records.record_models import AccountBalance, AccountResult, LedgerEntry, Result
from payments.stages import ACCOUNT_RESULT_TYPE, ENTRY_TYPE, RESULT_TYPE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LOCAL, COMPONENTS = "#/$defs/{model}", "#/components/schemas/{model}"

Schema = dict[str, Any]


# The rule of ``payments.domain.names``, but for surrogates: no JSON text in UTF-8 has one, and not
# all validators can read a pattern that names them. New names have no space at an end.
_REFUSED = refused_class(tuple(ends for ends in REFUSED if ends != SURROGATES))
NAME_SCHEMA: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_CHARACTERS,
    "pattern": f"^[^{_REFUSED}]+$",
    "not": {"pattern": "^ | $"},
}
_PART_SCHEMA: Schema = {**NAME_SCHEMA, "maxLength": MAX_PART_CHARACTERS}
_FIELD_SCHEMAS: Mapping[str, Schema] = {
    "capture": _PART_SCHEMA,
    "refund": _PART_SCHEMA,
    "final": {"type": "boolean"},
    "hold_seconds": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_HOLD_SECONDS},
    "metadata": {
        "type": ["object", "null"],
        "description": f"At most {MAX_METADATA_BYTES} bytes of UTF-8, names and texts together.",
        "additionalProperties": {"type": "string"},
        "propertyNames": {"minLength": 1},
        "maxProperties": MAX_METADATA_KEYS,
    },
    "id": {"anyOf": [NAME_SCHEMA, {"type": "null"}]},
    "account": {**NAME_SCHEMA, "not": {"pattern": f"^ | $|{COUNTER_PATTERN}"}},
    "amount": {"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT},
    "currency": {"enum": [*sorted(CURRENCIES), None]},
    "credit_limit": {"type": "integer", "minimum": 0, "maximum": MAX_BALANCE},
}


class _Generator(GenerateJsonSchema):
    """Leaves out titles that only repeat a name."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Return that no field has a title."""
        del schema
        return False


def command_schema(ref_template: str = LOCAL) -> Schema:
    """Return the schema of a command's value, ``$defs`` included."""
    made = {model.__name__: _command(model) for model in get_args(Command)}
    return {
        "title": "Command",
        "description": "What a client asks for.",
        "$defs": made,
        "oneOf": [{"$ref": ref_template.format(model=name)} for name in made],
    }


def account_command_schema(ref_template: str = LOCAL) -> Schema:
    """Return the schema of the value of a command for an account, ``$defs`` included."""
    made = {model.__name__: _command(model) for model in get_args(AccountCommand)}
    return {
        "title": "AccountCommand",
        "description": "What a client asks for an account.",
        "$defs": made,
        "oneOf": [{"$ref": ref_template.format(model=name)} for name in made],
    }


def account_result_schema(ref_template: str = LOCAL) -> Schema:
    """Return the schema of the value of such a command's result."""
    return _of(AccountResult, ref_template)


def account_id_schema() -> Schema:
    """Return the schema of an account id, the key of commands for accounts and of results."""
    schema = _FIELD_SCHEMAS["account"]
    return {"title": "AccountId", "description": "The id of an account.", **schema}


def result_schema(ref_template: str = LOCAL) -> Schema:
    """Return the schema of a result's value, ``$defs`` included."""
    return _of(Result, ref_template)


def entry_schema(ref_template: str = LOCAL) -> Schema:
    """Return the schema of a ledger entry's value."""
    return _of(LedgerEntry, ref_template)


def balance_schema() -> Schema:
    """Return the schema of an account's balance, which is on no topic."""
    return _of(AccountBalance, LOCAL)


def payment_id_schema() -> Schema:
    """Return the schema of a payment id, the key of commands and results."""
    return {"title": "PaymentId", "description": "The id of a payment.", **NAME_SCHEMA}


def currency_schema() -> Schema:
    """Return the schema of a currency, with the decimals of each."""
    return {
        "title": "Currency",
        "description": "A code of ISO 4217 that has minor units. x-minor-units has the decimals of "
        f"each, by the list that was published on {PUBLISHED}: 2 means that 1999 is 19.99.",
        "type": "string",
        "enum": sorted(CURRENCIES),
        "x-minor-units": dict(sorted(EXPONENTS.items())),
    }


def event_headers_schema() -> Schema:
    """Return the schema of the CloudEvents headers of what is published (as text)."""
    return _headers(
        "CloudEventsHeaders",
        "CloudEvents 1.0, Kafka protocol binding, binary content mode.",
        {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {
                "type": "string",
                "pattern": "^[a-z]+/[0-9]+/[0-9]+/[0-9]+$",
                "description": "The position stage/partition/commit/index: never used twice.",
            },
            "ce_source": {"type": "string", "pattern": "^/[a-z]+/[0-9]+$"},
            "ce_type": {
                "enum": [
                    RESULT_TYPE,
                    ACCOUNT_RESULT_TYPE,
                    ENTRY_TYPE,
                    f"payments.{DEAD_LETTER_TYPE}",
                    f"accounts.{DEAD_LETTER_TYPE}",
                ],
            },
            "ce_time": {"type": "string", "format": "date-time"},
        },
        optional={"ce_subject": {"type": "string", "description": "The record's key."}},
    )


def dead_letter_headers_schema() -> Schema:
    """Return the schema of the headers of a dead letter that say why it is one (as text)."""
    number = {"type": "string", "pattern": "^[0-9]+$"}
    reasons = [
        *(reason.value for reason in Reason),
        MISSING_POSITION,
        FOREIGN_RECORD,
    ]
    facts: Schema = {
        "reason": {"enum": reasons},
        "exception": {"type": "string"},
        "message": {"type": "string"},
        "topic": {"type": "string", "description": "Where the record came in."},
        "partition": number,
        "offset": number,
    }
    more: Schema = {
        "stacktrace": {"type": "string", "description": "Of a defect of ours."},
        "last.offset": {**number, "description": "Of a batch that was dead-lettered whole."},
        "unanswered": {**number, "description": "Records of that batch, its last, without answer."},
        "value.bytes": {**number, "description": "The value's size, where it had to be truncated."},
    }
    return _headers(
        "DeadLetterHeaders",
        "Why a record was dead-lettered; the record's own headers are there too.",
        {f"{HEADER_PREFIX}{name}": schema for name, schema in facts.items()},
        optional={f"{HEADER_PREFIX}{name}": schema for name, schema in more.items()},
    )


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "command": command_schema,
    "result": result_schema,
    "entry": entry_schema,
    "account-command": account_command_schema,
    "account-result": account_result_schema,
    "account-id": account_id_schema,
    "payment-id": payment_id_schema,
    "currency": currency_schema,
    "event-headers": event_headers_schema,
    "dead-letter-headers": dead_letter_headers_schema,
}
"""Each schema that ``payments schema`` can print."""


def standalone(name: str) -> Schema:
    """Return one of ``SCHEMAS`` as a document of its own."""
    return {"$schema": DIALECT, **SCHEMAS[name]()}


def component_schemas() -> dict[str, Schema]:
    """Return all schemas by title, referring to each other as OpenAPI and AsyncAPI want it."""
    found: dict[str, Schema] = {}
    for made in (
        command_schema(COMPONENTS),
        result_schema(COMPONENTS),
        entry_schema(COMPONENTS),
        account_command_schema(COMPONENTS),
        account_result_schema(COMPONENTS),
        account_id_schema(),
        payment_id_schema(),
        currency_schema(),
        event_headers_schema(),
        dead_letter_headers_schema(),
    ):
        found |= made.pop("$defs", {})
        found[made["title"]] = made
    return found


def _command(model: type[Command] | type[AccountCommand]) -> Schema:
    given: Sequence[FieldInfo] = fields(model)
    named_unless_final: Schema = {
        "if": {"properties": {"final": {"const": False}}, "required": ["final"]},
        "then": {"required": ["capture"]},
    }
    return {
        "title": model.__name__,
        "description": model.__doc__,
        "type": "object",
        "properties": {
            "type": {"const": model.type, "type": "string"},
            **{field.name: _field(field) for field in given},
        },
        "required": ["type", *(field.name for field in given if field.required)],
        "additionalProperties": False,
        **(named_unless_final if model is Capture else {}),
    }


def _field(field: FieldInfo) -> Schema:
    schema = _FIELD_SCHEMAS[field.name]
    if field.name == "amount" and not field.required:
        return {**schema, "type": ["integer", "null"]}
    return schema


def _of(model: Any, ref_template: str) -> Schema:
    return TypeAdapter(model).json_schema(ref_template=ref_template, schema_generator=_Generator)


def _headers(title: str, description: str, required: Schema, *, optional: Schema) -> Schema:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": required | optional,
        "required": list(required),
    }
