"""Ledger entries in the index: pages over several runs, repeats, and a process that is killed.

Of the same kind: ``test_index`` (what is kept over restarts, and when it is read again).
"""

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exactstage.log import TopicPartition
from payments.client import AccountsUnavailable
from payments.client.index import Index
from payments.client.runs import RUN_RECORDS, Place

LEDGER = TopicPartition("accounts.ledger", 3)
OTHER = TopicPartition("accounts.ledger", 4)
SOURCE = "cluster/topic"
ACCOUNTS = [b"busy", *(b"account-%d" % number for number in range(900))]


@contextmanager
def index(folder: Path | None = None) -> Iterator[Index]:
    opened = Index(folder, "accounts", "journal")
    try:
        yield opened
    finally:
        opened.close()


def value(account: bytes, sequence: int) -> bytes:
    return b"%s has %d" % (account, sequence)


def put(held: Index, at: TopicPartition, places: list[Place], begin: int = 0) -> int:
    """Store places one behind the other; return the position behind them."""
    held.take_entries(at, SOURCE, places, begin, begin + len(places))
    return begin + len(places)


def entry(account: bytes, sequence: int, offset: int) -> Place:
    return account, sequence, offset, value(account, sequence)


@pytest.mark.parametrize("at", [LEDGER, OTHER])
def test_pages_are_in_order_over_runs_of_any_size(at: TopicPartition) -> None:
    chosen, begin = random.Random(1), 0
    sequences = dict.fromkeys(ACCOUNTS, 0)
    with index() as held:
        for each in (LEDGER, OTHER):
            held.restart(each, SOURCE, 0)
        put(held, OTHER if at is LEDGER else LEDGER, [entry(b"busy", 7, 0)])
        for size in (1, 50, RUN_RECORDS // 2, 1, 1, 300, RUN_RECORDS, 9, 5000):
            places = []
            for offset in range(begin, begin + size):
                account = ACCOUNTS[0 if offset % 3 else chosen.randrange(1, len(ACCOUNTS))]
                sequences[account] += 1
                places.append(entry(account, sequences[account], offset))
            begin = put(held, at, places, begin)
        for account in (b"busy", *chosen.sample(ACCOUNTS, 20)):
            last = sequences[account]
            assert held.last_sequence(at.partition, account) == last
            afters = {0, 1, last // 2, last - 1, last, *(chosen.randrange(last) for _ in range(9))}
            for after, limit in itertools.product(afters, (1, 2, 100, 1000)):
                expected = range(after + 1, min(after + limit, last) + 1)
                found = held.entries(at.partition, account, after, limit)
                assert found == [value(account, n) for n in expected]
        assert held.stray(at.partition, b"busy") is None
        held.restart(at, SOURCE, 0)
        assert held.entries(at.partition, b"busy", 0, 10) == []
        assert held.last_sequence(at.partition, b"busy") == 0


@pytest.mark.parametrize("between", [0, RUN_RECORDS])
@pytest.mark.parametrize("number", [1, 2, None])
def test_a_number_that_is_repeated_in_a_later_run_too_is_told(
    between: int, number: int | None
) -> None:
    with index() as held:
        held.restart(LEDGER, SOURCE, 0)
        begin = put(held, LEDGER, [entry(b"a", 1, 0), entry(b"a", 2, 1)])
        others = [entry(b"b", n + 1, begin + n) for n in range(between)]
        begin = put(held, LEDGER, others, begin)
        put(held, LEDGER, [(b"a", number, begin, b"?"), entry(b"a", 3, begin + 1)], begin)
        assert held.stray(LEDGER.partition, b"a") == begin
        assert held.stray(LEDGER.partition, b"b") is None
        assert held.last_sequence(LEDGER.partition, b"a") == 3


def test_values_of_any_size_and_bytes_come_back() -> None:
    values = [b"", b"\0", b"[,]\n" * 10, b"x" * 100_000, b"", bytes(range(256)) * 9]
    with index() as held:
        held.restart(LEDGER, SOURCE, 5)
        places = [(b"a", 40 + n, 5 + n, each) for n, each in enumerate(values)]
        held.take_entries(LEDGER, SOURCE, places, 5, 5 + len(places))
        assert held.entries(LEDGER.partition, b"a", 0, 100) == values
        assert held.entries(LEDGER.partition, b"a", 42, 2) == values[3:5]


def test_numbers_with_gaps_keep_their_places() -> None:
    with index() as held:
        held.restart(LEDGER, SOURCE, 0)
        put(held, LEDGER, [entry(b"a", n, at) for at, n in enumerate((3, 4, 9, 10))])
        assert held.entries(LEDGER.partition, b"a", 4, 9) == [value(b"a", n) for n in (9, 10)]
        assert held.entries(LEDGER.partition, b"a", 3, 2) == [value(b"a", n) for n in (4, 9)]


def test_who_reads_on_while_the_index_is_thrown_away_leaves_no_gap(tmp_path: Path) -> None:
    with index(tmp_path) as held:
        for at in (LEDGER, OTHER):
            held.restart(at, SOURCE, 0)
            put(held, at, [entry(b"a", 1, 0)])
    with index(tmp_path) as held:
        assert [held.position(at, SOURCE) for at in (LEDGER, OTHER)] == [1, 1]
        with held.file.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(100)  # Behind the head of the database, which has been read.
            file.write(b"\xff" * (size - 100))
        for at in (LEDGER, OTHER):
            with pytest.raises(AccountsUnavailable, match="is being read again: ask again"):
                put(held, at, [entry(b"a", 2, 1)], 1)
            assert held.position(at, SOURCE) is None
            assert held.last_sequence(at.partition, b"a") == 0


KILLED = f"""
import pathlib, sys
from payments.client.index import Index
from exactstage.log import TopicPartition
held, at = Index(pathlib.Path(sys.argv[1]), "accounts", "journal"), TopicPartition(*{tuple(LEDGER)})
begin = held.position(at, "{SOURCE}")
if begin is None:
    begin = 0
    held.restart(at, "{SOURCE}", 0)
while True:
    size = (1, 40, 20_000)[begin % 3]
    places = [(b"%d" % (n % 7), n // 7 + 1, n, b"%d" % n) for n in range(begin, begin + size)]
    held.take_entries(at, "{SOURCE}", places, begin, begin + size)
    begin += size
    print(begin, flush=True)
"""


def test_a_process_that_is_killed_leaves_rows_and_position_that_agree(tmp_path: Path) -> None:
    for enough in (1, 20_000, 45_000):
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = next(int(line) for line in process.stdout if int(line) >= enough)
            process.send_signal(signal.SIGKILL)
        with index(tmp_path) as held:
            position = held.position(LEDGER, SOURCE)
            assert position is not None
            assert position >= told
            for account in range(7):
                last, name = (position - account + 6) // 7, b"%d" % account
                assert held.last_sequence(LEDGER.partition, name) == last
                found = held.entries(LEDGER.partition, name, 0, position)
                assert found == [b"%d" % (account + 7 * n) for n in range(last)]
                assert held.stray(LEDGER.partition, name) is None
