"""The rules of payments that are not in the table."""

import pytest
from msgspec.structs import replace

from payments.domain.account import Settled, Transfer
from payments.domain.commands import (
    Authorize,
    Cancel,
    Capture,
    Command,
    Deposit,
    Get,
    Make,
    Refund,
    Void,
)
from payments.domain.payment import (
    MAX_PARTS,
    Decision,
    Part,
    Payment,
    Policy,
    Queued,
    decide,
)
from payments.domain.payment_table import IN_FLIGHT, State
from payments.domain.results import Amounts, Outcome, Reason
from tests.domain.expectations import (
    AUTHORIZE,
    EXPIRES_MS,
    MAKE,
    NO_FUNDS,
    NOW_MS,
    PIN,
    REQUEST,
    ROWS,
    WAITING,
    holder,
    moves,
    run,
    send,
)

MAKES = [name for name, row in ROWS.items() if row is not None and row.request == REQUEST]


@pytest.mark.parametrize(
    ("row", "command", "waiter"),
    [
        ("none", MAKE, ("x", "make", False)),
        ("none", Deposit(account="abc", amount=1, currency="EUR"), ("x", "deposit", False)),
        ("pending", MAKE, ("x", "make", True)),
        ("pending", Cancel(), ("x", "cancel", False)),
        ("cancelling", MAKE, ("x", "make", True)),
        ("cancelling", Cancel(), ("x", "cancel", True)),
        ("reversing", MAKE, ("x", "make", True)),
        ("reversing", Cancel(), ("x", "cancel", True)),
        ("completed", Cancel(), ("x", "cancel", False)),
    ],
)
def test_a_command_that_waits_comes_last_and_knows_whether_it_repeats(
    row: str, command: Command, waiter: tuple[str, str, bool]
) -> None:
    before, after = ROWS[row], send(ROWS[row], command).payment
    assert after is not None
    assert after.waiters == (*(before.waiters if before else ()), waiter)


@pytest.mark.parametrize("row", [*MAKES, "cancelled first"])
@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        (
            Deposit(account="abc", amount=100, currency="EUR"),
            Reason.DIFFERENT_TYPE,
            "make, not dep",
        ),
        (Deposit(account="z", amount=9, currency="USD"), Reason.DIFFERENT_TYPE, "make, not dep"),
        (Make(account="z", amount=9, currency="USD"), Reason.DIFFERENT_ACCOUNT, "abc, not z"),
        (
            Make(account="abc", amount=9, currency="USD"),
            Reason.DIFFERENT_AMOUNT,
            "1.00 EUR, not 0.0",
        ),
        (Make(account="abc", amount=100, currency="USD"), Reason.DIFFERENT_CURRENCY, "EUR, not US"),
    ],
)
def test_another_request_is_rejected_by_the_first_field_that_differs(
    row: str, command: Command, reason: Reason, words: str
) -> None:
    before = ROWS[row]
    assert before is not None
    if before.request is None:
        assert send(before, command).answers[0].outcome is Outcome.CANCELLED
        return
    decision = send(before, command)
    assert decision.payment is before
    assert decision.transfer is None
    (answer,) = decision.answers
    assert (answer.outcome, answer.reason, answer.replayed) == (Outcome.REJECTED, reason, False)
    assert (answer.state, answer.request) == (before.state, REQUEST)
    assert (answer.command, answer.type) == ("x", command.type)
    assert words in (answer.message or "")


@pytest.mark.parametrize("command", [MAKE, Cancel()])
@pytest.mark.parametrize("row", sorted(WAITING))
def test_a_command_too_many_is_rejected_and_changes_nothing(row: str, command: Command) -> None:
    before = ROWS[row]
    assert before is not None
    full = Policy("retry", max_waiters=len(before.waiters))
    decision = send(before, command, full)
    assert decision.payment is before
    (answer,) = decision.answers
    assert (answer.outcome, answer.reason) == (Outcome.REJECTED, Reason.TOO_MANY_WAITING)
    assert (answer.state, answer.replayed) == (before.state, False)
    waiting = f"{len(before.waiters)} commands wait for this payment"
    assert answer.message == f"{waiting}; send it again when it has settled"
    room = Policy("retry", max_waiters=len(before.waiters) + 1)
    assert send(before, command, room).answers == ()


