"""``payments account``: the balance of an account, and its ledger entries."""

import asyncio
from typing import TYPE_CHECKING, TypeVar

import click

from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.options import DEADLINE, JSON, NAME, connect
from payments.cli.output import printable, show, show_json, show_table, talk
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payments.client import AccountBalance, CounterBalance, LedgerEntry
    from payments.settings import Settings

_PAGE_ENTRIES = 1000

_Found = TypeVar("_Found")


@click.command()
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
def account(
    account_id: str,
    after: int,
    limit: int | None,
    deadline_seconds: float,
    *,
    entries: bool,
    as_json: bool,
) -> None:
    """Show the balance of an account, or its entries; exit code 3 if there is no such account.

    Both are as of now: they include every payment answered before. Where payments hold money, it
    shows what is held and available too: more than is available can't be spent. A counter-account,
    world/N or sales/N, has a balance for each currency, and no entries of its own. With --json, one
    object on each line, in minor units: balance_decimal, held_decimal and available_decimal are the
    same in major units, and keep all digits in jq and JavaScript.

    \b
    Examples:
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
    if found is None:
        talk(f"there is no account {printable(account_id)}")
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

    for each in balances:
        if as_json:
            show_json(members(each))
            continue
        words = [money_text(each.balance, each.currency)]
        if each.held:
            words.append(f"held {money_text(each.held, each.currency)}")
            if isinstance(each, AccountBalance):
                words.append(f"available {money_text(each.available, each.currency)}")
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
