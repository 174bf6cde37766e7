"""Payments as the subject: careless clients over few payments and poor accounts, and the audit.

Payment ids are a window that moves on, so that commands for one payment overlap. What must hold is
what ``payments verify`` proves, of the public topics with all that was ever appended and of the
journals as compaction has left them; and what it lets pass: nothing is still in flight, and nothing
expired before its time.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from random import Random

from exactstage import Stage
from payments.domain.results import Outcome
from payments.records.record_models import Result
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.verify.auditor import Auditor
from payments.verify.findings import Kind

from .subject import KeyValue, Remains, Weather, name_for

_MALFORMED = (
    (None, b'{"type":"get"}'),
    (b"", b'{"type":"get"}'),
    (b"\xff\xfe", b'{"type":"get"}'),
    (b"bad\x07id", b'{"type":"get"}'),
)
_MALFORMED_VALUES = (
    None,
    b"",
    b"no json",
    b"[]",
    b'{"type":"steal"}',
    b'{"type":"make","account":"a0"}',
    b'{"type":"make","account":"a0","amount":1.5,"id":"fraction"}',
    b'{"type":"make","account":"sales/0","amount":1}',
    b'{"type":"cancel","id":"x","id":"y"}',
    b'{"type":"get","nonsense":true}',
)
_PASSED_ON = (Kind.MISSING_RESULT, Kind.MISSING_DEAD_LETTER)
"""What becomes of a command that was forwarded when the inbox has lost it."""


class Payments:
    """The payments and accounts stages."""

    def __init__(self, settings: Settings) -> None:
        self.app_id = "payments"
        self.harmless = b'{"type":"get"}'
        self._settings, self._topics = settings, settings.topics
        self.commands = self._topics.commands
        payments, accounts = settings.changelog("payments"), settings.changelog("accounts")
        self.inputs: Mapping[str, str] = {
            self._topics.commands: payments,
            self._topics.transfers: accounts,
            self._topics.inbox: payments,
        }
        dead_letters = self._topics.payments_dead_letters, self._topics.accounts_dead_letters
        self.public: Sequence[str] = (self._topics.results, self._topics.ledger, *dead_letters)

    def __repr__(self) -> str:
        """Return the settings of the run."""
        return repr(self._settings.model_dump(exclude_defaults=True))

    def stages(self) -> Sequence[Stage]:
        """Return both."""
        return [payments_stage(self._settings), accounts_stage(self._settings)]

    def maker(self, random: Random, weather: Weather, run: str) -> Callable[[int], KeyValue]:
        """Return what makes commands of all sorts."""
        return _Maker(random, weather, run).record

    def work(self, stem: str, partition: int, other: int) -> KeyValue:
        """Return a deposit, whose transfer goes to the account's partition."""
        partitions = self._settings.partitions
        account = name_for("probed", other, partitions)
        value = json.dumps({"type": "deposit", "account": account, "amount": 1}).encode()
        return name_for(stem, partition, partitions).encode(), value

    def violations(self, remains: Remains) -> Iterator[str]:
        """Yield what the audit finds, what waits for ever, and what expired too early.

        Where messages may be gone, payments may wait, and forwarded commands have no answer.
        """
        auditor, history = Auditor(self._settings), remains.committed
        for topics in auditor.topics.phases:
            for at in sorted(at for at in history if at.topic in topics):
                start = auditor.start_of(at, 0)
                auditor.read([record for record in history[at] if record.offset >= start])
        report = auditor.finish()
        yield from (
            str(violation)
            for violation in report.violations
            if not remains.may_wait or violation.kind not in _PASSED_ON
        )
        waiting = f"{report.in_flight} commands and {report.pending} transfers"
        if (report.in_flight or report.pending) and not remains.may_wait:
            yield f"{waiting} are in flight for ever"
        yield from (f"not checked: {count} {what}" for what, count in report.unchecked.items())
        for at in sorted(at for at in remains.appended if at.topic == self._topics.results):
            for record, known_ms in zip(remains.appended[at], remains.latest_ms[at], strict=True):
                if _expired_at(record.value or b"") > known_ms + 1:
                    yield f"{at}/{record.offset} expired too early"


def _expired_at(value: bytes) -> float:
    """Return the time of a notice of expiry, in milliseconds; 0 for any other result."""
    if b'"expired"' not in value:
        return 0.0
    result = Result.model_validate_json(value)
    if result.outcome is not Outcome.EXPIRED:
        return 0.0
    return datetime.fromisoformat(result.time).timestamp() * 1000


def draw_payments(random: Random, partitions: int) -> Payments:
    """Return payments with the settings of one run."""
    retention_seconds = random.choice((5.0, 60.0, 86_400.0))
    return Payments(
        Settings(
            partitions=partitions,
            opening_balance=random.choice((0, 20, 1000)),
            decline_policy=random.choice(("retry", "pin")),
            max_waiters=random.choice((1, 3, 100)),
            retention_seconds=retention_seconds,
            window_seconds=min(retention_seconds, random.choice((1.0, 60.0))),
        )
    )


class _Maker:
    """Makes one record after the other."""

    def __init__(self, random: Random, weather: Weather, run: str) -> None:
        self._random, self._weather, self._run = random, weather, run
        self._requests: dict[int, dict[str, object]] = {}

    def record(self, number: int) -> KeyValue:
        random = self._random
        payment = number // 6 + int(random.random() * self._weather.keys_at_once)
        key = f"p{payment}-{self._run}".encode()
        chance = random.random()
        if chance < 0.01:  # the shares of the storm, here and below
            return random.choice(_MALFORMED)
        if chance < 0.03:
            return key, random.choice(_MALFORMED_VALUES)
        command = self._command(chance, payment)
        if random.random() < 0.5:
            command["id"] = f"c{number}-{self._run}"
        return key, json.dumps(command).encode()

    def _command(self, chance: float, payment: int) -> dict[str, object]:
        if chance < 0.15:
            return {"type": "get"}
        if chance < 0.35:
            return {"type": "cancel"}
        if payment not in self._requests:
            self._requests[payment] = self._request()
        request = dict(self._requests[payment])
        if chance < 0.42:
            self._spoil(request)
        return request

    def _request(self) -> dict[str, object]:
        random = self._random
        return {
            "type": "deposit" if random.random() < 0.3 else "make",
            "account": f"a{int(random.random() * self._weather.others)}",
            "amount": random.choice((1, 3, 10, 60)),
        }

    def _spoil(self, request: dict[str, object]) -> None:
        """Ask for something else under the same id."""
        field = self._random.choice(("type", "account", "amount", "currency"))
        other = "make" if request["type"] == "deposit" else "deposit"
        request[field] = {"type": other, "account": "a-other", "amount": 7, "currency": "USD"}[
            field
        ]
