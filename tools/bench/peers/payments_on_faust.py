"""The payment processor on Faust as it ships: two agents with a table each, joined by topics.

Settings come from the environment: ``PEER_BROKERS``, ``PEER_PREFIX`` (of the topics' names and of
the app id), ``PEER_GUARANTEE`` (``exactly_once`` or ``at_least_once``), ``PEER_PARTITIONS``,
``PEER_OPENING_BALANCE`` and ``PEER_DATA``.
"""

import os
import time
from typing import Any

import faust
from faust.types import ProcessingGuarantee

PREFIX = os.environ["PEER_PREFIX"]
OPENING_BALANCE = int(os.environ["PEER_OPENING_BALANCE"])

Row = dict[str, Any]

app = faust.App(
    f"{PREFIX}faust",
    broker=f"kafka://{os.environ['PEER_BROKERS']}",
    processing_guarantee=ProcessingGuarantee(os.environ["PEER_GUARANTEE"]),
    topic_partitions=int(os.environ["PEER_PARTITIONS"]),
    topic_replication_factor=1,
    topic_disable_leader=True,
    datadir=os.environ["PEER_DATA"],
    web_enabled=False,
    # As on the other systems, so that a killed worker need not wait for its own session to end.
    consumer_group_instance_id="faust-1",
    broker_session_timeout=10.0,
)


def _topic(*names: str) -> Any:
    full = [f"{PREFIX}{name}" for name in names]
    return app.topic(*full, key_type=str, key_serializer="raw", value_serializer="json")


messages = _topic("commands", "inbox")
transfers = _topic("transfers")
inbox = _topic("inbox")
results = _topic("results")
ledger = _topic("ledger")
payments = app.Table("payments", key_type=str, default=None)
accounts = app.Table("accounts", key_type=str, default=None)


@app.agent(messages)
async def payments_stage(stream: Any) -> None:
    """Handle what concerns one payment: commands, and how its transfers ended."""
    async for key, message in stream.items():
        payment, row = _text(key), payments.get(_text(key))
        if message["type"] == "settled":
            await _settled(payment, row, ok=message["ok"])
        elif message["type"] == "make":
            await _make(payment, row, message)
        else:
            await _cancel(payment, row, message)


@app.agent(transfers)
async def accounts_stage(stream: Any) -> None:
    """Move money: one ledger entry for each move, no balance below zero."""
    async for key, transfer in stream.items():
        account = _text(key)
        row = accounts.get(account) or {"balance": OPENING_BALANCE, "sequence": 0}
        balance, payment = row["balance"] + transfer["amount"], transfer["payment"]
        ok = balance >= 0
        if ok:
            row = {"balance": balance, "sequence": row["sequence"] + 1}
            accounts[account] = row
            entry = {"account": account, "payment": payment, "amount": transfer["amount"], **row}
            await ledger.send(key=account, value={**entry, "time": _now_ms()})
        await inbox.send(key=payment, value={"type": "settled", "ok": ok})


async def _make(payment: str, row: Row | None, message: Row) -> None:
    asker = [message["id"], "make"]
    if row is None:
        request = {name: message[name] for name in ("account", "amount", "currency")}
        payments[payment] = {"state": "pending", **request, "waiters": [asker]}
        await _transfer(payment, message["account"], -message["amount"])
        return
    reason = _difference(row, message)
    if reason is not None:
        await _answer(payment, asker, row, "rejected", reason)
    elif row["state"] in {"completed", "cancelled"}:
        await _answer(payment, asker, row, row["state"], replayed=True)
    else:
        payments[payment] = {**row, "waiters": [*row["waiters"], asker]}


async def _cancel(payment: str, row: Row | None, message: Row) -> None:
    asker = [message["id"], "cancel"]
    if row is None:
        row = {"state": "cancelled", "account": None, "amount": None, "currency": None}
        payments[payment] = {**row, "waiters": []}
        await _answer(payment, asker, row, "cancelled", "prevented")
    elif row["state"] == "cancelled":
        await _answer(payment, asker, row, "cancelled", replayed=True)
    else:
        state = {"pending": "cancelling", "completed": "reversing"}.get(row["state"], row["state"])
        payments[payment] = {**row, "state": state, "waiters": [*row["waiters"], asker]}
        if row["state"] == "completed":
            await _transfer(payment, row["account"], row["amount"])


async def _settled(payment: str, row: Row | None, *, ok: bool) -> None:
    if row is None or row["state"] not in {"pending", "cancelling", "reversing"}:
        return  # A transfer that was handled twice; stopping here would stop all that follows.
    if row["state"] == "pending" and ok:
        await _finish(payment, {**row, "state": "completed"}, "completed")
    elif row["state"] == "pending":
        await _finish(payment, {**row, "state": None}, "declined", "insufficient_funds")
    elif row["state"] == "cancelling" and ok:
        payments[payment] = {**row, "state": "reversing"}
        await _transfer(payment, row["account"], row["amount"])
    else:
        reason = "prevented" if row["state"] == "cancelling" else "rolled_back"
        await _finish(payment, {**row, "state": "cancelled"}, "cancelled", reason)


async def _finish(payment: str, row: Row, outcome: str, reason: str | None = None) -> None:
    if row["state"] is None:
        payments.pop(payment)
    else:
        payments[payment] = {**row, "waiters": []}
    for asker in row["waiters"]:
        await _answer(payment, asker, row, outcome, reason)


async def _answer(
    payment: str,
    asker: list[str],
    row: Row,
    outcome: str,
    reason: str | None = None,
    *,
    replayed: bool = False,
) -> None:
    command, type_ = asker
    result = {
        "payment": payment,
        "command": command,
        "type": type_,
        "outcome": outcome,
        "reason": reason,
        "replayed": replayed,
        **{name: row[name] for name in ("state", "account", "amount", "currency")},
        "time": _now_ms(),
    }
    await results.send(key=payment, value=result)


async def _transfer(payment: str, account: str, amount: int) -> None:
    await transfers.send(key=account, value={"payment": payment, "amount": amount})


def _difference(row: Row, message: Row) -> str | None:
    if row["account"] is None:  # Cancelled before it was made: nothing to compare with.
        return None
    fields = ("account", "amount", "currency")
    return next((f"different_{name}" for name in fields if row[name] != message[name]), None)


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
