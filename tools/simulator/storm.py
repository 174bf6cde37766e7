"""The storm: when commands come, on which partitions, and how they are written.

Some clients send twice, some use another partitioner, some write in transactions that they abort.
What the commands are is the subject's part.
"""

from random import Random
from zlib import crc32

from exactstage.partitioner import partition_of

from .subject import Command, Subject, Transaction, Weather


def draw_weather(random: Random, longest_seconds: float) -> Weather:
    """Return the weather of one run: from ten seconds to the longest time."""
    seconds = 10.0 * (longest_seconds / 10.0) ** random.random()
    return Weather(
        seconds=seconds,
        bursts=1 + int(random.random() * 8),
        keys_at_once=random.choice((2, 8, 40)),
        others=random.choice((1, 4, 20)),
        in_transactions=random.choice((0.0, 0.0, 0.1)),
        crc32_share=random.choice((0.0, 0.3, 1.0)),
    )


def draw_commands(  # noqa: PLR0917 - the seed's parts, in the order in which they are drawn
    random: Random, weather: Weather, size: int, subject: Subject, partitions: int, run: str
) -> list[Command]:
    """Return the commands of one run, in the order of their times; ``size`` is how many."""
    bursts = sorted(random.random() * weather.seconds for _ in range(weather.bursts))
    length = weather.seconds / (weather.bursts * random.choice((1, 10, 100)))
    times = sorted(random.choice(bursts) + random.random() * length for _ in range(size))
    make = subject.maker(random, weather, run)
    found: list[Command] = []
    for number, time in enumerate(times):
        if found and random.random() < 0.05:  # one in twenty is sent twice
            found.append(found[-1]._replace(time=time))
            continue
        key, value = make(number)
        transaction = Transaction.NONE
        if random.random() < weather.in_transactions:
            transaction = random.choice((Transaction.COMMITTED, Transaction.ABORTED))
        partition = _partition(random, key, partitions, weather.crc32_share)
        topic = subject.topic_of(key)
        found.append(Command(time, partition, key, value, transaction, topic))
    return found


def probes(subject: Subject, partitions: int, time: float) -> list[Command]:
    """Return commands that put every partition of every topic to use, whoever owns it."""
    return [
        Command(time, partition, *subject.work("probe", partition, partition), Transaction.NONE)
        for partition in range(partitions)
    ]


def all_ways(subject: Subject, partitions: int, time: float) -> list[Command]:
    """Return commands that send a message from each partition to each."""
    return [
        Command(time, partition, *subject.work(f"way-{other}", partition, other), Transaction.NONE)
        for partition in range(partitions)
        for other in range(partitions)
    ]


def _partition(random: Random, key: bytes | None, partitions: int, crc32_share: float) -> int:
    if not key or random.random() < 0.01:  # some clients choose as they like
        return int(random.random() * partitions)
    if random.random() < crc32_share:
        return crc32(key) % partitions
    return partition_of(key, partitions)
