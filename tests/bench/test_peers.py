"""The comparison with other systems: what is counted, checked, kept and drawn.

No peer is started, unless PAYMENTS_BENCH_PEERS is set.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from payments.settings import Settings
from tools.bench.http_client import DIALECTS, is_whole
from tools.bench.load_client import Figures
from tools.bench.loading import Load
from tools.bench.peers.__main__ import COMMAND, loads_of, plan
from tools.bench.peers.conformance import STEPS, Step, check
from tools.bench.peers.install import SOURCES, installed
from tools.bench.peers.kills import Entry, KillFigures, audit
from tools.bench.peers.peer_results import Result, cells, ratio, read_results
from tools.bench.peers.peer_system import FSYNC, System
from tools.bench.peers.peers_report import draw, goal_rows, report
from tools.bench.topics_client import read_whole, writer
from tools.dev.errors import ToolError
from tools.dev.installations import OPENING_BALANCE

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120


def figures_of(rate: float, p50_ms: float = 5.0) -> Figures:
    return Figures(
        payments=100,
        seconds=1.0,
        rate=rate,
        p50_ms=p50_ms,
        p95_ms=2 * p50_ms,
        p99_ms=3 * p50_ms,
        not_completed=0,
        missing=0,
    )


def result_of(system: str, repeat: int, rate: float, *, concurrency: int = 64) -> Result:
    load = Load(
        "unique",
        concurrency,
        figures_of(rate),
        {"server": 200.0, "service": 100.0},
        {"server": 5_000_000, "service": None},
    )
    names = system, system.title(), "x", FSYNC
    return Result("http", *names, repeat, "today", [load])


# --- what is counted -----------------------------------------------------------------------------


def test_an_audit_counts_payments_that_are_missing_or_double() -> None:
    entries = [
        Entry("a", None, OPENING_BALANCE, OPENING_BALANCE),
        Entry("a", "once", -1, OPENING_BALANCE - 1),
        Entry("a", "twice", -1, OPENING_BALANCE - 2),
        Entry("a", "twice", -1, OPENING_BALANCE - 3),
        Entry("b", "forgotten", -1, OPENING_BALANCE - 1),
        Entry("b", "kept", -1, OPENING_BALANCE - 1),
    ]
    results = {"once": 1, "twice": 2, "forgotten": 1, "not moved": 1}
    sent = ["once", "twice", "forgotten", "kept", "not moved", "lost"]
    found = audit(sent, results, entries)
    assert found.sent == 6
    assert found.unanswered == 2, "kept and lost have no result"
    assert found.answered_twice == 1
    assert found.not_taken == 2, "not moved and lost have no entry"
    assert found.taken_twice == 1
    assert found.wrong_accounts == 1, "b has two entries, and its balance knows of one"


def test_an_audit_of_payments_that_are_all_right_is_clean() -> None:
    entries = [
        Entry("a", "p", -1, OPENING_BALANCE - 1),
        Entry("z", "other", 3, OPENING_BALANCE + 3),
    ]
    assert audit(["p"], {"p": 1}, entries) == (1, 0, 0, 0, 0, 0)


# --- what is checked -----------------------------------------------------------------------------


class Fake:
    """A system in one dictionary that can be made to answer wrongly."""

    def __init__(self, *, charges_twice: bool = False, forgets_cancel: bool = False) -> None:
        self._charges_twice, self._forgets_cancel = charges_twice, forgets_cancel
        self._amounts: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._taken = 0

    def send(self, step: Step, payment: str, account: str) -> str:
        """Answer as the job asks, but for the fault."""
        stored = self._amounts.get(payment)
        if step.type == "cancel":
            if payment not in self._cancelled:
                self._taken -= stored or 0
            if not self._forgets_cancel:
                self._cancelled.add(payment)
            return "cancelled"
        if payment in self._cancelled:
            return "cancelled"
        if step.amount > OPENING_BALANCE:
            return "declined"
        if stored is not None and stored != step.amount:
            return "rejected"
        if stored is None or self._charges_twice:
            self._taken += step.amount
        self._amounts[payment] = step.amount
        return "completed"

    def balance(self, account: str) -> int:
        """Return what is left."""
        return OPENING_BALANCE - self._taken


def test_a_system_that_does_the_job_passes() -> None:
    check("fake", Fake())


def test_a_system_that_charges_a_repeat_is_refused() -> None:
    with pytest.raises(ToolError, match=r"fake, step 2 .*the balance is"):
        check("fake", Fake(charges_twice=True))


def test_a_system_that_makes_what_was_cancelled_is_refused() -> None:
    with pytest.raises(ToolError, match=r"fake, step \d+ .*"):
        check("fake", Fake(forgets_cancel=True))


def test_the_steps_try_repeats_other_requests_cancels_and_declines() -> None:
    outcomes = {outcome for step in STEPS for outcome in step.outcomes}
    assert outcomes == {"completed", "rejected", "cancelled", "declined"}


# --- how systems are spoken to -------------------------------------------------------------------


def test_each_system_is_spoken_to_in_its_own_way() -> None:
    ours = DIALECTS["payments"].make_request("p1", "abc", 5)
    assert ours.startswith(b"POST /v1/payments/p1 HTTP/1.1\r\n")
    assert ours.endswith(b'\r\ncontent-length: 31\r\n\r\n{"account": "abc", "amount": 5}')
    theirs = DIALECTS["restate"].cancel_request("p1")
    assert theirs.startswith(b"POST /payments/p1/cancelPayment HTTP/1.1\r\n")
    assert theirs.endswith(b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Len", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", False),
    ],
)
def test_an_answer_is_whole_when_its_last_byte_is_there(answer: bytes, *, whole: bool) -> None:
    assert is_whole(answer) is whole


def test_an_answer_without_a_length_is_refused() -> None:
    with pytest.raises(ToolError, match="without a length"):
        is_whole(b"HTTP/1.1 200 OK\r\n\r\nwho knows")


@contextmanager
def http_server(answers: dict[bytes, bytes]) -> Iterator[int]:
    """Serve each connection in a thread: the answer whose key is in the request."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65_536):
                body = next(answer for mark, answer in answers.items() if mark in request)
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                connection.sendall(head + body)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # Closed: the test has ended.
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT_SECONDS)


