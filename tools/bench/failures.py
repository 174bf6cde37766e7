"""What ends a benchmark: an error that the user reads as one line."""


class BenchError(Exception):
    """The measurement can't go on, or would not mean anything; the message says why."""
