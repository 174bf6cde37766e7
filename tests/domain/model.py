"""A model of payments and accounts that knows no table.

It keeps plain facts of each payment: what was asked, which way money is moving, whether a cancel
came, how it ended. It shares nothing with the domain but the rules of DESIGN sections 5 and 6.
"""

from dataclasses import dataclass, field

Told = tuple[str, str, str | None, bool]  # A command's id, its outcome, reason, replayed.
Asked = tuple[str, str, int, str]  # Type, account, amount, currency.


@dataclass
class Facts:
    """What the model knows of one payment."""

    changed_ms: int
    asked: Asked | None = None
    moving: str = ""  # "out" or "home" while money is on its way.
    cancelled: bool = False  # A cancel came while money was moving.
    ended: str = ""  # How it ended, once nothing moves.
    why: str | None = None
    waiting: list[tuple[str, str, bool]] = field(default_factory=list)


class Model:
    """The rules once more, as plain facts and arithmetic."""

    max_waiters, width_ms, retention_ms = 3, 10, 50

    def __init__(self, *, pin: bool, opening_balance: int) -> None:
        self.pin, self.opening_balance = pin, opening_balance
        self.facts: dict[str, Facts] = {}
        self.money: dict[str, tuple[int, str]] = {}
        self.told: list[Told] = []

    def command(self, payment: str, own: str, type_: str, asked: Asked, now_ms: int) -> str | None:
        """Take a command; return the account of the transfer that it starts, if any."""
        facts = self.facts.get(payment)
        if type_ == "get":
            self.tell(own, "found" if facts else "not_found", facts.why if facts else None)
            return None
        if type_ == "cancel":
            return self.cancel(payment, facts, own, now_ms)
        if facts is None:
            self.facts[payment] = Facts(now_ms, asked, "out", waiting=[(own, type_, False)])
            return asked[1]
        if facts.asked is not None and facts.asked != asked:
            names = ("type", "account", "amount", "currency")
            pairs = zip(names, facts.asked, asked, strict=True)
            first = next(name for name, old, new in pairs if old != new)
            self.tell(own, "rejected", f"different_{first}")
        elif facts.moving:
            self.wait(facts, own, type_, again=True)
        else:
            self.tell(own, facts.ended, facts.why, again=facts.asked is not None)
        return None

    def cancel(self, payment: str, facts: Facts | None, own: str, now_ms: int) -> str | None:
        """Take a cancel; return the account of the transfer home that it starts, if any."""
        if facts is None:
            self.facts[payment] = Facts(now_ms, ended="cancelled", why="prevented")
            self.tell(own, "cancelled", "prevented")
        elif facts.moving:
            if self.wait(facts, own, "cancel", again=facts.cancelled) and not facts.cancelled:
                facts.cancelled, facts.changed_ms = True, now_ms
        elif facts.ended == "completed" and facts.asked is not None:
            facts.moving, facts.ended, facts.cancelled, facts.changed_ms = "home", "", True, now_ms
            facts.waiting = [(own, "cancel", False)]
            return facts.asked[1]
        else:
            self.tell(
                own,
                "cancelled",
                "prevented" if facts.ended == "declined" else facts.why,
                again=facts.ended == "cancelled",
            )
            if facts.ended == "declined":
                facts.ended, facts.why, facts.changed_ms = "cancelled", "prevented", now_ms
        return None

    def wait(self, facts: Facts, own: str, type_: str, *, again: bool) -> bool:
        """Let a command wait if there is room; return whether there was."""
        if len(facts.waiting) >= self.max_waiters:
            self.tell(own, "rejected", "too_many_waiting")
            return False
        facts.waiting.append((own, type_, again))
        return True

    def tell(self, own: str, outcome: str, why: str | None, *, again: bool = False) -> None:
        """Note the answer to a command."""
        self.told.append((own, outcome, why, again))

    def settle(self, payment: str, now_ms: int) -> bool:
        """End the transfer of a payment; return whether another one starts, back home."""
        facts = self.facts[payment]
        assert facts.asked is not None
        refused = self.move(facts.asked, home=facts.moving == "home")
        facts.changed_ms = now_ms
        if facts.moving == "out" and not refused and facts.cancelled:
            facts.moving = "home"
            return True
        completed = (facts.moving == "out") == (not refused)
        if completed:
            facts.ended, facts.why = "completed", None
        elif facts.cancelled:
            facts.ended = "cancelled"
            facts.why = "rolled_back" if facts.moving == "home" else "prevented"
        else:
            facts.ended, facts.why = "declined", refused
        for own, type_, again in facts.waiting:
            undone = type_ != "cancel" or not completed
            self.tell(
                own,
                facts.ended if undone else "rejected",
                facts.why if undone else refused,
                again=again,
            )
        facts.moving, facts.cancelled, facts.waiting = "", False, []
        if facts.ended == "declined" and not self.pin:
            del self.facts[payment]
        return False

    def move(self, asked: Asked, *, home: bool) -> str | None:
        """Move money by plain arithmetic; return why not, if not."""
        type_, account, amount, currency = asked
        gives = (type_ == "deposit") != home
        if account not in self.money:
            gift = self.opening_balance if currency == "EUR" else 0
            if not gift and not gives:
                return "unknown_account"
            if not gives and gift < amount:
                return "insufficient_funds"
            self.money[account] = (gift + (amount if gives else -amount), currency)
            return None
        balance, own = self.money[account]
        if own != currency:
            return "wrong_currency"
        if not gives and balance < amount:
            return "insufficient_funds"
        self.money[account] = (balance + (amount if gives else -amount), own)
        return None

    def expire(self, now_ms: int) -> set[str]:
        """Forget what has ended and is old; return which."""
        closed = (now_ms - self.retention_ms) // self.width_ms
        gone = {
            payment
            for payment, facts in self.facts.items()
            if not facts.moving and facts.changed_ms // self.width_ms < closed
        }
        for payment in gone:
            del self.facts[payment]
        return gone
