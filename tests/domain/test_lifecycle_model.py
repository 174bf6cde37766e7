"""The payments' domain and the model of its lifecycle, side by side on every way there is."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import pytest

from payments.domain import account as ledger
from payments.domain import commands, payment
from payments.domain.payment import Policy, Received, captured_of
from payments.domain.payment_table import IMPOSSIBLE, NOTHING, TABLE
from payments.domain.results import Answer, Outcome, Reason
from tests.domain import lifecycle_model as model

HOLD_MS = 1_000
"""When the holds of the walk end; every other message comes at 0."""

DOMAIN_COMMANDS: tuple[commands.Command, ...] = (
    commands.Authorize("abc", 2, "EUR"),
    commands.Make("abc", 2, "EUR"),
    commands.Capture("c1", 1, final=False),
    commands.Capture("c2"),
    commands.Capture("c3", 3),
    commands.Capture("c4", 1),
    commands.Void(),
    commands.Cancel(),
    commands.Refund("r1", 1),
    commands.Refund("r2", 1),
    commands.Refund("r3"),
)
"""Those of the model, in its order."""

OPENING = ledger.Opening(0, "EUR")


class Walk(NamedTuple):
    """What a walk has met: how many states, and which cells of the payment table."""

    states: int
    cells: set[tuple[str, str]]


class Domain(NamedTuple):
    """The row, the account, and the transfer in flight."""

    payment: payment.Payment | None
    account: ledger.Account
    transfer: ledger.Transfer | None = None


def take(before: Domain, step: model.Step, policy: Policy) -> tuple[Domain, list[model.Answer]]:
    """Do with the domain what the walk does with the model; return the answers as the model's."""
    account, time_ms = before.account, 0
    if step.event == "spent":
        spent = ledger.Account(account.balance - 1, account.sequence, "EUR", account.held)
        return before._replace(account=spent), []
    message: payment.Message
    if step.event == "settled":
        assert before.transfer is not None
        posting = ledger.post(account, before.transfer, opening=OPENING)
        if isinstance(posting, Reason):
            message = ledger.Settled(ok=False, reason=posting)
        else:
            message, account = ledger.Settled(ok=True), posting.account
    elif step.event == "hold_ends":
        message, time_ms = payment.HoldEnds(), HOLD_MS
    else:
        command = DOMAIN_COMMANDS[step.id % len(DOMAIN_COMMANDS)]
        message, time_ms = Received(command, str(step.id)), HOLD_MS if step.overdue else 0
    decision = payment.decide(before.payment, message, time_ms=time_ms, policy=policy)
    in_flight = before.transfer if step.event != "settled" else None
    if decision.transfer is not None:
        assert in_flight is None, "one transfer is in flight at most"
        in_flight = decision.transfer
    answers = [in_words(answer) for answer in decision.answers]
    return Domain(decision.payment, account, in_flight), answers


def in_words(answer: Answer) -> model.Answer:
    """Return an answer as the model gives it."""
    own = None if answer.command is None else int(answer.command)
    type_ = "lapse" if own is None else DOMAIN_COMMANDS[own % len(DOMAIN_COMMANDS)].type
    assert answer.type == type_
    assert (answer.message is not None) == (answer.outcome is Outcome.REJECTED)
    reason = "" if answer.reason is None else answer.reason.value
    return model.Answer(own, answer.outcome.value, reason, answer.replayed)


def as_model(domain: Domain) -> model.Payment | None:
    """Return the row as the model has it: every field of a row is compared."""
    row, transfer = domain.payment, None
    if row is None:
        assert domain.transfer is None
        return None
    request = row.request
    if domain.transfer is not None:
        sent = domain.transfer
        assert (sent.account, sent.currency, sent.counter) == ("abc", "EUR", "sales")
        transfer = model.Transfer(sent.kind, sent.amount, sent.held, sent.part or "")
    of_hold = request is not None and request.type == "authorize"
    assert row.hold_expires_ms == (HOLD_MS if of_hold else None)
    refunded = row.refunded
    if not of_hold and not row.parts and row.reason is Reason.ROLLED_BACK:
        refunded = captured_of(row)  # The row of a make that was cancelled does not say it.
    assert row.metadata is None
    return model.Payment(
        state=row.state.value,
        type="" if request is None else request.type,
        amount=0 if request is None else request.amount,
        captured=captured_of(row),
        refunded=refunded,
        holds=row.held > 0,
        reason="" if row.reason is None else row.reason.value,
        parts=tuple(
            model.Part(x.id, x.type, None if x.whole else x.moved, x.final, x.moved)
            for x in row.parts
        ),
        transfer=transfer,
        waiters=tuple(model.Waiter(int(own), type_, again) for own, type_, again in row.waiters),
        queue=tuple(
            model.Queued(
                int(x.id), model.COMMANDS[int(x.id) % len(model.COMMANDS)], x.time_ms >= HOLD_MS
            )
            for x in row.queue
        ),
    )


def compare(policy: Literal["retry", "pin"], walked: Iterator[model.Walked]) -> Walk:
    """Take every step of a walk with the domain, too; return what the walk has met."""
    choices = Policy(policy, hold_ms=HOLD_MS)
    domains: dict[int, Domain] = {}
    cells = set()
    for step in walked:
        if not domains:
            domains[0] = Domain(None, ledger.Account(step.before.account.balance, 1, "EUR"))
        after, answers = take(domains[step.source], step.step, choices)
        assert answers == step.answers, step
        assert as_model(after) == step.after.payment, step
        account = step.after.account
        assert (after.account.balance, after.account.held) == (account.balance, account.held), step
        domains.setdefault(step.target, after)
        if step.step.event != "spent":
            before = step.before.payment
            cells.add(("" if before is None else before.state, event_of(step)))
    return Walk(len(domains), cells)


@pytest.mark.parametrize(
    ("opening", "policy", "most_waiting", "late", "states"),
    [
        (1, "retry", 3, False, 388),
        (1, "pin", 3, True, 760),
        (2, "retry", 2, True, 2_668),
        (3, "pin", 2, True, 3_200),
    ],
)
def test_the_domain_does_what_the_model_does_in_every_order_of_messages(
    opening: int, policy: Literal["retry", "pin"], most_waiting: int, late: bool, states: int
) -> None:
    walked = model.walk(opening=opening, pin=policy == "pin", most_waiting=most_waiting, late=late)
    assert compare(policy, walked).states == states


def test_the_widest_walk_meets_every_cell_but_those_that_need_more_than_its_commands() -> None:
    widest = compare("pin", model.walk(opening=2, pin=True))
    assert widest.states == 15_338
    all_cells = {
        ("" if state is None else state.value, event.value)
        for state, cells in TABLE.items()
        for event, cell in cells.items()
        if cell not in (IMPOSSIBLE, NOTHING)
    }
    missing = all_cells - widest.cells
    assert widest.cells <= all_cells
    assert {cell for cell in missing if cell[1] not in {"get", "window_closes"}} == {
        ("refunding", "settled_declined"),
        ("reversing", "settled_declined"),
    }


def event_of(walked: model.Walked) -> str:
    """Return the event of the payment table that a step is; "spent" is none."""
    if walked.step.event == "command":
        type_ = walked.step.command.type
        return "make_or_deposit" if type_ == "make" else type_
    if walked.step.event == "settled":
        moved = walked.after.account != walked.before.account
        return "settled_ok" if moved else "settled_declined"
    return walked.step.event
