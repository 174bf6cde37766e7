"""``payments account``: the balance of an account, its ledger entries, and the commands for it."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from payments.cli.amounts import currency_of
from payments.cli.ending import ACCOUNT_IN_DOUBT
from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.lazy import Group
from payments.cli.options import DEADLINE, JSON, NAME, connect
from payments.cli.output import printable, show, show_json, show_table, talk
from payments.cli.sending import NotSent, Shown, carry_out
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payments.client import (
        AccountBalance,
        AccountResult,
        CounterBalance,
        LedgerEntry,
        PaymentsClient,
    )
    from payments.settings import Settings

_PAGE_ENTRIES = 1000
_DONE = {"completed", "found"}
_LIMIT, _LIMIT_MINOR = "'--credit-limit'", "'--credit-limit-minor'"

_Found = TypeVar("_Found")
Function = TypeVar("Function", bound=Callable[..., Any])


class _Accounts(Group):
    """The commands for accounts; an id in place of a command is shown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, ``show`` before those that begin with no command."""
        own = {*self.list_commands(ctx), *ctx.help_option_names}
        # Two words are a command that is misspelt.
        words = [word for word in args[:2] if not word.startswith("-")]
        if args and args[0] not in own and len(words) < len(("command", "account")):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Accounts)
def account() -> None:
    """Show an account, open, freeze, unfreeze or close it, or set its credit limit.

    The command show may be left out, unless the account has the name of a command.

    \b
    Examples:
      payments account abc
      payments account freeze abc
    """


@account.command("show")
@click.argument("account_id", type=NAME, metavar="ACCOUNT")
@click.option("--entries", is_flag=True, help="Show its ledger entries instead of the balance.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Only entries after this sequence number.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most this number of entries.")
@DEADLINE
@JSON
def show_account(
    account_id: str,
    after: int,
    limit: int | None,
    deadline_seconds: float,
    *,
    entries: bool,
    as_json: bool,
) -> None:
    """Show the balance of an account, or its entries; exit code 3 if there is no such account.

    Both are as of now: they include every payment answered before. Where payments hold money, or
    there is a credit limit, it shows that and what is available too: more can't be spent. It shows
    the status where the account is frozen or closed. A counter-account, world/N or sales/N, has a
    balance for each currency, and no entries of its own. With --json, one object on each line, in
    minor units: balance_decimal, held_decimal, available_decimal and credit_limit_decimal are the
    same in major units, and keep all digits in jq and JavaScript.

    \b
    Examples:
      payments account show abc
      payments account abc
      payments account abc --json | jq -r .balance_decimal
      payments account sales/3
      payments account abc --entries --after 100 --limit 20
    """
    silence_client_logs()
    settings = load_settings()
    with client_errors(settings):
        if entries:
            found = asyncio.run(_entries(settings, account_id, after, limit, deadline_seconds))
            _show_entries(_existing(account_id, found), as_json=as_json)
            return
        balances = asyncio.run(_balances(settings, account_id, deadline_seconds))
    _show_balances(account_id, _existing(account_id, balances), as_json=as_json)


def _existing(account_id: str, found: "Sequence[_Found] | None") -> "Sequence[_Found]":
    """Return what was found of an account; without the account, print that and exit."""
    from payments.domain.names import has_outer_space

    if found is None:
        # Quoted where a space at an end would not be seen.
        shown = f'"{account_id}"' if has_outer_space(account_id) else account_id
        talk(f"there is no account {printable(shown)}")
        click.get_current_context().exit(NOT_DONE)
    return found


async def _balances(
    settings: "Settings", account_id: str, deadline_seconds: float
) -> "Sequence[AccountBalance | CounterBalance] | None":
    """Return the balance of an account, or those of a counter-account, one for each currency."""
    from payments.domain.account import is_counter_name

    async with connect(settings, deadline_seconds) as client:
        if is_counter_name(account_id):
            return await client.counter_balances(account_id, deadline_seconds=deadline_seconds)
        found = await client.account(account_id, deadline_seconds=deadline_seconds)
        return None if found is None else [found]


async def _entries(
    settings: "Settings", account_id: str, after: int, limit: int | None, deadline_seconds: float
) -> "list[LedgerEntry] | None":
    found: list[LedgerEntry] = []
    async with connect(settings, deadline_seconds) as client:
        while limit is None or len(found) < limit:
            size = _PAGE_ENTRIES if limit is None else min(limit - len(found), _PAGE_ENTRIES)
            page = await client.entries(
                account_id, after=after, limit=size, deadline_seconds=deadline_seconds
            )
            if page is None:
                return None
            found += page
            if len(page) < size:
                break
            after = page[-1].sequence
    return found


def _show_balances(
    account_id: str, balances: "Sequence[AccountBalance | CounterBalance]", *, as_json: bool
) -> None:
    from payments.domain.money import money_text
    from payments.records.record_models import AccountBalance, members
    from payments.records.wording import amounts_of_account

    for each in balances:
        if as_json:
            show_json(members(each))
            continue
        if isinstance(each, AccountBalance):
            words = amounts_of_account(each)
            words += [each.status] if each.status != "open" else []
        else:
            words = [money_text(each.balance, each.currency)]
            words += [f"held {money_text(each.held, each.currency)}"] if each.held else []
        show(printable(f"{account_id}: {', '.join(words)}"))


def _show_entries(entries: "Sequence[LedgerEntry]", *, as_json: bool) -> None:
    from payments.domain.money import money_text
    from payments.records.record_models import entry_members

    if as_json:
        for entry in entries:
            show_json(entry_members(entry))
        return
    with_holds = any(entry.held or entry.held_change for entry in entries)
    rows = []
    for entry in entries:
        amounts = [entry.amount, entry.balance]
        if with_holds:
            amounts += [entry.held_change, entry.held, entry.available]
        rows.append(
            [
                str(entry.sequence),
                entry.time,
                entry.kind,
                printable(entry.payment or "-"),
                # A currency that ISO 4217 has withdrawn is shown in minor units, and named so.
                *(
                    money_text(n, entry.currency).removesuffix(f" {entry.currency}")
                    for n in amounts
                ),
                entry.currency,
            ]
        )
    of_holds = ["HELD CHANGE", "HELD", "AVAILABLE"] if with_holds else []
    head = ["SEQUENCE", "TIME", "KIND", "PAYMENT", "AMOUNT", "BALANCE", *of_holds, "CURRENCY"]
    show_table(head, rows)
    talk(f"entries: {len(entries)}")


def is_done(result: "AccountResult") -> bool:
    """Return whether a result says that the command was carried out."""
    return result.outcome.value in _DONE


def line_of(result: "AccountResult") -> str:
    """Return the result of a command for an account in one line for a person."""
    from payments.records.wording import amounts_of_account

    parts = [f"{result.account}: {result.outcome.value}"]
    if result.reason is not None:
        parts.append(f"({result.reason.value})")
    if result.status is not None:
        parts.append(", ".join([result.status, *amounts_of_account(result)]))
    if result.replayed:
        parts.append("[replayed]")
    return " ".join(parts)


RESULTS = Shown(line_of, is_done)

ACCOUNT = click.argument("account_id", type=NAME, metavar="ACCOUNT")
ID = click.option(
    "--id", "command_id", type=NAME, help="The command's own id; made up unless given."
)
LIMIT = click.option(
    "--credit-limit",
    metavar="DECIMAL",
    help="How far below zero it may go, in major units: 50, 50.00 (EUR), or 0.",
)
LIMIT_MINOR = click.option(
    "--credit-limit-minor", metavar="NUMBER", help="The same in minor units: 5000 is 50.00 EUR."
)


def _plain(function: Function) -> Function:
    """Add the argument and the options that all commands for accounts have."""
    for option in (JSON, DEADLINE, ID, ACCOUNT):
        function = option(function)
    return function


@account.command("open")
@LIMIT
@LIMIT_MINOR
@click.option(
    "--currency",
    metavar="CODE",
    callback=currency_of,
    help="ISO 4217; else PAYMENTS_DEFAULT_CURRENCY.",
)
@_plain
def open_account(
    *,
    currency: str | None,
    credit_limit: str | None,
    credit_limit_minor: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Open an account with nothing on it, or open a closed one again.

    A first deposit opens an account too. Exit code 3: it is open with another currency or limit.

    \b
    Examples:
      payments account open abc
      payments account open abc --currency JPY --credit-limit 5000
    """
    settings = load_settings()
    limit = _limit_of(
        credit_limit, credit_limit_minor, currency or settings.default_currency, required=False
    )
    asked |= {"currency": currency, "credit_limit": limit}
    _run(settings, "open_account", asked, as_json=as_json)


