"""Open files: how many this process may have, raised as far as the system allows it.

A connection is a file too. A worker has a few for each broker, and can neither start nor connect
again where the limit is below that.
"""

import click

FEWEST = 128
"""A worker on one broker has 26; each further broker takes up to 5."""


def require() -> None:
    """Raise the limit as far as a worker needs. Raises ``ClickException`` where it may not."""
    try:
        import resource  # noqa: PLC0415 - Windows has none, and no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FEWEST:
        soft = FEWEST if hard == resource.RLIM_INFINITY else min(hard, FEWEST)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if 0 <= soft < FEWEST:
        message = (
            f"this process may have {soft} open files, a worker needs {FEWEST}: raise the limit of "
            f"its parent (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker)"
        )
        raise click.ClickException(message)