def test_a_request_that_differs_is_told_before_a_full_queue() -> None:
    other = Make(account="abc", amount=9, currency="EUR")
    (answer,) = send(ROWS["pending"], other, Policy("retry", max_waiters=1)).answers
    assert answer.reason is Reason.DIFFERENT_AMOUNT


def test_a_get_is_answered_however_many_wait() -> None:
    (answer,) = send(ROWS["reversing"], Get(), Policy("retry", max_waiters=1)).answers
    assert answer.outcome is Outcome.FOUND


def test_a_deposit_moves_money_the_other_way_and_back() -> None:
    started = send(None, Deposit(account="abc", amount=100, currency="EUR"))
    assert started.transfer == Transfer("deposit", "abc", 100, "EUR", "world")
    completed = run(started.payment, Settled(ok=True)).payment
    undone = send(completed, Cancel())
    assert undone.transfer == Transfer("rollback", "abc", -100, "EUR", "world")


def test_a_cancel_whose_money_can_not_be_moved_back_is_rejected_and_told_why() -> None:
    settled = Settled(ok=False, reason=Reason.INSUFFICIENT_FUNDS)
    messages = {a.type: (a.outcome, a.message) for a in run(ROWS["reversing"], settled).answers}
    assert messages == {
        "make": (Outcome.COMPLETED, None),
        "cancel": (Outcome.REJECTED, "the money can't be moved back"),
    }


ROWS_IN_FLIGHT = [name for name, row in ROWS.items() if row is not None and row.state in IN_FLIGHT]
WITH_PARTS = [name for name, row in ROWS.items() if row is not None and row.parts]


def words_of(decision: Decision) -> list[str]:
    """Return the answers as outcome, reason and part."""
    return [
        f"{answer.outcome.value} {answer.reason.value if answer.reason else '-'} {answer.part}"
        for answer in decision.answers
    ]


@pytest.mark.parametrize("row", WITH_PARTS)
def test_a_part_that_is_known_moves_no_money_again_in_any_state(row: str) -> None:
    before = ROWS[row]
    assert before is not None
    for part in before.parts:
        repeat: Capture | Refund = Refund(part.id, part.moved)
        if part.type == "capture":
            repeat = Capture(part.id, part.moved, final=part.final)
        decision = send(before, repeat)
        assert decision.transfer is None
        if part is before.parts[-1] and before.state in {State.CAPTURING, State.REFUNDING}:
            assert decision.answers == ()
            after = decision.payment
            assert after == replace(before, waiters=(*before.waiters, ("x", part.type, True)))
        else:
            outcome = "captured" if part.type == "capture" else "refunded"
            assert decision.payment is before
            assert words_of(decision) == [f"{outcome} - {part.id}"]
            assert decision.answers[0].replayed


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        (Refund("p1", 40), Reason.DIFFERENT_TYPE, "p1 is a capture, not a refund"),
        (Capture("r1", 10), Reason.DIFFERENT_TYPE, "r1 is a refund, not a capture"),
        (Capture("p1", 41, final=False), Reason.DIFFERENT_AMOUNT, "0.40 EUR, not 0.41 EUR"),
        (Capture("p1", final=False), Reason.DIFFERENT_AMOUNT, "0.40 EUR, not all that is left"),
        (Capture("p1", 40), Reason.DIFFERENT_FINAL, "p1 was not final, and can't be final"),
        (Refund("r1", 11), Reason.DIFFERENT_AMOUNT, "0.10 EUR, not 0.11 EUR"),
        (Refund("r1"), Reason.DIFFERENT_AMOUNT, "0.10 EUR, not all that is left"),
    ],
)
@pytest.mark.parametrize("row", ["refunding", "refunding the captured"])
def test_another_request_with_the_id_of_a_part_is_rejected_by_the_field_that_differs(
    row: str, command: Capture | Refund, reason: Reason, words: str
) -> None:
    decision = send(ROWS[row], command)
    assert decision.payment is ROWS[row]
    assert decision.transfer is None
    (answer,) = decision.answers
    assert (answer.outcome, answer.reason, answer.replayed) == (Outcome.REJECTED, reason, False)
    assert words in (answer.message or "")


