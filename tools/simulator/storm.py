"""The storm: commands of all sorts from careless clients, over few payments and poor accounts.

Payment ids are a window that moves on, so that commands for one payment overlap. Some clients send
twice, some use another partitioner, some write in transactions that they abort.
"""

import json
from enum import StrEnum
from itertools import count
from random import Random
from typing import NamedTuple
from zlib import crc32

from exactstage.partitioner import partition_of

COMMANDS = "payments.commands"
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


class Transaction(StrEnum):
    """How a client writes a command."""

    NONE = "none"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Command(NamedTuple):
    """A record that a client writes at a time, in seconds since the beginning."""

    time: float
    partition: int
    key: bytes | None
    value: bytes | None
    transaction: Transaction


class Weather(NamedTuple):
    """What the storm of one run is like."""

    seconds: float
    bursts: int
    payments_at_once: int
    accounts: int
    in_transactions: float
    crc32_share: float


def draw_weather(random: Random, longest_seconds: float) -> Weather:
    """Return the weather of one run: from ten seconds to the longest time."""
    seconds = 10.0 * (longest_seconds / 10.0) ** random.random()
    return Weather(
        seconds=seconds,
        bursts=1 + int(random.random() * 8),
        payments_at_once=random.choice((2, 8, 40)),
        accounts=random.choice((1, 4, 20)),
        in_transactions=random.choice((0.0, 0.0, 0.1)),
        crc32_share=random.choice((0.0, 0.3, 1.0)),
    )


def draw_commands(
    random: Random, weather: Weather, size: int, partitions: int, run: str
) -> list[Command]:
    """Return the commands of one run, in the order of their times; ``size`` is how many."""
    bursts = sorted(random.random() * weather.seconds for _ in range(weather.bursts))
    length = weather.seconds / (weather.bursts * random.choice((1, 10, 100)))
    times = sorted(random.choice(bursts) + random.random() * length for _ in range(size))
    makers = _Makers(random, weather, run)
    found: list[Command] = []
    for number, time in enumerate(times):
        if found and random.random() < 0.05:  # one in twenty is sent twice
            found.append(found[-1]._replace(time=time))
            continue
        key, value = makers.record(number)
        transaction = Transaction.NONE
        if random.random() < weather.in_transactions:
            transaction = random.choice((Transaction.COMMITTED, Transaction.ABORTED))
        partition = _partition(random, key, partitions, weather.crc32_share)
        found.append(Command(time, partition, key, value, transaction))
    return found


def probes(partitions: int, time: float) -> list[Command]:
    """Return commands that put every partition of every topic to use, whoever owns it."""
    found: list[Command] = []
    for partition in range(partitions):
        key = _name_for("probe", partition, partitions).encode()
        account = _name_for("probed", partition, partitions)
        value = json.dumps({"type": "deposit", "account": account, "amount": 1}).encode()
        found.append(Command(time, partition, key, value, Transaction.NONE))
    return found


def all_ways(partitions: int, time: float) -> list[Command]:
    """Return commands that send a transfer from each partition to each."""
    found: list[Command] = []
    for partition in range(partitions):
        for other in range(partitions):
            key = _name_for(f"way-{other}", partition, partitions).encode()
            account = _name_for("probed", other, partitions)
            value = json.dumps({"type": "deposit", "account": account, "amount": 1}).encode()
            found.append(Command(time, partition, key, value, Transaction.NONE))
    return found


def _name_for(stem: str, partition: int, partitions: int) -> str:
    names = (f"{stem}-{number}" for number in count())
    return next(name for name in names if partition_of(name.encode(), partitions) == partition)


def _partition(random: Random, key: bytes | None, partitions: int, crc32_share: float) -> int:
    if not key or random.random() < 0.01:  # some clients choose as they like
        return int(random.random() * partitions)
    if random.random() < crc32_share:
        return crc32(key) % partitions
    return partition_of(key, partitions)


class _Makers:
    """Makes one record after the other."""

    def __init__(self, random: Random, weather: Weather, run: str) -> None:
        self._random, self._weather, self._run = random, weather, run
        self._requests: dict[int, dict[str, object]] = {}

    def record(self, number: int) -> tuple[bytes | None, bytes | None]:
        random = self._random
        payment = number // 6 + int(random.random() * self._weather.payments_at_once)
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
            "account": f"a{int(random.random() * self._weather.accounts)}",
            "amount": random.choice((1, 3, 10, 60)),
        }

    def _spoil(self, request: dict[str, object]) -> None:
        """Ask for something else under the same id."""
        field = self._random.choice(("type", "account", "amount", "currency"))
        other = "make" if request["type"] == "deposit" else "deposit"
        request[field] = {"type": other, "account": "a-other", "amount": 7, "currency": "USD"}[
            field
        ]
