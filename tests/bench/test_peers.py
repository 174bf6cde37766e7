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
from tools.bench.errors import BenchError
from tools.bench.latencies import SHARES, Figures, Stopwatch
from tools.bench.peers.audit import Entry, audit
from tools.bench.peers.conformance import STEPS, Step, check_talk
from tools.bench.peers.connection import is_whole
from tools.bench.peers.dialects import DIALECTS
from tools.bench.peers.goals import reached
from tools.bench.peers.install import SOURCES, installed
from tools.bench.peers.kills import KillFigures
from tools.bench.peers.options import parse_options
from tools.bench.peers.parts import Load, Part, Plan, done, read_parts, write_part
from tools.bench.peers.pictures import pictures
from tools.bench.peers.reading import read_whole, writer
from tools.bench.peers.report import report
from tools.bench.peers.run import chosen
from tools.bench.peers.summary import cells, ratio
from tools.bench.peers.targets import FSYNC, OPENING_BALANCE

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
        max_ms=4 * p50_ms,
        not_completed=0,
        missing=0,
        quantiles_ms=[p50_ms] * len(SHARES),
        timeline=[10] * 20,
    )


def part_of(system: str, repeat: int, rate: float, *, concurrency: int = 64) -> Part:
    load = Load(
        "unique",
        concurrency,
        figures_of(rate),
        {"server": 200.0, "service": 100.0},
        {"server": 5_000_000, "service": None},
    )
    return Part("http", system, system.title(), "x", FSYNC, repeat, 1.0, "today", [load])


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
    assert not found.clean


def test_an_audit_of_payments_that_are_all_right_is_clean() -> None:
    entries = [
        Entry("a", "p", -1, OPENING_BALANCE - 1),
        Entry("z", "other", 3, OPENING_BALANCE + 3),
    ]
    assert audit(["p"], {"p": 1}, entries).clean


def test_a_stopwatch_gives_rate_quantiles_and_a_timeline() -> None:
    watch = Stopwatch()
    now = watch._started
    for n in range(100):
        watch.note(now - 0.001 * (n + 1), now)
    found = watch.figures(missing=3)
    assert (found.payments, found.missing) == (100, 3)
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (51.0, 100.0, 100.0)
    assert found.quantiles_ms[0] == 1.0
    assert sum(found.timeline) == 100


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
    check_talk("fake", Fake())


def test_a_system_that_charges_a_repeat_is_refused() -> None:
    with pytest.raises(BenchError, match=r"fake, step 2 .*the balance is"):
        check_talk("fake", Fake(charges_twice=True))


