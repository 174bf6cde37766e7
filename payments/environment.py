"""The environment: finds variables ``PAYMENTS_*`` that are no settings, most likely misspelt."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import click

from payments.gateway.settings import GatewaySettings
from payments.settings import Settings

logger = logging.getLogger(__name__)

PREFIX = "PAYMENTS_"
DEVELOPMENT = {
    "PAYMENTS_BROKER_HEAP",
    "PAYMENTS_COMPILED",
    "PAYMENTS_FUZZ",
    "PAYMENTS_INSTALL",
    "PAYMENTS_KAFKA_VERSION",
    "PAYMENTS_PORT",
    "PAYMENTS_PROVIDER",
}
"""Variables of the development tools, which CONTRIBUTING.md describes."""

_KUBERNETES = re.compile(r"PAYMENTS_\w*?(SERVICE_(HOST|PORT)\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
"""Variables that Kubernetes sets for services whose names begin with ``payments``."""


def warn_of_unknown(*, to_log: bool) -> None:
    """Print, or log, a line for each variable that looks like a setting and is none."""
    for line in unknown(os.environ, known()):
        if to_log:
            logger.warning("%s", line)
        else:
            click.echo(f"Warning: {line}", err=True)


def known() -> set[str]:
    """Return the names of all settings."""
    fields = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    return fields | {f"{PREFIX}GATEWAY_{field.upper()}" for field in GatewaySettings.model_fields}


def unknown(environment: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """Return a line for each variable that is not known, with the nearest name that is."""
    # Compared without their common prefix.
    names = {name.removeprefix(PREFIX): name for name in sorted(known)}
    lines = []
    for name in sorted(environment):
        # Names are read without regard to case, as pydantic-settings does.
        given = name.upper()
        if not given.startswith(PREFIX) or given in DEVELOPMENT or _KUBERNETES.fullmatch(given):
            continue
        if (word := given.removeprefix(PREFIX)) not in names:
            near = get_close_matches(word, names, n=1)
            hint = f"did you mean {names[near[0]]}?" if near else "the README lists the settings"
            lines.append(f"{name} is no setting and does nothing: {hint}")
    return lines
