"""A recorded run of payments that hold money: authorized, captured, voided, refunded, lapsed."""

from collections.abc import Mapping, Sequence
from typing import Any

from payments.testing import PaymentsTestbed

from .recording import CANCEL, GET, HOURS, MAKE, Recording, settled

AUTHORIZE: dict[str, Any] = {**MAKE, "type": "authorize"}
CAPTURE, VOID = {"type": "capture"}, {"type": "void"}


def some(part: str, amount: int, *, final: bool = False) -> dict[str, Any]:
    """Return a capture of a part."""
    return {"type": "capture", "capture": part, "amount": amount, "final": final}


def refund(part: str, amount: int | None = None) -> dict[str, Any]:
    """Return a refund."""
    command: dict[str, Any] = {"type": "refund", "refund": part}
    return command if amount is None else {**command, "amount": amount}


SHORT = {**AUTHORIZE, "hold_seconds": 60}
SENDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "taken": [AUTHORIZE, AUTHORIZE, CAPTURE, CAPTURE],
    "parts": [
        AUTHORIZE,
        some("c1", 30),
        some("c1", 30),
        some("c1", 31),
        refund("r0", 10),
        some("c2", 20),
        GET,
        some("c3", 40, final=True),
        refund("r1", 20),
        refund("r1", 20),
        refund("r2", 1000),
        refund("r3"),
        VOID,
    ],
    "some left": [AUTHORIZE, some("c1", 60, final=True), some("c4", 1)],
    "voided": [AUTHORIZE, VOID, VOID, AUTHORIZE, CAPTURE],
    "part voided": [AUTHORIZE, some("c1", 10), VOID, refund("r1", 3)],
    "undone hold": [AUTHORIZE, CANCEL, GET, refund("r")],
    "undone part": [AUTHORIZE, some("c1", 10), refund("r1", 4), CANCEL, some("c1", 10)],
    "undone free": [AUTHORIZE, some("c1", 10), refund("r1"), CANCEL],
    "back": [MAKE, refund("r1", 40), refund("r1", 40), MAKE, refund("r2", 50), GET],
    "back undone": [MAKE, refund("r1", 40), CANCEL, GET],
    "all back": [MAKE, refund("r1"), CANCEL],
    "not held": [MAKE, CAPTURE, VOID, {**MAKE, "metadata": {"a": "b"}}],
    "never held": [GET, CAPTURE, refund("r")],
    "void first": [VOID, AUTHORIZE],
    "too much": [{**AUTHORIZE, "amount": 100_000}, {**AUTHORIZE, "metadata": {"n": "1"}}],
    "lapses": [SHORT],
    "lapses with a part": [SHORT, some("c1", 30)],
    "found lapsed": [SHORT],
    "voided late": [SHORT],
    "stays held": [AUTHORIZE, some("c1", 10), refund("r1", 3)],
    "given back": [{**MAKE, "type": "deposit", "account": "rich"}, CANCEL],
}
"""By payment: what is sent, each when the one before is answered."""

AT_ONCE: Sequence[Sequence[Mapping[str, Any]]] = [
    [AUTHORIZE, CAPTURE, refund("r1", 5), VOID, GET],
    [AUTHORIZE, CANCEL, AUTHORIZE, CAPTURE, VOID],
    [AUTHORIZE, some("c1", 5), some("c1", 5), some("c2", 5), CANCEL, CANCEL],
    [MAKE, refund("r1", 5), CANCEL, refund("r2", 5)],
    [MAKE, CANCEL, refund("r1", 5)],
    [AUTHORIZE, VOID, VOID, CANCEL, AUTHORIZE],
    [{**AUTHORIZE, "amount": 100_000}, CANCEL, CAPTURE],
]
"""Of a payment each: what is sent without waiting."""


async def lifecycles(payments: PaymentsTestbed) -> None:
    """Send commands of every kind, one after another and at once, and let holds lapse or stay."""
    for number, (payment, commands) in enumerate(SENDS.items()):
        for command in commands:
            await payments.send(payment, command, partition=number % 4)
    for number, commands in enumerate(AT_ONCE, 1):
        for command in commands:
            payments.post(f"at once {number}", command)
    await payments.quiet()
    payments.clock.advance(61)  # The timer has not run.
    for payment, command in (("found lapsed", CAPTURE), ("voided late", VOID)):
        payments.post(payment, command)
    await payments.quiet()
    await payments.advance(61)
    await payments.send("lapses", AUTHORIZE | {"hold_seconds": 60})
    await payments.send("lapses with a part", refund("r1", 7))
    await payments.send("lapses", CAPTURE)
    await payments.advance(25 * HOURS)
    for payment in ("taken", "back", "lapses"):  # All three ids are free again.
        await payments.send(payment, AUTHORIZE)
    await payments.send("taken", some("c1", 1))
    await settled(payments)


async def recorded_lifecycles(**settings: Any) -> Recording:
    """Return a run of all of them; holds that lasted an hour end soon."""
    given: dict[str, Any] = {
        "opening_balance": 100_000,
        "hold_notice_seconds": 7 * 24 * 3600 - 3600,
    }
    async with PaymentsTestbed(**(given | settings)) as payments:
        await lifecycles(payments)
        return Recording.of(payments)
