"""Back-off: the pauses between attempts, which grow up to half a second."""

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)


def backoff_seconds(tries: int) -> float:
    """Return the seconds to wait before the next attempt, after ``tries`` retries."""
    return _SECONDS[min(tries, len(_SECONDS) - 1)]