@account.command("freeze")
@_plain
def freeze(*, as_json: bool, **asked: Any) -> None:
    """Let nothing new be taken from an account or held on it.

    Makes and authorizes are declined then; deposits, and what ends a payment that has begun, are
    carried out.

    \b
    Example:
      payments account freeze abc
    """
    _run(load_settings(), "freeze_account", asked, as_json=as_json)


@account.command("unfreeze")
@_plain
def unfreeze(*, as_json: bool, **asked: Any) -> None:
    """End a freeze.

    \b
    Example:
      payments account unfreeze abc
    """
    _run(load_settings(), "unfreeze_account", asked, as_json=as_json)


@account.command("limit")
@LIMIT
@LIMIT_MINOR
@_plain
def limit_account(
    *, credit_limit: str | None, credit_limit_minor: str | None, as_json: bool, **asked: Any
) -> None:
    """Set how far below zero an account may go.

    The credit limit is in the account's currency, which the command asks for first. It may be less
    than what is used: then nothing is available until it is paid back.

    \b
    Examples:
      payments account limit abc --credit-limit 50.00
      payments account limit abc --credit-limit 0
      payments account limit abc --credit-limit-minor 5000
    """
    _require_one_limit(credit_limit, credit_limit_minor, required=True)
    if credit_limit is None:
        asked["credit_limit"] = _limit_of(None, credit_limit_minor, "", required=True)

    async def convert(client: "PaymentsClient") -> None:
        found = await client.account_commands.send(
            asked["account_id"], {"type": "get"}, deadline_seconds=asked["deadline_seconds"]
        )
        if found.currency is None:
            raise NotSent(f"{found.message}; nothing was changed")
        asked["credit_limit"] = _limit_of(credit_limit, None, found.currency, required=True)

    prepare = convert if credit_limit is not None else None
    _run(load_settings(), "set_credit_limit", asked, as_json=as_json, prepare=prepare)


