"""The refusal of a recovery command."""


class RecoveryRefused(Exception):
    """Nothing was changed; the message says why, and what to do instead."""