def test_a_system_that_makes_what_was_cancelled_is_refused() -> None:
    with pytest.raises(BenchError, match=r"fake, step \d+ .*"):
        check_talk("fake", Fake(forgets_cancel=True))


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
    with pytest.raises(BenchError, match="without a length"):
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
        [sys.executable, "-m", "tools.bench.peers.http_load", f"--port={port}",
         "--dialect=payments",
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
    assert found.client_us is not None
    assert found.client_us > 0


def test_the_load_over_http_takes_completed_payments() -> None:
    with http_server({b"": b'{"outcome":"completed"}'}) as port:
        found = http_load(port, "hot")
    assert found.payments > 0
    assert (found.not_completed, found.missing) == (0, 0)


async def test_a_topic_that_keeps_growing_is_read_to_the_end_it_had(settings: Settings) -> None:
    topic, stopped = settings.topic("payments.results"), threading.Event()
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


def test_a_part_that_is_there_is_not_measured_again_unless_the_plan_differs(tmp_path: Path) -> None:
    systems = {s.transport: s for s in chosen(parse_options(["--systems", "payments-8"]))}
    system = systems["http"]
    write_part(tmp_path, part_of("payments-8", 1, 100))
    plan = Plan(["unique"], [64], 1.0, 1.0)
    assert done(tmp_path, system, plan, 1)
    assert not done(tmp_path, system, plan, 2)
    assert not done(tmp_path, system, Plan(["unique"], [64], 2.0, 1.0), 1)
    assert not done(tmp_path, system, Plan(["unique", "hot"], [64], 1.0, 1.0), 1)
    assert not done(tmp_path, systems["topics"], plan, 1)
    assert read_parts(tmp_path) == [part_of("payments-8", 1, 100)]


def test_a_system_is_not_asked_for_more_at_once_than_it_stands() -> None:
    (system,) = chosen(parse_options(["--systems", "restate-1"]))
    loads = Plan(["unique", "hot"], [1, 256, 1000], 1.0, 1.0).loads(system)
    assert loads == [("unique", 1), ("unique", 256), ("hot", 1), ("hot", 256)]


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
    peers = {system.peer for system in chosen(parse_options(["--only", "restate"]))}
    assert peers == {"payments", "restate"}


@pytest.mark.parametrize(
    "arguments",
    [["--only", "other"], ["--parts", ""], ["--quick", "--write", "x.md"], ["--seconds", "0"]],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_options(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


# --- what is told --------------------------------------------------------------------------------


def test_a_ratio_is_the_median_over_the_repeats_in_which_both_ran() -> None:
    parts = [part_of("ours", n, rate) for n, rate in enumerate((100, 900, 300, 50), start=1)]
    parts += [part_of("theirs", n, rate) for n, rate in enumerate((100, 450, 100), start=1)]
    ours, theirs = cells(parts)
    assert ratio(ours, theirs, "payments/s") == 2.0, "the pairs give 1, 2 and 3"
    assert ratio(ours, theirs, "CPU per payment") == 1.0


def test_a_goal_is_held_against_the_best_of_the_peers_settings() -> None:
    parts = [
        part_of("payments-2-flush", 1, 1000),
        part_of("restate-1", 1, 300),
        part_of("restate-2", 1, 500),
    ]
    [goal] = reached(cells(parts))
    assert (goal.theirs.system, goal.ratio, goal.met) == ("restate-2", 2.0, False)


def test_the_report_says_rate_durability_cpu_and_memory_of_each_process() -> None:
    text = report([part_of("payments-8-flush", 1, 1000), part_of("restate", 1, 250)], [])
    assert (
        "| 64 | Restate | fsync of every append | 250 | 5.0 | 10.0 | 15.0 "
        "| 300 (server 200, service 100) | server 5, service - | 0 |"
    ) in text
    assert "| ≥ 3 x | 4.00 x |" in text
    assert "| ≤ 0.5 x | 1.00 x, **missed** |" in text


def test_a_system_that_was_refused_is_named_with_the_reason() -> None:
    refused = part_of("theirs", 1, 100)
    refused.loads.clear()
    refused.refused = "it charged twice"
    assert f"Not measured: Theirs, {FSYNC}. it charged twice" in report([refused], [])


def test_pictures_are_well_formed_and_show_each_system() -> None:
    kills = KillFigures(
        "payments-8", "Ours", "payments", FSYNC, "today", 1, audit([], {}, []), [2], [1], [3] * 30
    )
    made = {
        picture.name: picture.chart.render()
        for picture in pictures(
            [
                part_of("ours", 1, 1000),
                part_of("ours", 1, 2000, concurrency=256),
                part_of("theirs", 1, 250),
            ],
            [kills],
        )
    }
    assert set(made) == {
        "http-latency.svg", "http-distribution.svg", "http-timeline.svg", "kills-timeline.svg",
    }  # fmt: skip
    for text in made.values():
        ET.fromstring(text)  # noqa: S314 - our own text
    # Letters are drawn as paths; what they say stands beside them as a comment.
    for shown in ("<!-- Ours -->", "<!-- Theirs -->", f"<!-- {FSYNC} -->"):
        assert shown in made["http-latency.svg"]
    assert "stroke-dasharray: 4,4" in made["kills-timeline.svg"], "where it was killed"


def test_the_document_of_this_project_takes_the_report(tmp_path: Path) -> None:
    document = tmp_path / "peers.md"
    document.write_text((ROOT / "docs" / "peers.md").read_text())
    results = tmp_path / "results"
    results.mkdir()
    write_part(results, part_of("restate", 1, 250))
    done_ = subprocess.run(
        [sys.executable, "-m", "tools.bench.peers", "--report", "--results", str(results),
         "--write", str(document), "--json", str(tmp_path / "all.json")],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert done_.returncode == 0, done_.stderr
    assert "(pictures/http-latency.svg)" in document.read_text()
    assert (tmp_path / "pictures" / "http-latency.svg").exists()
    [part] = json.loads((tmp_path / "all.json").read_text())["parts"]
    assert part["system"] == "restate"


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
