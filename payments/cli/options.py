"""The parts that several commands share: options, names as arguments, and the client."""

import math
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from payments.client import PaymentsClient
    from payments.settings import Settings

CONNECT_SECONDS = 5.0
_UNREAD = re.compile("[\udc80-\udcff]")
"""Bytes of an argument that Python could not read in its locale (PEP 383)."""


class SecondsType(click.FloatRange):
    """A time to wait; NaN, which is in every range for click, is none."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
DEADLINE = click.option(
    "--deadline",
    "deadline_seconds",
    type=SecondsType(min=0.001, max=86_400),
    default=30.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)


class TextType(click.ParamType):
    """Text whose rule is that of the command's field."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text."""
        del param, ctx
        text = str(value)
        if _UNREAD.search(text):
            # Without a locale Python takes arguments for ASCII; what it can't read is kept.
            with suppress(UnicodeError):
                text = os.fsencode(text).decode()
        return text


class NameType(TextType):
    """The id of a payment, an account or a command."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name."""
        from payments.domain.names import NAME_RULE, is_name

        text = super().convert(value, param, ctx)
        if not is_name(text):
            self.fail(NAME_RULE, param, ctx)
        return text


TEXT, NAME = TextType(), NameType()


def connect(settings: "Settings", deadline_seconds: float | None = None) -> "PaymentsClient":
    """Return a client to be entered; it reports soon that no broker answers."""
    from payments.client import PaymentsClient

    seconds = min(deadline_seconds or CONNECT_SECONDS, CONNECT_SECONDS)
    return PaymentsClient(settings=settings, connect_seconds=seconds)