def test_a_part_of_all_that_is_left_is_the_same_only_without_an_amount() -> None:
    started = send(ROWS["captured in part"], Capture("p2")).payment
    assert started is not None
    captured = run(started, Settled(ok=True)).payment
    assert captured is not None
    assert (captured.state, captured.captured, captured.held) == (State.COMPLETED, 100, 0)
    assert words_of(send(captured, Capture("p2"))) == ["captured - p2"]
    assert words_of(send(captured, Capture("p2", 60))) == ["rejected different_amount p2"]


def test_a_payment_has_at_most_a_hundred_parts() -> None:
    parts = tuple(Part(f"p{number}", 1, final=False) for number in range(MAX_PARTS))
    full = holder(State.AUTHORIZED, held=1, captured=99, parts=parts)
    assert send(full, Capture("last")).payment is full
    assert words_of(send(full, Capture("last"))) == ["rejected too_many_parts last"]
    assert words_of(send(full, Refund("last", 1))) == ["rejected too_many_parts last"]
    assert words_of(send(full, Capture("p7", 1, final=False))) == ["captured - p7"]
    room = replace(full, parts=parts[1:])
    assert send(room, Capture("last")).transfer == moves("capture", -1, -1, "last")


@pytest.mark.parametrize("row", ROWS_IN_FLIGHT)
def test_commands_that_joined_and_that_queue_count_together(row: str) -> None:
    before = ROWS[row]
    assert before is not None
    queued = replace(before, queue=(Queued("q1", NOW_MS, Refund("new", 1)),))
    waiting = len(queued.waiters) + 1
    full, room = Policy("pin", max_waiters=waiting), Policy("pin", max_waiters=waiting + 1)
    decision = send(queued, Refund("other", 1), full)
    assert decision.payment is queued
    assert words_of(decision) == ["rejected too_many_waiting other"]
    assert f"{waiting} commands wait" in (decision.answers[0].message or "")
    after = send(queued, Refund("other", 1), room).payment
    assert after is not None
    assert [waiting.id for waiting in after.queue] == ["q1", "x"]


def queue_of(*commands: Capture | Void | Cancel | Refund) -> tuple[Queued, ...]:
    """Return commands as a row keeps them; their ids are q0, q1, and so on."""
    return tuple(Queued(f"q{number}", NOW_MS, each) for number, each in enumerate(commands))


def test_queued_commands_are_decided_in_their_order_until_one_starts_a_transfer() -> None:
    queue = queue_of(
        Refund("r1"), Capture("p1", 101), Capture("p2", 30, final=False), Void(), Cancel()
    )
    authorizing = ROWS["authorizing"]
    assert authorizing is not None
    decision = run(replace(authorizing, queue=queue), Settled(ok=True))
    assert [answer.command for answer in decision.answers] == ["a1", "q0", "q1"]
    assert words_of(decision)[1:] == ["rejected nothing_captured r1", "rejected over_capture p1"]
    assert decision.transfer == moves("capture", -30, -30, "p2")
    after = decision.payment
    assert after is not None
    assert (after.waiters, after.queue) == ((("q2", "capture", False),), queue[3:])
    voiding = run(after, Settled(ok=True))
    assert voiding.transfer == moves("release", 0, -70)
    last = run(voiding.payment, Settled(ok=True))
    assert words_of(last) == ["voided voided None"]
    assert last.transfer == moves("rollback", 30)
    end = run(last.payment, Settled(ok=True))
    assert words_of(end) == ["cancelled rolled_back None"]
    assert end.payment is not None
    assert (end.payment.captured, end.payment.refunded, end.payment.held) == (30, 30, 0)


def test_commands_behind_a_request_that_is_declined_find_no_payment() -> None:
    queue = queue_of(Capture(), Refund("r1"), Void(), Capture())
    authorizing = ROWS["authorizing"]
    assert authorizing is not None
    decision = run(
        replace(authorizing, queue=queue), Settled(ok=False, reason=NO_FUNDS), Policy("retry")
    )
    assert words_of(decision) == [
        "declined insufficient_funds None",
        "rejected unknown_payment final",
        "rejected unknown_payment r1",
        "cancelled prevented None",
        "rejected cancelled final",
    ]
    assert decision.payment == Payment(State.CANCELLED, NOW_MS, reason=Reason.PREVENTED)


