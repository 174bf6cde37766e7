"""What ends a chaos run: an error that the user reads as one line."""


class ChaosError(Exception):
    """The run can't go on, or would not mean anything; the message says why."""
