"""What of a record only a later version knows, for readers that must not guess what it means.

A field that this version lacks changes nothing where it is null: null says that it does not apply.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar, get_args

from msgspec import Struct, convert
from msgspec.json import decode

from payments.domain.account import Status
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason
from payments.records.record_models import (
    KINDS,
    AccountCommandType,
    AccountResult,
    CommandType,
    LedgerEntry,
    Result,
)

Part = TypeVar("Part", bound=Struct)

_KNOWN: Mapping[str, frozenset[str]] = {
    "type": frozenset({*get_args(CommandType), *get_args(AccountCommandType)}),
    "outcome": frozenset(Outcome),
    "reason": frozenset(Reason),
    "state": frozenset(State),
    "kind": frozenset(KINDS),
    "status": frozenset(Status),
}
_OF_RESULTS = ("type", "outcome", "reason", "state")
PublicRecord = Result | LedgerEntry | AccountResult
_SHOWN = 60
"""Characters of a value that are shown."""


class LaterVersion(Exception):
    """A later version wrote the record; the text has what this version does not know."""


@lru_cache(maxsize=4096)
def _are_known(*texts: str | None) -> bool:
    """Whether these values of ``_OF_RESULTS`` are known."""
    return all(
        text is None or text in _KNOWN[name] for name, text in zip(_OF_RESULTS, texts, strict=True)
    )


def has_known_values(record: PublicRecord) -> bool:
    """Whether this version knows all values of a record that it has read; fields aside."""
    if isinstance(record, LedgerEntry):
        return record.kind in _KNOWN["kind"] and record.status in _KNOWN["status"]
    if isinstance(record, AccountResult):
        status = record.status
        known = status is None or status in _KNOWN["status"]
        return known and _are_known(record.type, record.outcome, record.reason, None)
    return _are_known(record.type, record.outcome, record.reason, record.state)


def require_known(value: bytes, model: type[PublicRecord]) -> dict[str, object]:
    """Return the members of a record that this version knows.

    Raises ``LaterVersion``, and ``DecodeError`` or ``UnicodeDecodeError`` for no JSON object.
    """
    members = decode(value, type=dict[str, object])
    fields = model.model_fields
    later = [
        f"{name} {str(member)[:_SHOWN]!r}"
        for name, member in members.items()
        if member is not None
        and (name not in fields or (isinstance(member, str) and not _is_known(name, member)))
    ]
    if later:
        raise LaterVersion(", ".join(later))
    return {name: member for name, member in members.items() if name in fields}


def _is_known(name: str, text: str) -> bool:
    return name not in _KNOWN or text in _KNOWN[name]


def decode_again(value: bytes, part: type[Part], model: type[PublicRecord]) -> Part:
    """Decode a record that a strict decoder has refused, perhaps for a field that is null.

    Raises ``LaterVersion``, and ``DecodeError`` or ``UnicodeDecodeError`` for what is no record.
    """
    known = require_known(value, model)
    return convert({name: known[name] for name in part.__struct_fields__ if name in known}, part)