def http_load(port: int, workload: str) -> Figures:
    done_ = subprocess.run(
        [sys.executable, "-m", "tools.bench.load_client", "--http", str(port), "payments",
         f"--workload={workload}", "--seconds=0.2", "--concurrency=4"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    return Figures(**json.loads(done_.stdout))


def test_the_load_over_http_counts_answers_and_refusals() -> None:
    with http_server(
        {b"/cancel": b'{"outcome":"cancelled"}', b"": b'{"outcome":"declined"}'}
    ) as port:
        found = http_load(port, "storm")
    assert found.missing == 0
    assert 0 < found.not_completed < found.payments, "cancels are well answered, makes are not"


def test_the_load_over_http_takes_completed_payments() -> None:
    with http_server({b"": b'{"outcome":"completed"}'}) as port:
        found = http_load(port, "hot")
    assert found.payments > 0
    assert (found.not_completed, found.missing) == (0, 0)


async def test_a_topic_that_keeps_growing_is_read_to_the_end_it_had(settings: Settings) -> None:
    topic, stopped = settings.topics.results, threading.Event()
    producer = writer(settings.brokers)
    for n in range(20):
        producer.produce(topic, key=f"before-{n}", value=b"{}")
    producer.flush(LIMIT_SECONDS)

    def keep_writing() -> None:
        while not stopped.wait(0.001):
            producer.produce(topic, key=b"later", value=b"{}")
            producer.poll(0)

    writing = asyncio.create_task(asyncio.to_thread(keep_writing))
    try:
        found = await asyncio.to_thread(lambda: list(read_whole(settings.brokers, topic)))
    finally:
        stopped.set()
        await writing
    assert {f"before-{n}".encode() for n in range(20)} <= {message.key() for message in found}


# --- what is kept --------------------------------------------------------------------------------


def planned(*arguments: str) -> list[tuple[Result, System]]:
    return list(plan(COMMAND.parse(arguments), "today"))


def test_a_result_that_is_there_has_its_file(tmp_path: Path) -> None:
    few = ("--systems", "payments-8", "--repeats", "1")
    [(over_http, _), (over_topics, _), (killed, _)] = planned(*few)
    assert [each.part for each in (over_http, over_topics, killed)] == ["http", "topics", "kills"]
    over_http.loads = result_of("payments-8", 1, 100).loads
    over_http.write(tmp_path)
    assert read_results(tmp_path) == [over_http]
    there = [each.file(tmp_path).exists() for each, _ in planned(*few)]
    assert there == [True, False, False]


def test_a_system_is_not_asked_for_more_at_once_than_it_stands() -> None:
    arguments = ("--systems", "restate-1", "--workloads", "unique", "hot", "--repeats", "1")
    [(_, system)] = planned(*arguments)
    given = COMMAND.parse([*arguments, "--concurrency", "1", "256", "1000"])
    assert loads_of(system, given) == [("unique", 1), ("unique", 256), ("hot", 1), ("hot", 256)]


def test_a_peer_is_installed_once_from_the_same_sources(tmp_path: Path) -> None:
    source = tmp_path / "lock"
    source.write_text("1")
    assert not installed(tmp_path, [source])
    assert installed(tmp_path, [source], mark=True)
    assert installed(tmp_path, [source])
    source.write_text("2")
    assert not installed(tmp_path, [source])


def test_the_lock_of_the_peer_names_versions_and_sums_but_no_registry() -> None:
    packages = json.loads((SOURCES / "restate" / "package-lock.json").read_text())["packages"]
    named = {name: entry for name, entry in packages.items() if name}
    assert named
    for entry in named.values():
        assert entry["version"]
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry


def test_ours_is_always_among_the_systems() -> None:
    peers = {system.peer for _, system in planned("--only", "restate")}
    assert peers == {"payments", "restate"}


@pytest.mark.parametrize(
    "arguments",
    [["--only", "other"], ["--parts"], ["--quick", "--write", "x.md"], ["--seconds", "0"]],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        COMMAND.parse(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


# --- what is told --------------------------------------------------------------------------------


def test_a_ratio_is_the_median_over_the_repeats_in_which_both_ran() -> None:
    parts = [result_of("ours", n, rate) for n, rate in enumerate((100, 900, 300, 50), start=1)]
    parts += [result_of("theirs", n, rate) for n, rate in enumerate((100, 450, 100), start=1)]
    ours, theirs = cells(parts)
    assert ratio(ours, theirs, "payments/s") == 2.0, "the pairs give 1, 2 and 3"
    assert ratio(ours, theirs, "CPU per payment") == 1.0


def test_a_goal_that_is_missed_says_so() -> None:
    parts = [result_of("payments-2-flush", 1, 1000), result_of("restate-2", 1, 500)]
    [row] = goal_rows(cells(parts))
    assert row[0] == "payments/s, http, unique, concurrency 64"
    assert row[-2:] == ["≥ 2.5 x", "2.00 x, **missed**"]


def test_the_report_says_rate_durability_cpu_and_memory_of_each_process() -> None:
    text = report([result_of("payments-8-flush", 1, 1000), result_of("restate", 1, 250)])
    assert (
        "| 64 | Restate | fsync of every append | 250 | 5.0 | 10.0 | 15.0 "
        "| 300 (server 200, service 100) | server 5, service - | 0 |"
    ) in text
    assert "| ≥ 3 x | 4.00 x |" in text
    assert "| ≤ 0.5 x | 1.00 x, **missed** |" in text


def test_a_system_that_was_refused_is_named_with_the_reason() -> None:
    refused = result_of("theirs", 1, 100)
    refused.loads.clear()
    refused.refused = "it charged twice"
    assert f"Not measured: Theirs, {FSYNC}. it charged twice" in report([refused])


def test_a_picture_is_well_formed_and_shows_each_system(tmp_path: Path) -> None:
    results = [
        result_of("ours", 1, 1000),
        result_of("ours", 1, 2000, concurrency=256),
        result_of("theirs", 1, 250),
    ]
    file = tmp_path / "pictures" / "http-latency.svg"
    assert draw(results, "http", file)
    assert not draw(results, "topics", file)
    ET.parse(file)  # noqa: S314 - our own text
    # Letters are drawn as paths; what they say stands beside them as a comment.
    for shown in (f"<!-- Ours, {FSYNC} -->", f"<!-- Theirs, {FSYNC} -->"):
        assert shown in file.read_text()


def test_the_report_counts_what_kills_have_left() -> None:
    killed = Result("kills", "ours", "Ours", "payments", FSYNC, 1, "today")
    killed.kills = KillFigures(audit(["p"], {}, []), [2.04, None])
    text = report([killed])
    assert "is killed (SIGKILL) 2 times" in text
    assert f"| Ours | {FSYNC} | 1 | 1 | 0 | 1 | 0 | 0 | 2.0, never |" in text


def test_the_document_of_this_project_takes_the_report(tmp_path: Path) -> None:
    document = tmp_path / "peers.md"
    document.write_text((ROOT / "docs" / "peers.md").read_text())
    results = tmp_path / "results"
    results.mkdir()
    result_of("restate", 1, 250).write(results)
    done_ = subprocess.run(
        [sys.executable, "-m", "tools.bench.peers", "--report", "--results", str(results),
         "--write", str(document)],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert done_.returncode == 0, done_.stderr
    assert "(pictures/http-latency.svg)" in document.read_text()
    assert (tmp_path / "pictures" / "http-latency.svg").exists()


@pytest.mark.skipif(
    "PAYMENTS_BENCH_PEERS" not in os.environ,
    reason="downloads and starts the peers: set PAYMENTS_BENCH_PEERS=1",
)
def test_a_quick_run_measures_every_peer(tmp_path: Path) -> None:
    done_ = subprocess.run(
        [sys.executable, "-m", "tools.bench.peers", "--quick", "--results", str(tmp_path)],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done_.returncode == 0, done_.stderr
    for name in ("Restate", "Kafka Streams", "Faust", "payments, 8 partitions"):
        assert f"| {name}" in done_.stdout
