"""Sending one command, and showing its result: what payments and accounts share."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from payments.cli.ending import PAYMENT_IN_DOUBT, Attempt
from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.options import connect
from payments.cli.output import OutputLost, colored, printable, show, show_json, talk
from payments.cli.user_errors import silence_client_logs

if TYPE_CHECKING:
    from payments.client import PaymentsClient
    from payments.records.record_models import AccountResult, Result
    from payments.settings import Settings

R = TypeVar("R", "Result", "AccountResult")


@dataclass(frozen=True)
class Shown(Generic[R]):
    """How results of one kind are shown."""

    line: Callable[[R], str]
    """Returns a result in one line for a person."""

    is_done: Callable[[R], bool]
    """Returns whether a result says that the command was carried out."""

    def show(self, result: R, *, as_json: bool) -> None:
        """Print a result; its message goes to standard error, unless it was carried out."""
        if as_json:
            from payments.records.record_models import members

            show_json(members(result))
            return
        done = self.is_done(result)
        show(colored(printable(self.line(result)), "green" if done else "yellow"))
        if result.message is not None and not done:
            talk(printable(result.message))


class NotSent(click.ClickException):
    """The command can't be carried out, and was not sent."""

    exit_code = NOT_DONE


def carry_out(
    settings: "Settings",
    call: Callable[["PaymentsClient"], Coroutine[Any, Any, R]],
    deadline_seconds: float,
    shown: Shown[R],
    *,
    as_json: bool,
    in_doubt: str = PAYMENT_IN_DOUBT,
    prepare: Callable[["PaymentsClient"], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Send a command and show its result; ``prepare`` is awaited before anything is sent."""
    silence_client_logs()

    attempt, answers = Attempt(in_doubt), list[R]()

    async def ask() -> None:
        async with connect(settings, deadline_seconds) as client:
            if prepare is not None:
                await prepare(client)
            attempt.begin()
            answers.append(await call(client))
            attempt.answer()

    try:
        with attempt.truthful(), client_errors(settings):
            asyncio.run(ask())
    except (Exception, KeyboardInterrupt):
        if not answers:  # After the answer, errors of closing the connection do not matter.
            raise
    [result] = answers
    try:
        shown.show(result, as_json=as_json)
    except OutputLost as error:
        raise OutputLost(error.problem, answer=shown.line(result)) from error
    if not shown.is_done(result):
        click.get_current_context().exit(NOT_DONE)
