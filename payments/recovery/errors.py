"""The refusal of a recovery command."""


class RecoveryRefused(Exception):  # noqa: N818 - an outcome, not an error
    """Nothing was changed; the message says why, and what to do instead."""
