"""The commands of one payment, by its id: from ``payments make`` to ``payments watch``."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from payments.cli.amounts import amount_of, currency_of, require_at_most_one
from payments.cli.exit_codes import client_errors
from payments.cli.options import DEADLINE, JSON, NAME, TEXT, connect
from payments.cli.output import printable, talk
from payments.cli.sending import NotSent, Shown, carry_out
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
    "authorize": {"authorized"},
    "capture": {"captured"},
    "void": {"voided", "cancelled", "lapsed"},
    "refund": {"refunded"},
    "cancel": {"cancelled", "lapsed"},
    "get": {"found"},
}
"""Outcomes that mean that the command was carried out; those of a later version are none.

Of a hold that has lapsed nothing is held any more, as a void or cancel asks.
"""

PAYMENT = click.argument("payment", type=NAME, metavar="PAYMENT")
ID = click.option(
    "--id", "command_id", type=NAME, help="The command's own id; made up unless given."
)


MAJOR = click.option(
    "--amount",
    metavar="DECIMAL",
    help="In major units: 20 or 19.99 (EUR), 1999 (JPY), 1.999 (KWD).",
)
MINOR = click.option(
    "--amount-minor",
    metavar="NUMBER",
    help="In minor units, a whole number: 1999 is 19.99 EUR, 1,999 JPY or 1.999 KWD.",
)


def _metadata(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str] | None:
    """Return the pairs of ``--metadata``; raises ``click.BadParameter`` for what is none."""
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", context, option)
        if name in pairs:
            raise click.BadParameter(f"{name!r} is given twice", context, option)
        pairs[name] = value
    return pairs or None


def _movement(function: Function) -> Function:
    """Add the options that make, deposit and authorize share."""
    for option in (
        JSON,
        DEADLINE,
        ID,
        click.option(
            "--metadata",
            type=TEXT,
            metavar="KEY=VALUE",
            multiple=True,
            callback=_metadata,
            help="A note on the payment, which its results and entries have; may be repeated.",
        ),
        click.option(
            "--currency",
            metavar="CODE",
            callback=currency_of,
            help="ISO 4217; else PAYMENTS_DEFAULT_CURRENCY.",
        ),
        MINOR,
        MAJOR,
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
    if result.part is not None:
        parts.append(f"part {result.part}")
        if result.part_amount is not None:
            parts.append(f"({money_text(result.part_amount, result.currency or '')})")
    if result.amount is not None:
        money = money_text(result.amount, result.currency or "")
        parts.append(f"{'of ' if result.part else ''}{money} account {result.account}")
    if result.outcome.value == "found":
        parts.append(f"state {result.state}")
    if amounts := _amounts(result):
        parts[-1] += f": {', '.join(amounts)}"
    if result.replayed:
        parts.append("[replayed]")
    return " ".join(parts)


def _amounts(result: "Result") -> list[str]:
    """Return what has become of a payment's money, where a result says it."""
    from payments.domain.money import money_text

    shown = [("captured", result.captured), ("refunded", result.refunded), ("held", result.held)]
    found = [f"{name} {money_text(n, result.currency or '')}" for name, n in shown if n]
    if result.held and result.hold_expires is not None:
        found[-1] += f" until {result.hold_expires}"
    return found


RESULTS = Shown(line_of, is_done)


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
@_movement
@click.option(
    "--hold-seconds",
    type=int,
    metavar="NUMBER",
    help="How long the money is held, up to a year; else PAYMENTS_HOLD_SECONDS of the workers.",
)
def authorize(*, as_json: bool, **asked: Any) -> None:
    """Hold money on an account, to be captured later; see make.

    The line and the JSON say until when it is held. Then the hold ends by itself (lapsed).

    \b
    Examples:
      payments authorize pay-2 --account abc --amount 100.00
      payments authorize pay-2 --account abc --amount 100.00 --hold-seconds 3600
      payments authorize pay-2 --account abc --amount 100.00 --metadata order=7 --json
    """
    _move("authorize", asked, as_json=as_json)


@click.command()
@PAYMENT
@MAJOR
@MINOR
@click.option(
    "--capture",
    type=TEXT,
    metavar="ID",
    help="The capture's own id within the payment: with it nothing is taken twice; "
    '"final" unless given.',
)
@click.option(
    "--not-final", is_flag=True, help="Keep holding the rest; needs --capture. Else it is released."
)
@ID
@DEADLINE
@JSON
def capture(*, not_final: bool, as_json: bool, **asked: Any) -> None:
    """Take money that an authorize holds: all of it, or --amount.

    \b
    Examples:
      payments capture pay-2
      payments capture pay-2 --amount 60.00
      payments capture pay-2 --amount 60.00 --capture parcel-1 --not-final
    """
    if not_final and asked["capture"] is None:
        raise click.UsageError("a capture that is not final needs an id of its own: '--capture'")
    _take("capture", asked | {"final": not not_final}, as_json=as_json)


