"""Payments as the subject: careless clients over few payments and poor accounts, and the audit.

Payment ids are a window that moves on, so that commands for one payment overlap. What must hold is
what ``payments verify`` proves, of the public topics with all that was ever appended and of the
journals as compaction has left them; and what it lets pass: nothing is still in flight, and nothing
expired before its time.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from random import Random

from exactstage import Stage, partition_of
from payments.domain.results import Outcome
from payments.records.commands import own_of
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
_ACCOUNT_VALUES = (
    *[b'{"type":"open"}'] * 3,
    b'{"type":"open","credit_limit":20}',
    b'{"type":"freeze"}',
    *[b'{"type":"unfreeze"}'] * 3,
    b'{"type":"close"}',
    b'{"type":"limit","credit_limit":50}',
    b'{"type":"limit","credit_limit":0}',
    b'{"type":"get"}',
    b'{"type":"seize"}',
    b'{"type":"limit","credit_limit":-1,"id":"below"}',
    b'{"type":"freeze","id":"x","id":"y"}',
)
_EVERY = 20
"""One in so many commands is for an account."""

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
        self.public_inputs: Sequence[str] = (self.commands, self._topics.account_commands)
        self.inputs: Mapping[str, str] = {
            self._topics.commands: payments,
            self._topics.account_commands: accounts,
            self._topics.transfers: accounts,
            self._topics.inbox: payments,
        }
        dead_letters = self._topics.payments_dead_letters, self._topics.accounts_dead_letters
        self.public: Sequence[str] = (
            self._topics.results,
            self._topics.account_results,
            self._topics.ledger,
            *dead_letters,
        )

    def __repr__(self) -> str:
        """Return the settings of the run."""
        return repr(self._settings.model_dump(exclude_defaults=True))

    def stages(self) -> Sequence[Stage]:
        """Return both."""
        return [payments_stage(self._settings), accounts_stage(self._settings)]

    def maker(self, random: Random, weather: Weather, run: str) -> Callable[[int], KeyValue]:
        """Return what makes commands of all sorts."""
        return _Maker(random, weather, run).record

    def topic_of(self, key: bytes | None) -> str:
        """Return the topic of a record of the storm: accounts have names that begin with an a."""
        for_account = key is not None and key.startswith(b"a")
        return self._topics.account_commands if for_account else self.commands

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
        passed = set[Kind](_PASSED_ON if remains.may_wait else ())
        yield from (str(each) for each in report.violations if each.kind not in passed)
        waiting = f"{report.in_flight} commands and {report.pending} transfers"
        if (report.in_flight or report.pending) and not remains.may_wait:
            yield f"{waiting} are in flight for ever"
        yield from (f"not checked: {count} {what}" for what, count in report.unchecked.items())
        yield from self._too_early(remains)
        if not remains.may_wait:
            yield from self._overtaken(remains)

    def _too_early(self, remains: Remains) -> Iterator[str]:
        """Yield each notice of an expiry or lapse that came before its time."""
        for at in sorted(at for at in remains.appended if at.topic == self._topics.results):
            for record, known_ms in zip(remains.appended[at], remains.latest_ms[at], strict=True):
                if (notice := _notice(record.value or b"")) is None:
                    continue
                if _milliseconds(notice.time) > known_ms + 1:
                    yield f"{at}/{record.offset} {notice.outcome.value} too early"
                ends = notice.hold_expires if notice.outcome is Outcome.LAPSED else None
                if ends is not None and _milliseconds(notice.time) < _milliseconds(ends):
                    yield f"{at}/{record.offset} lapsed before its hold had ended"

    def _overtaken(self, remains: Remains) -> Iterator[str]:
        """Yield each capture that was appended in time and met a hold that had ended.

        On the partition of its key: one that was forwarded counts from then. Clients may send a
        command twice; the latest counts.
        """
        sent_ms: dict[str, float] = {}
        for at in sorted(at for at in remains.appended if at.topic == self._topics.commands):
            for record, known_ms in zip(remains.appended[at], remains.latest_ms[at], strict=True):
                here = partition_of(record.key or b"", self._settings.partitions) == at.partition
                name = own_of(record.value)[0] or record.address
                sent_ms[name] = max(sent_ms.get(name, 0.0), known_ms if here else math.inf)
        for at in sorted(at for at in remains.committed if at.topic == self._topics.results):
            for record in remains.committed[at]:
                if b'"hold_expired"' not in (record.value or b"") or _notice(record.value or b""):
                    continue
                result = Result.model_validate_json(record.value or b"")
                ends, sent = result.hold_expires, sent_ms.get(result.command or "", math.inf)
                if ends is not None and result.type == "capture" and sent < _milliseconds(ends):
                    yield f"{at}/{record.offset} has overtaken {result.command}, which was in time"


def _notice(value: bytes) -> Result | None:
    """Return a notice that a payment has expired or its hold has lapsed; None for other results."""
    if b'"command":null' not in value:
        return None
    result = Result.model_validate_json(value)
    return result if result.outcome in {Outcome.EXPIRED, Outcome.LAPSED} else None


def _milliseconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() * 1000


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
        """Return the record of a number; one for an account stands in place of one of these."""
        record = self._of_payment(number)
        if number % _EVERY != _EVERY - 1:
            return record
        # With a chance of its own, so that it changes no other record of the story.
        own = Random(f"{self._run}-{number}")
        account = f"a{int(own.random() * self._weather.others)}"
        return account.encode(), own.choice(_ACCOUNT_VALUES)

    def _of_payment(self, number: int) -> KeyValue:
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
        if chance < 0.12:
            return {"type": "get"}
        if chance < 0.22:
            return {"type": "cancel"}
        if chance < 0.25:
            return {"type": "void"}
        if chance < 0.40:
            return self._part("capture")
        if chance < 0.48:
            return self._part("refund")
        if payment not in self._requests:
            self._requests[payment] = self._request()
        request = dict(self._requests[payment])
        if chance < 0.55:
            self._spoil(request)
        return request

    def _part(self, type_: str) -> dict[str, object]:
        """Capture or refund, often again under an id that was used, perhaps for another amount."""
        random = self._random
        part: dict[str, object] = {"type": type_}
        if type_ == "refund" or random.random() < 0.7:
            part[type_] = random.choice(("1", "2", "3", f"{type_[0]}1", f"{type_[0]}2"))
            if type_ == "capture":
                part["final"] = random.random() < 0.4
        if random.random() < 0.7:
            part["amount"] = random.choice((1, 1, 2, 3, 10))
        return part

    def _request(self) -> dict[str, object]:
        random = self._random
        request: dict[str, object] = {
            "type": random.choice(("deposit", "deposit", "make", "make", *["authorize"] * 3)),
            "account": f"a{int(random.random() * self._weather.others)}",
            "amount": random.choice((1, 3, 10, 60)),
        }
        if request["type"] == "authorize" and random.random() < 0.8:
            request["hold_seconds"] = random.choice((1, 2, 10, 600))
        if random.random() < 0.1:
            request["metadata"] = {"order": str(request["amount"])}
        return request

    def _spoil(self, request: dict[str, object]) -> None:
        """Ask for something else under the same id."""
        field = self._random.choice(("type", "account", "amount", "currency"))
        other = "make" if request["type"] == "deposit" else "deposit"
        request[field] = {"type": other, "account": "a-other", "amount": 7, "currency": "USD"}[
            field
        ]
