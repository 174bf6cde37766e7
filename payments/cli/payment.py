"""``payments make``, ``deposit``, ``cancel``, ``get`` and ``watch``: one payment, by its id."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from payments.cli.amounts import amount_of, currency_of
from payments.cli.ending import Attempt
from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.options import DEADLINE, JSON, NAME, connect
from payments.cli.output import OutputLost, colored, printable, show, show_json, talk
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from payments.client import PaymentsClient
    from payments.records.record_models import Result
    from payments.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])
Call = Callable[["PaymentsClient"], Coroutine[Any, Any, "Result"]]

_ASKED_FOR = {
    "make": {"completed"},
    "deposit": {"completed"},
    "cancel": {"cancelled"},
    "get": {"found"},
}
"""Outcomes that mean that the command was carried out; those of a later version are none."""

PAYMENT = click.argument("payment", type=NAME, metavar="PAYMENT")
ID = click.option(
    "--id", "command_id", type=NAME, help="The command's own id; made up unless given."
)


def _movement(function: Function) -> Function:
    """Add the options that make and deposit share."""
    for option in (
        JSON,
        DEADLINE,
        ID,
        click.option(
            "--currency",
            metavar="CODE",
            callback=currency_of,
            help="ISO 4217; else PAYMENTS_DEFAULT_CURRENCY.",
        ),
        click.option(
            "--amount-minor",
            metavar="NUMBER",
            help="In minor units, a whole number: 1999 is 19.99 EUR, 1,999 JPY or 1.999 KWD.",
        ),
        click.option(
            "--amount",
            metavar="DECIMAL",
            help="In major units: 20 or 19.99 (EUR), 1999 (JPY), 1.999 (KWD).",
        ),
        click.option("--account", type=NAME, required=True, help="The account's id."),
        PAYMENT,
    ):
        function = option(function)
    return function


def is_done(result: "Result") -> bool:
    """Return whether a result says that the command was carried out."""
    return result.outcome.value in _ASKED_FOR.get(result.type or "", set())


def line_of(result: "Result") -> str:
    """Return a result in one line for a person."""
    from payments.domain.money import money_text

    parts = [f"{result.payment}: {result.outcome.value}"]
    if result.reason is not None:
        parts.append(f"({result.reason.value})")
    if result.amount is not None:
        money = money_text(result.amount, result.currency or "")
        parts.append(f"{money} account {result.account}")
    if result.outcome.value == "found":
        parts.append(f"state {result.state}")
    if result.replayed:
        parts.append("[replayed]")
    return " ".join(parts)


@click.command()
@_movement
def make(*, as_json: bool, **asked: Any) -> None:
    """Take money from an account.

    The same payment can be made any number of times: the money moves once. Exit code 3: it was not
    made; 75: the answer did not come in time, so send it again.

    \b
    Examples:
      payments make pay-1 --account abc --amount 19.99
      payments make pay-1 --account abc --amount 1999 --currency JPY --json
      payments make pay-1 --account abc --amount-minor 1999
    """
    _move("make", asked, as_json=as_json)


@click.command()
@_movement
def deposit(*, as_json: bool, **asked: Any) -> None:
    """Put money on an account; see make.

    \b
    Examples:
      payments deposit in-1 --account abc --amount 50.00
      payments deposit in-1 --account abc --amount 50.00 --id in-1-first
    """
    _move("deposit", asked, as_json=as_json)


@click.command()
@PAYMENT
@ID
@DEADLINE
@JSON
def cancel(*, as_json: bool, **asked: Any) -> None:
    """Prevent a payment, or undo it.

    The reason says which: prevented (no money had moved) or rolled_back.

    \b
    Example:
      payments cancel pay-1
    """
    settings = load_settings()
    _run(
        settings, lambda client: client.cancel(**asked), asked["deadline_seconds"], as_json=as_json
    )


@click.command()
@PAYMENT
@ID
@DEADLINE
@JSON
def get(*, as_json: bool, **asked: Any) -> None:
    """Ask for the state of a payment; exit code 3 if there is none.

    \b
    Examples:
      payments get pay-1
      payments get pay-1 --json | jq -r .state
    """
    call = partial(_call, "get", asked)
    _run(load_settings(), call, asked["deadline_seconds"], as_json=as_json)


def _move(name: str, asked: dict[str, Any], *, as_json: bool) -> None:
    """Carry out a make or deposit, its amount in minor units."""
    settings = load_settings()
    currency = asked["currency"] or settings.default_currency
    given = asked | {"amount": amount_of(asked["amount"], asked["amount_minor"], currency)}
    del given["amount_minor"]
    _run(settings, partial(_call, name, given), asked["deadline_seconds"], as_json=as_json)


async def _call(name: str, given: dict[str, Any], client: "PaymentsClient") -> "Result":
    result: Result = await getattr(client, name)(**given)
    return result


def _run(settings: "Settings", call: Call, deadline_seconds: float, *, as_json: bool) -> None:
    silence_client_logs()

    attempt, answers = Attempt(), []

    async def ask() -> None:
        async with connect(settings, deadline_seconds) as client:
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
        show_result(result, as_json=as_json)
    except OutputLost as error:
        raise OutputLost(error.problem, answer=line_of(result)) from error
    if not is_done(result):
        click.get_current_context().exit(NOT_DONE)


def show_result(result: "Result", *, as_json: bool) -> None:
    """Print a result; its message goes to standard error, unless the command was carried out."""
    if as_json:
        show_json(result.model_dump(mode="json"))
        return
    done = is_done(result)
    show(colored(printable(line_of(result)), "green" if done else "yellow"))
    if result.message is not None and not done:
        talk(printable(result.message))


@click.command()
@PAYMENT
@click.option("--count", type=click.IntRange(min=1), help="End after this number of results.")
@JSON
def watch(payment: str, count: int | None, *, as_json: bool) -> None:
    """Print the results of a payment as they come, until Ctrl-C.

    Results of all clients are shown, and the notice of the payment's expiry. With --json, one
    object on each line.

    \b
    Examples:
      payments watch pay-1
      payments watch pay-1 --count 1 --json
    """
    silence_client_logs()
    settings = load_settings()

    async def follow() -> None:
        async with connect(settings) as client:
            results = client.watch(payment)
            talk(f"watching {printable(payment)}; Ctrl-C ends")
            left = count
            async for result in results:
                show_result(result, as_json=as_json)
                left = None if left is None else left - 1
                if left == 0:
                    return

    with client_errors(settings):
        try:
            asyncio.run(follow())
        except KeyboardInterrupt:
            return
