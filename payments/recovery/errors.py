"""The refusal of a recovery command."""

from exactstage import Record
from payments.records.later_versions import LaterVersion
from payments.records.record_address import RecordAddress


class RecoveryRefused(Exception):
    """Nothing was changed; the message says why, and what to do instead."""


def later_version(record: Record, later: LaterVersion) -> RecoveryRefused:
    """Return the refusal of a record that a later version wrote."""
    message = (
        f"{RecordAddress(*record[:3])} has what this version does not know ({later}): a later "
        f"version wrote it; use the version of the workers"
    )
    return RecoveryRefused(message)