@account.command("close")
@_plain
def close(*, as_json: bool, **asked: Any) -> None:
    """Close an account that has nothing and holds nothing.

    Makes, authorizes and deposits are declined then; open opens it again. Exit code 3: its balance
    or what is held is not 0.

    \b
    Example:
      payments account close abc
    """
    _run(load_settings(), "close_account", asked, as_json=as_json)


def _run(
    settings: "Settings",
    name: str,
    asked: dict[str, Any],
    *,
    as_json: bool,
    prepare: Callable[["PaymentsClient"], Any] | None = None,
) -> None:
    """Send a command by the client's method of this name, and show its result."""

    async def call(client: "PaymentsClient") -> "AccountResult":
        given = {key: value for key, value in asked.items() if key != "account_id"}
        result: AccountResult = await getattr(client, name)(asked["account_id"], **given)
        return result

    carry_out(
        settings,
        call,
        asked["deadline_seconds"],
        RESULTS,
        as_json=as_json,
        in_doubt=ACCOUNT_IN_DOUBT,
        prepare=prepare,
    )


def _require_one_limit(major: str | None, minor: str | None, *, required: bool) -> None:
    both, none = major is not None and minor is not None, major is None and minor is None
    if both or (none and required):
        message = f"give the limit once: {_LIMIT} in major units or {_LIMIT_MINOR} in minor units"
        raise click.UsageError(message)


def _limit_of(major: str | None, minor: str | None, currency: str, *, required: bool) -> int | None:
    """Return the minor units that one of the two options gives; raises ``click.UsageError``."""
    from payments.domain.account import MAX_BALANCE
    from payments.domain.money import minor_units

    _require_one_limit(major, minor, required=required)
    if minor is not None:
        if not re.fullmatch(r"[0-9]{1,19}", minor) or int(minor) > MAX_BALANCE:
            rule = "is no whole number of minor units, 0 to 10^18, in the digits 0 to 9"
            raise click.BadParameter(f"{minor!r} {rule}", param_hint=_LIMIT_MINOR)
        return int(minor)
    if major is None or re.fullmatch(r"0(\.0+)?", major):
        return None if major is None else 0
    try:
        return minor_units(major, currency, most=MAX_BALANCE)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=_LIMIT) from error
