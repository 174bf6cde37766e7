"""The commands for accounts, and the rules of their fields.

Each but ``get``, which changes nothing, sets a state. So a command that is sent again changes
nothing, unless another one came in between: that one's change is undone by the repeat.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, get_args

from msgspec import Meta

from payments.domain.account import MAX_BALANCE
from payments.domain.commands import RULES as PAYMENT_RULES
from payments.domain.commands import Fault
from payments.domain.names import NAME_RULE, has_outer_space, is_name
from payments.domain.results import Frozen, Reason

CreditLimit = Annotated[int, Meta(ge=0, le=MAX_BALANCE)]


def _id(value: object) -> Fault | None:
    if value is None or (isinstance(value, str) and is_name(value) and not has_outer_space(value)):
        return None
    return Reason.INVALID_ID, NAME_RULE


def _credit_limit(value: object) -> Fault | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BALANCE:
        return None
    return Reason.INVALID_CREDIT_LIMIT, "must be a whole number of minor units, 0 to 10^18"


RULES: Mapping[str, Callable[[object], Fault | None]] = {
    "id": _id,
    "currency": PAYMENT_RULES["currency"],
    "credit_limit": _credit_limit,
}
"""The rule of each field, in the order in which faults are reported."""


class _AccountCommand(
    Frozen, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True
): ...


class Open(_AccountCommand, frozen=True, tag="open"):
    """Open an account with nothing on it, or open a closed one again."""

    type: ClassVar[Literal["open"]] = "open"
    currency: str = ""
    """The parser replaces the empty text by the installation's default."""

    credit_limit: CreditLimit = 0
    """How far below zero it may go, in minor units."""

    id: str | None = None


class Freeze(_AccountCommand, frozen=True, tag="freeze"):
    """Let nothing new be taken from an account or held on it."""

    type: ClassVar[Literal["freeze"]] = "freeze"
    id: str | None = None


class Unfreeze(_AccountCommand, frozen=True, tag="unfreeze"):
    """End a freeze."""

    type: ClassVar[Literal["unfreeze"]] = "unfreeze"
    id: str | None = None


class Close(_AccountCommand, frozen=True, tag="close"):
    """Let nothing new be moved on an account that has nothing and holds nothing."""

    type: ClassVar[Literal["close"]] = "close"
    id: str | None = None


class Limit(_AccountCommand, frozen=True, tag="limit"):
    """Set how far below zero an account may go."""

    type: ClassVar[Literal["limit"]] = "limit"
    credit_limit: CreditLimit
    """In minor units; it may be less than what is used."""

    id: str | None = None


class GetAccount(_AccountCommand, frozen=True, tag="get"):
    """Ask for the state of an account."""

    type: ClassVar[Literal["get"]] = "get"
    id: str | None = None


AccountCommand = Open | Freeze | Unfreeze | Close | Limit | GetAccount
ACCOUNT_COMMAND_TYPES = tuple(command.type for command in get_args(AccountCommand))
