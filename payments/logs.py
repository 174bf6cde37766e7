"""The form of the log lines of workers and gateways."""

import logging

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Log to standard error from this level on (``info``); the first call decides."""
    logging.basicConfig(level=level.upper(), format=LINE)
