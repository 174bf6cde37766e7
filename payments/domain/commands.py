"""The commands that a client may send, and the rules of their fields."""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, get_args

from msgspec import Meta, json

from payments.domain.account import COUNTER_PREFIXES, is_counter_name
from payments.domain.currencies import CURRENCIES, CURRENCY_RULE
from payments.domain.names import MAX_NAME_CHARACTERS, NAME_RULE, has_outer_space, is_name
from payments.domain.results import Frozen, Reason

MAX_AMOUNT = 10**15
Amount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
MAX_PART_CHARACTERS = 64
MAX_HOLD_SECONDS = 31_536_000
MAX_METADATA_KEYS, MAX_METADATA_BYTES = 32, 4096
HoldSeconds = Annotated[int, Meta(ge=1, le=MAX_HOLD_SECONDS)]
Metadata = dict[str, str]
"""What a client notes on a payment: it is carried on results and entries, and never compared."""

FINAL_CAPTURE = "final"
"""The id of a final capture that names none."""

Fault = tuple[Reason, str]
"""Why a field's value is refused, and its rule in words."""


def _id(value: object) -> Fault | None:
    return None if value is None or is_name(value) else (Reason.INVALID_ID, NAME_RULE)


def _account(value: object) -> Fault | None:
    if not isinstance(value, str) or not is_name(value):
        blank = isinstance(value, str) and not value.strip()
        return Reason.EMPTY_ACCOUNT if blank else Reason.INVALID_ACCOUNT, NAME_RULE
    # The first test is there for speed: an account's name is checked in every command.
    if value.startswith(COUNTER_PREFIXES) and is_counter_name(value):
        return Reason.RESERVED_ACCOUNT, "must not be a counter-account's"
    return None


def _amount(value: object) -> Fault | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return Reason.AMOUNT_NOT_INTEGER, "must be a whole number of minor units"
    if value < 1:
        return Reason.AMOUNT_NOT_POSITIVE, "must be at least 1"
    if value > MAX_AMOUNT:
        return Reason.AMOUNT_TOO_LARGE, "must be at most 10^15 minor units"
    return None


def _currency(value: object) -> Fault | None:
    if value is None or (isinstance(value, str) and value in CURRENCIES):
        return None
    return Reason.UNKNOWN_CURRENCY, CURRENCY_RULE


_PART_RULE = NAME_RULE.replace(str(MAX_NAME_CHARACTERS), str(MAX_PART_CHARACTERS))


def _part(value: object) -> Fault | None:
    if isinstance(value, str) and is_name(value) and not has_outer_space(value):
        return None if len(value) <= MAX_PART_CHARACTERS else (Reason.INVALID_PART, _PART_RULE)
    return Reason.INVALID_PART, _PART_RULE


def _final(value: object) -> Fault | None:
    return None if isinstance(value, bool) else (Reason.INVALID_FINAL, "must be true or false")


def _hold_seconds(value: object) -> Fault | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_HOLD_SECONDS:
        return None
    return Reason.INVALID_HOLD_SECONDS, f"must be a whole number from 1 to {MAX_HOLD_SECONDS}"


def _metadata(value: object) -> Fault | None:
    """Check the members of a JSON object: the parser gives them as pairs, so repeats are seen."""
    if value is None:
        return None
    pairs = tuple(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, tuple) or not all(_is_pair_of_texts(pair) for pair in pairs):
        return Reason.INVALID_METADATA, "must be an object of texts"
    names = {name for name, _ in pairs}
    if len(names) < len(pairs) or len(names) > MAX_METADATA_KEYS or "" in names:
        rule = f"must have at most {MAX_METADATA_KEYS} names, each once and none empty"
        return Reason.INVALID_METADATA, rule
    try:
        size = sum(len(json.encode(text)) - len('""') for pair in pairs for text in pair)
    except UnicodeEncodeError:
        return Reason.INVALID_METADATA, "must be text that can be written as UTF-8"
    if size > MAX_METADATA_BYTES:
        rule = f"has {size} bytes of JSON text, allowed are {MAX_METADATA_BYTES}"
        return Reason.INVALID_METADATA, rule
    return None


def _is_pair_of_texts(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(x, str) for x in pair)


RULES: Mapping[str, Callable[[object], Fault | None]] = {
    "id": _id, "account": _account, "capture": _part, "refund": _part, "amount": _amount,
    "currency": _currency, "final": _final, "hold_seconds": _hold_seconds, "metadata": _metadata,
}  # fmt: skip
"""The rule of each field, in the order in which faults are reported."""


class _Command(
    Frozen, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True
): ...


class Make(_Command, frozen=True, tag="make"):
    """Take money from an account."""

    type: ClassVar[Literal["make"]] = "make"
    account: str
    amount: Amount
    currency: str = ""
    """``parse_command`` replaces the empty text by the installation's default."""

    id: str | None = None
    metadata: Metadata | None = None


class Deposit(_Command, frozen=True, tag="deposit"):
    """Put money on an account."""

    type: ClassVar[Literal["deposit"]] = "deposit"
    account: str
    amount: Amount
    currency: str = ""
    id: str | None = None
    metadata: Metadata | None = None


class Authorize(_Command, frozen=True, tag="authorize"):
    """Hold money on an account, to be captured later."""

    type: ClassVar[Literal["authorize"]] = "authorize"
    account: str
    amount: Amount
    currency: str = ""
    id: str | None = None
    metadata: Metadata | None = None
    hold_seconds: HoldSeconds | None = None
    """How long it is held, counted from the command's log time; None: the installation's."""


class Capture(_Command, frozen=True, tag="capture"):
    """Take held money from the account."""

    type: ClassVar[Literal["capture"]] = "capture"
    capture: str = FINAL_CAPTURE
    """Its own id within the payment, which a client must give if it is not final."""

    amount: Amount | None = None
    """None: all that is held."""

    final: bool = True
    """Whether the rest of the hold is released."""

    id: str | None = None


class Void(_Command, frozen=True, tag="void"):
    """Release what is held, and keep what was captured."""

    type: ClassVar[Literal["void"]] = "void"
    id: str | None = None


class Refund(_Command, frozen=True, tag="refund"):
    """Give captured money back to the account."""

    type: ClassVar[Literal["refund"]] = "refund"
    refund: str
    """Its own id within the payment."""

    amount: Amount | None = None
    """None: all that was captured and not refunded."""

    id: str | None = None


class Cancel(_Command, frozen=True, tag="cancel"):
    """Prevent a payment, or undo it."""

    type: ClassVar[Literal["cancel"]] = "cancel"
    id: str | None = None


class Get(_Command, frozen=True, tag="get"):
    """Ask for a payment's state."""

    type: ClassVar[Literal["get"]] = "get"
    id: str | None = None


Command = Make | Deposit | Authorize | Capture | Void | Refund | Cancel | Get
COMMAND_TYPES = tuple(command.type for command in get_args(Command))
Opening = Make | Deposit | Authorize
"""The commands that begin a payment."""
