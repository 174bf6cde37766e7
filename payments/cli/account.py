"""``payments account``: what is on an account, and the ledger entries that brought it there."""

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import click

from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.options import DEADLINE, JSON, NAME, connect
from payments.cli.output import printable, show_json, show_table
from payments.user_errors import load_settings, only_last_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payments.client import AccountBalance, LedgerEntry, PaymentsClient
    from payments.settings import Settings

_PAGE_ENTRIES = 1000


@click.command()
@click.argument("account_id", type=NAME, metavar="ACCOUNT")
@click.option("--entries", is_flag=True, help="Show its ledger entries instead of the balance.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Only entries behind this sequence number.",
)
@click.option("--limit", type=click.IntRange(min=1), help="So many entries at most.")
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
    """Show what is on an account, or its entries; exit code 3 if there is no such account.

    Both are as of now: they include every answer that was given before. With --entries and --json,
    one object on each line.

    \b
    Examples:
      payments account abc
      payments account abc --json | jq .balance
      payments account abc --entries --after 100 --limit 20
    """  # noqa: D301 - see root.py
    only_last_words()
    settings = load_settings()
    with client_errors(settings):
        if entries:
            found = asyncio.run(_entries(settings, account_id, after, limit, deadline_seconds))
        else:
            balance = asyncio.run(_balance(settings, account_id, deadline_seconds))
    if entries:
        _show_entries(found, as_json=as_json)
        return
    if balance is None:
        click.echo(f"there is no account {printable(account_id)}", err=True)
        click.get_current_context().exit(NOT_DONE)
    if as_json:
        show_json(dataclasses.asdict(balance))
    else:
        click.echo(f"{printable(account_id)}: {balance.balance} {balance.currency}")


async def _balance(
    settings: "Settings", account_id: str, deadline_seconds: float
) -> "AccountBalance | None":
    async with connect(settings, deadline_seconds) as client:
        return await client.account(account_id, deadline_seconds=deadline_seconds)


async def _entries(
    settings: "Settings", account_id: str, after: int, limit: int | None, deadline_seconds: float
) -> "list[LedgerEntry]":
    async with connect(settings, deadline_seconds) as client:
        pages = _pages(client, account_id, after, limit, deadline_seconds)
        return [entry async for entry in pages]


async def _pages(
    client: "PaymentsClient",
    account_id: str,
    after: int,
    limit: int | None,
    deadline_seconds: float,
) -> "AsyncIterator[LedgerEntry]":
    left = limit
    while left is None or left > 0:
        size = _PAGE_ENTRIES if left is None else min(left, _PAGE_ENTRIES)
        page = await client.entries(
            account_id, after=after, limit=size, deadline_seconds=deadline_seconds
        )
        for entry in page:
            yield entry
            after = entry.sequence
        if len(page) < size:
            return
        left = None if left is None else left - len(page)


def _show_entries(entries: "list[LedgerEntry]", *, as_json: bool) -> None:
    if as_json:
        for entry in entries:
            show_json(entry.model_dump(mode="json"))
        return
    rows = [
        [
            str(entry.sequence),
            entry.time,
            entry.kind,
            printable(entry.payment or "-"),
            str(entry.amount),
            str(entry.balance),
            entry.currency,
        ]
        for entry in entries
    ]
    show_table(["SEQUENCE", "TIME", "KIND", "PAYMENT", "AMOUNT", "BALANCE", "CURRENCY"], rows)
    click.echo(f"entries: {len(entries)}", err=True)
