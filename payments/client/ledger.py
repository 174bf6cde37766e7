"""The ledger by account: entries to store in the index, and pages of them."""

from collections.abc import Sequence

import msgspec
from pydantic import ValidationError

from exactstage import Record, TopicPartition
from payments.client.errors import AccountsUnavailable
from payments.client.index import Index
from payments.client.runs import Place
from payments.records.record_models import LedgerEntry
from payments.records.record_parts import decode_numbered


def places(records: Sequence[Record]) -> list[Place]:
    """Return the places of the entries; a record that is no entry has no number."""
    return [
        (record.key or b"", _number(record), record.offset, record.value or b"")
        for record in records
    ]


def read_page(
    index: Index, at: TopicPartition, account: str, after: int, limit: int
) -> list[LedgerEntry]:
    """Return entries of an account. Raises ``AccountsUnavailable`` for an inconsistent ledger."""
    name = account.encode()
    stray = index.stray(at.partition, name)
    if stray is not None:
        message = f"{at.address(stray)} is no ledger entry, or repeats one: {account} has no pages"
        raise AccountsUnavailable(message)
    values = index.entries(at.partition, name, after, limit)
    try:
        entries = [LedgerEntry.model_validate_json(value, extra="ignore") for value in values]
    except ValidationError:
        raise AccountsUnavailable(f"{at} holds what is no ledger entry of {account}") from None
    for before, entry in zip([None, *entries], entries, strict=False):
        if before and entry.sequence != before.sequence + 1:
            message = f"{at} holds entries of {account} that do not follow each other"
            raise AccountsUnavailable(message)
    return entries


def _number(record: Record) -> int | None:
    try:
        entry = decode_numbered(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    own = entry.account.encode(errors="replace") == record.key
    return entry.sequence if own and 0 < entry.sequence < 2**63 else None
