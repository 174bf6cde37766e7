"""The payment table: for each state and message the next state, the answers and the transfer.

``TABLE[state][event]`` is one cell: a ``Rule``, or several of which the first one applies whose
``when`` is true. The row None is that of a payment without a stored row. An outcome in a cell
answers the command or, when a transfer has settled, every command that joined it; a command whose
cell has no outcome waits. ``transfer`` starts a movement of money, or of what is held.
``docs/states.md`` is generated from the table, and the tests compare every cell with a list that
was written by hand, and every order of messages with a model that was written apart.

In ``IN_FLIGHT`` exactly one transfer is in flight, and commands may wait: those that ask for what
is in flight join it and are told how it ends; the others are queued whole, and are decided in their
order when it has settled, until one of them starts the next transfer. In the other states none is
in flight, and no command waits.

When you change the table:

- Write out every cell. ``IMPOSSIBLE`` and ``NOTHING`` stand for a defect and for no effect; there
  is no default for a cell that was forgotten.
- Start no second transfer while one is in flight: a settlement does not say which it belongs to.
- Keep the names of states: they are stored in rows and written on results.
- Keep balances, records, partitions and clocks out. The time is an argument, so that tests and
  simulator decide exactly as a worker does.

Cells that a reader may doubt:

- No row, cancel or void: stored as cancelled, so that a make or authorize that comes later moves no
  money.
- Pending or authorizing, cancel: a transfer that was sent can't be recalled. The payment is
  cancelling until it settles, then cancelled (it was declined), reversing (the money goes back) or
  releasing (the hold ends).
- Authorized, capture after the hold's end: the hold ends first, whether the timer has run or not;
  the capture is decided after it, and rejected.
- Authorized, window closes: nothing. What holds money is never forgotten.
- Capturing, releasing, declined: a capture or release only lowers what is held, so no account can
  decline it.
- Reversing, declined: the account has spent the money of a deposit. The payment is what it was
  before, and the waiting cancels are rejected.
- Pending or authorizing, declined: with the decline policy ``retry`` no row is kept, so that the
  same id may be tried again; with ``pin`` the payment stays declined.
- Declined, cancel or void: cancelled as prevented, although no money moved, so that no later
  request is tried.
- A transfer in flight, window closes: nothing. The payment must be there when its transfer settles,
  and it is given a new window by that change.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

from payments.domain.results import Outcome, Reason


class State(StrEnum):
    """What a payment is; stored in rows, and written on results."""

    PENDING = "pending"
    CANCELLING = "cancelling"
    REVERSING = "reversing"
    COMPLETED = "completed"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    CAPTURING = "capturing"
    RELEASING = "releasing"
    REFUNDING = "refunding"
    LAPSED = "lapsed"


class Event(StrEnum):
    """What can happen to a payment: seven kinds of commands, and four messages of the system."""

    MAKE_OR_DEPOSIT = "make_or_deposit"
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    CANCEL = "cancel"
    REFUND = "refund"
    GET = "get"
    SETTLED_OK = "settled_ok"
    SETTLED_DECLINED = "settled_declined"
    HOLD_ENDS = "hold_ends"
    WINDOW_CLOSES = "window_closes"


class When(StrEnum):
    """A condition of a rule; ``payment`` has the test of each."""

    OF_MAKE = "of_make"
    """The payment is a make or deposit, so nothing was ever held."""

    HOLD_OVER = "hold_over"
    """The command was appended at ``hold_expires`` or later."""

    OVER_CAPTURE = "over_capture"
    """It asks for more than is held."""

    NOTHING_CAPTURED = "nothing_captured"
    """No money was taken from the account."""

    OVER_REFUND = "over_refund"
    """It asks for more than was captured and not refunded, or nothing is left."""

    ALL_REFUNDED = "all_refunded"
    """Nothing is left that could be moved back."""

    STILL_HELD = "still_held"
    """Part of the hold is left after what has settled."""

    VOIDED = "voided"
    """The hold is released because a client asked for it, not by the timer."""

    VOIDED_WHOLE = "voided_whole"
    """As ``VOIDED``, and nothing was captured before."""


Movement = Literal["forward", "back", "hold", "capture", "release", "refund"]


class Rule(NamedTuple):
    """What one message does in one state."""

    to: State | None
    """The state after the message."""

    outcome: Outcome | None = None
    """Of the command, or of all that joined; None: the command waits."""

    reason: Reason | None = None
    """Why; None: the stored or the transfer's reason."""

    transfer: Movement | None = None
    """The money, or the hold, to move."""

    forgets: bool = False
    """With the decline policy ``retry``, the row is deleted."""

    queues: bool = False
    """The command waits whole, and is decided when the transfer in flight has settled."""

    when: When | None = None
    """The condition of the rule; None: always."""


