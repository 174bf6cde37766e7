"""The payment table: every state with every message."""

import pytest
from msgspec.structs import replace

from payments.domain.commands import Cancel, Capture, Refund, Void
from payments.domain.payment import (
    Decision,
    ImpossibleTransition,
    Message,
    Payment,
    Queued,
    Received,
)
from payments.domain.payment_table import (
    IMPOSSIBLE,
    IN_FLIGHT,
    NOTHING,
    TABLE,
    Event,
    Rule,
    State,
)
from payments.domain.results import Answer, Outcome
from tests.domain.expectations import (
    CELLS,
    EARLIER_MS,
    EXPECTED,
    HELD_REQUEST,
    MESSAGES,
    NO_FUNDS,
    NOW_MS,
    PIN,
    REQUEST,
    RETRY,
    ROWS,
    holder,
    run,
)


def in_words(answer: Answer) -> str:
    reason = "-" if answer.reason is None else answer.reason.value
    replayed = "again" if answer.replayed else "first"
    return f"{answer.command} {answer.outcome.value} {reason} {replayed}"


def test_the_table_has_every_state_and_every_event() -> None:
    assert set(TABLE) == {None, *State}
    assert all(set(rules) == set(Event) for rules in TABLE.values())


def test_the_expectations_cover_the_table() -> None:
    states = {None if row is None else row.state for row in ROWS.values()}
    assert states == set(TABLE)
    assert len(MESSAGES) == len(Event)
    assert all(set(cells) == set(MESSAGES) for cells in EXPECTED.values())


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_every_state_meets_every_message_as_expected(row: str, message: str) -> None:
    before, expected = ROWS[row], EXPECTED[row][message]
    if expected == "!":
        with pytest.raises(ImpossibleTransition) as caught:
            run(before, MESSAGES[message])
        assert caught.value.args[0] == (None if before is None else before.state)
        assert caught.value.args[1] in {Event.SETTLED_OK, Event.SETTLED_DECLINED}
        return
    decision = run(before, MESSAGES[message])
    if isinstance(expected, str):
        check_waiting(before, decision, MESSAGES[message], expected)
        return
    after, answers, transfer = expected
    if after == "=":
        assert decision.payment is before
    else:
        assert (decision.payment.state if decision.payment else "") == after
    assert [in_words(answer) for answer in decision.answers] == answers
    assert decision.transfer == transfer


def check_waiting(
    before: Payment | None, decision: Decision, message: Message, expected: str
) -> None:
    """Check that a command joins or queues, and that nothing else changes."""
    assert before is not None
    assert isinstance(message, Received)
    command = message.command
    after = replace(before, waiters=(*before.waiters, ("x", command.type, True)))
    if expected == "queues":
        assert isinstance(command, Capture | Void | Cancel | Refund)
        after = replace(before, queue=(*before.queue, Queued("x", NOW_MS, command)))
    assert decision == Decision(after)


def test_every_choice_of_a_cell_is_expected_of_some_row() -> None:
    for state, cells in TABLE.items():
        rows = [name for name, row in ROWS.items() if (row.state if row else None) == state]
        for message, cell in zip(MESSAGES, cells.values(), strict=True):
            expected = {str(EXPECTED[name][message]) for name in rows}
            choices = 1 if isinstance(cell, Rule) else len(cell)
            assert len(expected) >= choices, (state, message)


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_the_table_names_the_state_that_follows(row: str, message: str) -> None:
    before, event = ROWS[row], list(Event)[list(MESSAGES).index(message)]
    rule = TABLE[before.state if before else None][event]
    assert (rule is IMPOSSIBLE) == (EXPECTED[row][message] == "!")
    if rule is IMPOSSIBLE:
        return
    after = run(before, MESSAGES[message]).payment
    if rule is NOTHING:
        assert after is before
    else:
        rules = (rule,) if isinstance(rule, Rule) else rule
        assert (after.state if after else None) in {choice.to for choice in rules}


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_every_answer_tells_the_state_after_it_and_the_stored_request(
    row: str, message: str
) -> None:
    before = ROWS[row]
    if EXPECTED[row][message] == "!":
        return
    decision = run(before, MESSAGES[message])
    for answer in decision.answers:
        assert answer.state == (decision.payment.state if decision.payment else None)
        assert answer.request == (before.request if before else None)
        if answer.command == "x":
            assert answer.type == message
        assert (answer.message is not None) == (answer.outcome is Outcome.REJECTED)


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_a_change_of_state_alone_sets_the_time(row: str, message: str) -> None:
    before = ROWS[row]
    if EXPECTED[row][message] == "!":
        return
    after = run(before, MESSAGES[message]).payment
    if after is not None:
        same = before is not None and before.state is after.state
        assert after.time_ms == (EARLIER_MS if same else NOW_MS)


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_commands_wait_exactly_while_a_transfer_is_under_way(row: str, message: str) -> None:
    if EXPECTED[row][message] == "!":
        return
    after = run(ROWS[row], MESSAGES[message]).payment
    waiting = after is not None and bool(after.waiters or after.queue)
    ends = message == "hold ends" and after is not None and after.state is State.RELEASING
    assert waiting == (after is not None and after.state in IN_FLIGHT and not ends) or ends


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_the_decline_policy_matters_only_when_a_request_is_declined(row: str, message: str) -> None:
    if EXPECTED[row][message] == "!":
        return
    pinned, retried = (run(ROWS[row], MESSAGES[message], policy) for policy in (PIN, RETRY))
    if message != "declined" or row not in {"pending", "authorizing"}:
        assert pinned == retried
        return
    request, own, kept = HELD_REQUEST, "a1", holder(State.DECLINED, reason=NO_FUNDS)
    if row == "pending":
        request, own, kept = REQUEST, "m1", Payment(State.DECLINED, EARLIER_MS, REQUEST, NO_FUNDS)
    assert pinned.payment == replace(kept, time_ms=NOW_MS)
    assert retried.payment is None
    answer = Answer(own, request.type, Outcome.DECLINED, NO_FUNDS, request=request)
    assert retried.answers == (answer,)
