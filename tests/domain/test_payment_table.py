"""The payment table: every state with every message."""

import pytest

from payments.domain.payment import (
    IMPOSSIBLE,
    NOTHING,
    TABLE,
    Event,
    ImpossibleTransition,
    Payment,
    State,
)
from payments.domain.results import Answer, Outcome
from tests.domain.expectations import (
    CELLS,
    EARLIER_MS,
    EXPECTED,
    MESSAGES,
    NO_FUNDS,
    NOW_MS,
    PIN,
    REQUEST,
    RETRY,
    ROWS,
    WAITING,
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
    after, answers, transfer = expected
    decision = run(before, MESSAGES[message])
    if after == "=":
        assert decision.payment is before
    else:
        assert (decision.payment.state if decision.payment else "") == after
    assert [in_words(answer) for answer in decision.answers] == answers
    assert decision.transfer == transfer


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
        assert rule.to is (after.state if after else None)


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_every_answer_tells_the_state_after_it_and_the_stored_request(
    row: str, message: str
) -> None:
    before, types = ROWS[row], {"make": "make", "cancel": "cancel", "get": "get"}
    if EXPECTED[row][message] == "!":
        return
    decision = run(before, MESSAGES[message])
    for answer in decision.answers:
        assert answer.state == (decision.payment.state if decision.payment else None)
        assert answer.request == (before.request if before else None)
        if answer.command == "x":
            assert answer.type == types[message]
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
    assert bool(after and after.waiters) == bool(after and after.state in WAITING)


@pytest.mark.parametrize(("row", "message"), CELLS)
def test_the_decline_policy_matters_only_when_a_pending_payment_is_declined(
    row: str, message: str
) -> None:
    if EXPECTED[row][message] == "!":
        return
    pinned, retried = (run(ROWS[row], MESSAGES[message], policy) for policy in (PIN, RETRY))
    if (row, message) != ("pending", "declined"):
        assert pinned == retried
        return
    assert pinned.payment == Payment(State.DECLINED, NOW_MS, REQUEST, NO_FUNDS)
    assert retried.payment is None
    answer = Answer("m1", "make", Outcome.DECLINED, NO_FUNDS, request=REQUEST)
    assert retried.answers == (answer,)