@click.command()
@PAYMENT
@ID
@DEADLINE
@JSON
def void(*, as_json: bool, **asked: Any) -> None:
    """Release what an authorize holds, and keep what was captured.

    Exit code 0 also where the hold had ended by itself (lapsed). Before its authorize a void
    prevents the payment, as cancel does.

    \b
    Example:
      payments void pay-2
    """
    call = partial(_call, "void", asked)
    _run(load_settings(), call, asked["deadline_seconds"], as_json=as_json)


@click.command()
@PAYMENT
@click.option(
    "--refund",
    type=TEXT,
    metavar="ID",
    required=True,
    help="The refund's own id within the payment: with it nothing is moved twice.",
)
@MAJOR
@MINOR
@ID
@DEADLINE
@JSON
def refund(*, as_json: bool, **asked: Any) -> None:
    """Give back what a payment took: all that is left, or --amount.

    \b
    Examples:
      payments refund pay-2 --refund return-1
      payments refund pay-2 --refund return-1 --amount 20.00
    """
    _take("refund", asked, as_json=as_json)


@click.command()
@PAYMENT
@ID
@DEADLINE
@JSON
def cancel(*, as_json: bool, **asked: Any) -> None:
    """Prevent a payment, or undo it.

    The reason says which: prevented (no money had moved), rolled_back, or voided (it was only
    held).

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
    """Carry out a make, deposit or authorize, its amount in minor units."""
    settings = load_settings()
    currency = asked["currency"] or settings.default_currency
    given = asked | {"amount": amount_of(asked["amount"], asked["amount_minor"], currency)}
    del given["amount_minor"]
    _run(settings, partial(_call, name, given), asked["deadline_seconds"], as_json=as_json)


def _take(name: str, asked: dict[str, Any], *, as_json: bool) -> None:
    """Carry out a capture or refund, whose amount is in the currency of its payment."""
    require_at_most_one(asked["amount"], asked["amount_minor"])
    given = {key: value for key, value in asked.items() if key != "amount_minor"}
    if asked["amount_minor"] is not None:
        given["amount"] = amount_of(None, asked["amount_minor"], "")

    async def call(client: "PaymentsClient") -> "Result":
        return await _call(name, given, client)

    async def convert(client: "PaymentsClient") -> None:
        given["amount"] = await _minor_of_payment(asked, client)

    prepare = convert if asked["amount"] is not None else None
    deadline_seconds = asked["deadline_seconds"]
    _run(load_settings(), call, deadline_seconds, as_json=as_json, prepare=prepare)


async def _minor_of_payment(asked: dict[str, Any], client: "PaymentsClient") -> int:
    """Return ``--amount`` in minor units of the payment's currency, which is asked for.

    In a currency with other decimals the same text would be another amount of money.
    """
    found = await client.get(asked["payment"], deadline_seconds=asked["deadline_seconds"])
    if found.currency is None:
        raise NotSent(f"{found.message}; nothing was sent")
    return amount_of(asked["amount"], None, found.currency)


async def _call(name: str, given: dict[str, Any], client: "PaymentsClient") -> "Result":
    result: Result = await getattr(client, name)(**given)
    return result


def _run(
    settings: "Settings",
    call: Call,
    deadline_seconds: float,
    *,
    as_json: bool,
    prepare: Callable[["PaymentsClient"], Coroutine[Any, Any, None]] | None = None,
) -> None:
    carry_out(settings, call, deadline_seconds, RESULTS, as_json=as_json, prepare=prepare)


def show_result(result: "Result", *, as_json: bool) -> None:
    """Print a result; its message goes to standard error, unless the command was carried out."""
    RESULTS.show(result, as_json=as_json)


@click.command()
@PAYMENT
@click.option("--count", type=click.IntRange(min=1), help="End after this number of results.")
@JSON
def watch(payment: str, count: int | None, *, as_json: bool) -> None:
    """Print the results of a payment as they come, until Ctrl-C.

    Results of all clients are shown, and the notices that its hold has lapsed and that the payment
    has expired. With --json, one object on each line.

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