@pytest.mark.parametrize(("asked_ms", "in_time"), [(EXPIRES_MS - 1, True), (EXPIRES_MS, False)])
def test_a_capture_that_waited_is_in_time_by_when_it_was_appended(
    asked_ms: int, in_time: bool
) -> None:
    capturing = ROWS["capturing"]
    assert capturing is not None
    row = replace(capturing, queue=(Queued("q1", asked_ms, Capture("p3")),))
    decision = decide(row, Settled(ok=True), time_ms=EXPIRES_MS + 9, policy=PIN)
    if in_time:
        assert decision.transfer == moves("capture", -50, -50, "p3")
        return
    assert decision.transfer == moves("release", 0, -50)
    lapsed = run(decision.payment, Settled(ok=True))
    assert words_of(lapsed) == ["lapsed hold_expired None", "rejected nothing_held p3"]


def test_a_hold_ends_after_the_seconds_that_were_asked_for_else_after_the_policys() -> None:
    policy = Policy(hold_ms=7_000)
    chosen = send(None, Authorize("abc", 100, "EUR", hold_seconds=3), policy).payment
    default = send(None, AUTHORIZE, policy).payment
    assert chosen is not None
    assert default is not None
    assert chosen.hold_expires_ms == NOW_MS + 3_000
    assert default.hold_expires_ms == NOW_MS + 7_000


def test_a_refund_that_is_declined_leaves_the_payment_as_it_was_and_its_id_free() -> None:
    declined = Settled(ok=False, reason=Reason.INSUFFICIENT_FUNDS)
    for row in ("refunding", "refunding the captured", "refunding a make"):
        before = ROWS[row]
        assert before is not None
        decision = run(before, declined)
        after = decision.payment
        assert words_of(decision) == ["declined insufficient_funds r1"]
        assert after is not None
        assert (after.held, after.refunded, after.reason) == (before.held, 0, None)
        assert send(after, Refund("r1", 10)).transfer == moves("refund", 10, part="r1")


def test_a_cancel_moves_back_only_what_is_not_refunded() -> None:
    started = send(ROWS["completed"], Refund("r1", 30)).payment
    refunded = run(started, Settled(ok=True)).payment
    cancelled = send(refunded, Cancel())
    assert cancelled.transfer == moves("rollback", 70)
    end = run(cancelled.payment, Settled(ok=True))
    assert end.answers[0].amounts == Amounts(captured=100, refunded=100)
    back = run(cancelled.payment, Settled(ok=False, reason=NO_FUNDS)).payment
    assert back is not None
    assert (back.state, back.refunded) == (State.COMPLETED, 30)


def test_an_answer_about_a_hold_gives_its_amounts() -> None:
    expected = Amounts(40, 0, 100, 60, EXPIRES_MS)
    assert send(ROWS["captured in part"], Get()).answers[0].amounts == expected
    capture = run(ROWS["capturing"], Settled(ok=True)).answers[0]
    assert (capture.part, capture.amounts) == ("p2", Amounts(50, 0, 100, 50, EXPIRES_MS))
    lapse = run(ROWS["rest lapsing"], Settled(ok=True)).answers[-1]
    assert (lapse.command, lapse.type) == (None, "lapse")
    assert lapse.amounts == Amounts(40, 0, 100, 0, EXPIRES_MS)
    assert send(ROWS["completed"], Get()).answers[0].amounts is None


@pytest.mark.parametrize("type_", [Make, Deposit, Authorize])
def test_metadata_is_carried_and_never_compared(
    type_: type[Make] | type[Deposit] | type[Authorize],
) -> None:
    note, other = {"order": "7"}, {"order": "8"}
    started = send(None, type_("abc", 100, "EUR", metadata=note))
    assert started.transfer is not None
    assert started.transfer.metadata == note
    joined = send(started.payment, type_("abc", 100, "EUR", metadata=other)).payment
    settled = run(joined, Settled(ok=True))
    assert [answer.metadata for answer in settled.answers] == [note, note]
    repeated = send(settled.payment, type_("abc", 100, "EUR"))
    assert (repeated.answers[0].replayed, repeated.answers[0].metadata) == (True, note)
    undone = send(settled.payment, Cancel())
    assert undone.transfer is not None
    assert undone.transfer.metadata == note
    cancelled = run(undone.payment, Settled(ok=True))
    assert [answer.metadata for answer in cancelled.answers] == [note]