Cell = Rule | tuple[Rule, ...]

IMPOSSIBLE, NOTHING = Rule(None), Rule(None)
"""Distinguished by identity."""

_MAKE, _AUTHORIZE, _CAPTURE = Event.MAKE_OR_DEPOSIT, Event.AUTHORIZE, Event.CAPTURE
_VOID, _CANCEL, _REFUND, _GET = Event.VOID, Event.CANCEL, Event.REFUND, Event.GET
_OK, _DECLINED = Event.SETTLED_OK, Event.SETTLED_DECLINED
_HOLD_ENDS, _CLOSES = Event.HOLD_ENDS, Event.WINDOW_CLOSES


def _rejects(state: State | None, reason: Reason, when: When | None = None) -> Rule:
    return Rule(state, Outcome.REJECTED, reason, when=when)


def _queues(state: State, when: When | None = None) -> Rule:
    return Rule(state, queues=True, when=when)


def _other_type(state: State) -> Rule:
    """Return the rule of a request that this state can't be of; ``different_type`` comes first."""
    return _rejects(state, Reason.DIFFERENT_TYPE)


_EXPIRES = Rule(None, Outcome.EXPIRED)

# The formatter would spread each state over thirty lines; a reader compares them cell by cell.
# fmt: off
TABLE: dict[State | None, dict[Event, Cell]] = {
    None: {
        _MAKE: Rule(State.PENDING, transfer="forward"),
        _AUTHORIZE: Rule(State.AUTHORIZING, transfer="hold"),
        _CAPTURE: _rejects(None, Reason.UNKNOWN_PAYMENT),
        _VOID: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        _CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        _REFUND: _rejects(None, Reason.UNKNOWN_PAYMENT),
        _GET: Rule(None, Outcome.NOT_FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.PENDING: {
        _MAKE: Rule(State.PENDING),
        _AUTHORIZE: _other_type(State.PENDING),
        _CAPTURE: _queues(State.PENDING), _VOID: _queues(State.PENDING),
        _CANCEL: Rule(State.CANCELLING),
        _REFUND: _queues(State.PENDING),
        _GET: Rule(State.PENDING, Outcome.FOUND),
        _OK: Rule(State.COMPLETED, Outcome.COMPLETED),
        _DECLINED: Rule(State.DECLINED, Outcome.DECLINED, forgets=True),
        _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.AUTHORIZING: {
        _MAKE: _other_type(State.AUTHORIZING),
        _AUTHORIZE: Rule(State.AUTHORIZING),
        _CAPTURE: _queues(State.AUTHORIZING), _VOID: _queues(State.AUTHORIZING),
        _CANCEL: Rule(State.CANCELLING),
        _REFUND: _queues(State.AUTHORIZING),
        _GET: Rule(State.AUTHORIZING, Outcome.FOUND),
        _OK: Rule(State.AUTHORIZED, Outcome.AUTHORIZED),
        _DECLINED: Rule(State.DECLINED, Outcome.DECLINED, forgets=True),
        _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.AUTHORIZED: {
        _MAKE: _other_type(State.AUTHORIZED),
        _AUTHORIZE: Rule(State.AUTHORIZED, Outcome.AUTHORIZED),
        _CAPTURE: (
            Rule(State.RELEASING, reason=Reason.HOLD_EXPIRED, transfer="release", queues=True,
                 when=When.HOLD_OVER),
            _rejects(State.AUTHORIZED, Reason.OVER_CAPTURE, When.OVER_CAPTURE),
            Rule(State.CAPTURING, transfer="capture")),
        _VOID: Rule(State.RELEASING, reason=Reason.VOIDED, transfer="release"),
        _CANCEL: (
            Rule(State.RELEASING, reason=Reason.VOIDED, transfer="release",
                 when=When.NOTHING_CAPTURED),
            Rule(State.REVERSING, transfer="back")),
        _REFUND: (
            _rejects(State.AUTHORIZED, Reason.NOTHING_CAPTURED, When.NOTHING_CAPTURED),
            _rejects(State.AUTHORIZED, Reason.OVER_REFUND, When.OVER_REFUND),
            Rule(State.REFUNDING, transfer="refund")),
        _GET: Rule(State.AUTHORIZED, Outcome.FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE,
        _HOLD_ENDS: Rule(State.RELEASING, reason=Reason.HOLD_EXPIRED, transfer="release"),
        _CLOSES: NOTHING},
    State.CAPTURING: {
        _MAKE: _other_type(State.CAPTURING),
        _AUTHORIZE: Rule(State.CAPTURING, Outcome.AUTHORIZED),
        _CAPTURE: _queues(State.CAPTURING), _VOID: _queues(State.CAPTURING),
        _CANCEL: _queues(State.CAPTURING), _REFUND: _queues(State.CAPTURING),
        _GET: Rule(State.CAPTURING, Outcome.FOUND),
        _OK: (
            Rule(State.AUTHORIZED, Outcome.CAPTURED, when=When.STILL_HELD),
            Rule(State.COMPLETED, Outcome.CAPTURED)),
        _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.RELEASING: {
        _MAKE: _other_type(State.RELEASING),
        _AUTHORIZE: Rule(State.RELEASING),
        _CAPTURE: _queues(State.RELEASING),
        _VOID: (Rule(State.RELEASING, when=When.VOIDED), _queues(State.RELEASING)),
        _CANCEL: (Rule(State.RELEASING, when=When.VOIDED_WHOLE), _queues(State.RELEASING)),
        _REFUND: _queues(State.RELEASING),
        _GET: Rule(State.RELEASING, Outcome.FOUND),
        _OK: (
            Rule(State.CANCELLED, Outcome.CANCELLED, Reason.VOIDED, when=When.VOIDED_WHOLE),
            Rule(State.LAPSED, Outcome.LAPSED, Reason.HOLD_EXPIRED, when=When.NOTHING_CAPTURED),
            Rule(State.COMPLETED, Outcome.VOIDED)),
        _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.REFUNDING: {
        _MAKE: Rule(State.REFUNDING, Outcome.COMPLETED),
        _AUTHORIZE: Rule(State.REFUNDING, Outcome.AUTHORIZED),
        _CAPTURE: _queues(State.REFUNDING), _VOID: _queues(State.REFUNDING),
        _CANCEL: _queues(State.REFUNDING), _REFUND: _queues(State.REFUNDING),
        _GET: Rule(State.REFUNDING, Outcome.FOUND),
        _OK: (
            Rule(State.AUTHORIZED, Outcome.REFUNDED, when=When.STILL_HELD),
            Rule(State.COMPLETED, Outcome.REFUNDED)),
        _DECLINED: (
            Rule(State.AUTHORIZED, Outcome.DECLINED, when=When.STILL_HELD),
            Rule(State.COMPLETED, Outcome.DECLINED)),
        _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.CANCELLING: {
        _MAKE: Rule(State.CANCELLING), _AUTHORIZE: Rule(State.CANCELLING),
        _CAPTURE: _queues(State.CANCELLING), _VOID: _queues(State.CANCELLING),
        _CANCEL: Rule(State.CANCELLING), _REFUND: _queues(State.CANCELLING),
        _GET: Rule(State.CANCELLING, Outcome.FOUND),
        _OK: (
            Rule(State.REVERSING, transfer="back", when=When.OF_MAKE),
            Rule(State.RELEASING, reason=Reason.VOIDED, transfer="release")),
        _DECLINED: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.REVERSING: {
        _MAKE: Rule(State.REVERSING), _AUTHORIZE: Rule(State.REVERSING),
        _CAPTURE: _queues(State.REVERSING), _VOID: _queues(State.REVERSING),
        _CANCEL: Rule(State.REVERSING), _REFUND: _queues(State.REVERSING),
        _GET: Rule(State.REVERSING, Outcome.FOUND),
        _OK: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.ROLLED_BACK),
        _DECLINED: (
            Rule(State.AUTHORIZED, Outcome.AUTHORIZED, when=When.STILL_HELD),
            Rule(State.COMPLETED, Outcome.COMPLETED)),
        _HOLD_ENDS: NOTHING, _CLOSES: NOTHING},
    State.COMPLETED: {
        _MAKE: Rule(State.COMPLETED, Outcome.COMPLETED),
        _AUTHORIZE: Rule(State.COMPLETED, Outcome.AUTHORIZED),
        _CAPTURE: (
            _rejects(State.COMPLETED, Reason.NOT_AUTHORIZED, When.OF_MAKE),
            _rejects(State.COMPLETED, Reason.NOTHING_HELD)),
        _VOID: (
            _rejects(State.COMPLETED, Reason.NOT_AUTHORIZED, When.OF_MAKE),
            _rejects(State.COMPLETED, Reason.NOTHING_HELD)),
        _CANCEL: (
            Rule(State.CANCELLED, Outcome.CANCELLED, Reason.ROLLED_BACK, when=When.ALL_REFUNDED),
            Rule(State.REVERSING, transfer="back")),
        _REFUND: (
            _rejects(State.COMPLETED, Reason.NOTHING_CAPTURED, When.NOTHING_CAPTURED),
            _rejects(State.COMPLETED, Reason.OVER_REFUND, When.OVER_REFUND),
            Rule(State.REFUNDING, transfer="refund")),
        _GET: Rule(State.COMPLETED, Outcome.FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: _EXPIRES},
    State.DECLINED: {
        _MAKE: Rule(State.DECLINED, Outcome.DECLINED),
        _AUTHORIZE: Rule(State.DECLINED, Outcome.DECLINED),
        _CAPTURE: _rejects(State.DECLINED, Reason.DECLINED),
        _VOID: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        _CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        _REFUND: _rejects(State.DECLINED, Reason.NOTHING_CAPTURED),
        _GET: Rule(State.DECLINED, Outcome.FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: _EXPIRES},
    State.CANCELLED: {
        _MAKE: Rule(State.CANCELLED, Outcome.CANCELLED),
        _AUTHORIZE: Rule(State.CANCELLED, Outcome.CANCELLED),
        _CAPTURE: _rejects(State.CANCELLED, Reason.CANCELLED),
        _VOID: Rule(State.CANCELLED, Outcome.CANCELLED),
        _CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED),
        _REFUND: _rejects(State.CANCELLED, Reason.CANCELLED),
        _GET: Rule(State.CANCELLED, Outcome.FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: _EXPIRES},
    State.LAPSED: {
        _MAKE: _other_type(State.LAPSED),
        _AUTHORIZE: Rule(State.LAPSED, Outcome.LAPSED),
        _CAPTURE: _rejects(State.LAPSED, Reason.HOLD_EXPIRED),
        _VOID: Rule(State.LAPSED, Outcome.LAPSED), _CANCEL: Rule(State.LAPSED, Outcome.LAPSED),
        _REFUND: _rejects(State.LAPSED, Reason.NOTHING_CAPTURED),
        _GET: Rule(State.LAPSED, Outcome.FOUND),
        _OK: IMPOSSIBLE, _DECLINED: IMPOSSIBLE, _HOLD_ENDS: NOTHING, _CLOSES: _EXPIRES},
}
# fmt: on

IN_FLIGHT = frozenset(state for state, cells in TABLE.items() if cells[_OK] is not IMPOSSIBLE)
"""The states in which one transfer is in flight."""
