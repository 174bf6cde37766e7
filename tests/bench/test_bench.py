"""The benchmark: its arithmetic and tables, what it writes, and one short run on a broker."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exactstage.checkpoint import RESERVED, decode_checkpoint
from exactstage.memory import MemoryLog
from exactstage.partitioner import partition_of
from payments import __version__
from payments.domain.payment_table import State
from payments.records.internal_codec import decode_payment
from payments.settings import Settings
from tests.broker_fixture import RunningBroker
from tools.bench.__main__ import COMMAND
from tools.bench.http_client import DIALECTS
from tools.bench.load import Cell, faults, faults_text, load_table, pairs_table
from tools.bench.load_client import UNIQUE, Figures, captures, figures_of
from tools.bench.loading import MEASURES, Load, median, median_cpu_us
from tools.bench.measured_process import cpu_seconds, resident_bytes
from tools.bench.restore import takeovers, write_journals
from tools.dev import compiled
from tools.dev.child_process import Child, output_of
from tools.dev.errors import ToolError
from tools.dev.markdown import with_figures

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "tools.bench.__main__",
    "tools.bench.frameworks",
    "tools.bench.aging",
    "tools.bench.disk",
    "tools.bench.lapses",
    "tools.bench.accounts_index",
    "tools.bench.command_time",
    "tools.bench.scale",
    "tools.bench.peers.__main__",
]
LIMIT_SECONDS = 120
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def load_of(
    rate: float, *, worker_us: float | None = 300.0, missing: int = 0, not_completed: int = 0
) -> Load:
    figures = Figures(
        payments=100,
        seconds=1.0,
        rate=rate,
        p50_ms=rate / 100,
        p95_ms=rate / 50,
        p99_ms=rate / 25,
        not_completed=not_completed,
        missing=missing,
    )
    return Load(UNIQUE, 1000, figures, {"worker": worker_us, "broker": None}, {})


def cell_of(*rates: float) -> Cell:
    return Cell(8, flush=False, concurrency=1000, loads=[load_of(rate) for rate in rates])


def test_a_load_gives_rate_and_percentiles() -> None:
    found = figures_of([0.001 * (n + 1) for n in range(100)], 2.0, not_completed=1, missing=3)
    assert (found.payments, found.rate, found.not_completed, found.missing) == (100, 50.0, 1, 3)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (51.0, 96.0, 100.0)


def test_each_value_is_the_median_of_its_own() -> None:
    loads = [load_of(900, worker_us=None), load_of(100), load_of(200, worker_us=500.0)]
    found = [median(loads, MEASURES[name]) for name in ("payments/s", "p50", "p95", "p99")]
    assert found == [200, 2, 4, 8]
    assert median_cpu_us(loads, "worker") == 400, "a load whose CPU is not known does not count"
    assert median_cpu_us(loads, "broker") is None
    assert loads[1].total_cpu_us is None, "the broker's is not known"


def test_the_table_of_the_load_has_a_row_for_each_cell() -> None:
    assert load_table([cell_of(1234.4, 1000, 2000)]).splitlines() == [
        (
            "| partitions | flush | concurrency | payments/s | p50 ms | p95 ms | p99 ms "
            "| worker µs | broker µs |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 8 | off | 1,000 | 1,234 | 12.3 | 24.7 | 49.4 | 300 | - |",
    ]


def test_missing_payments_are_named_beside_the_table() -> None:
    cell = cell_of(200)
    cell.loads.append(load_of(100, missing=2, not_completed=3))
    assert faults([cell]) == (200, 2, 3)
    assert faults_text([cell]) == "payments: 200 payments answered, 2 missing, 3 not completed."


def test_figures_replace_only_what_is_between_the_markers() -> None:
    document = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    once = with_figures(document, "new\n")
    assert once == "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    assert with_figures(once, "new") == once


@pytest.mark.parametrize("document", ["nothing", "<!-- figures -->", "<!-- /figures -->"])
def test_a_document_without_both_markers_is_refused(document: str) -> None:
    with pytest.raises(ToolError, match="lacks the lines"):
        with_figures(document, "new")


def test_the_document_of_this_project_takes_figures() -> None:
    document = (ROOT / "docs" / "performance.md").read_text()
    assert "\n\nthe figures\n\n" in with_figures(document, "the figures")


def test_quick_gives_way_to_what_is_named() -> None:
    given = COMMAND.parse(["--quick", "--concurrency", "7", "9"])
    assert given.concurrency == [7, 9]
    assert (given.seconds, given.repeats, given.restore) == (1.0, 1, 0)
    assert COMMAND.parse([]).restore == 1_000_000


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_quick_run(name: str) -> None:
    command = importlib.import_module(name).COMMAND
    assert command.module == name.removesuffix(".__main__")
    assert command.parse(["--quick"]).quick
    whole = command.parse([])
    assert vars(whole) != vars(command.parse(["--quick"])) | {"quick": False}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--write", "x.md", "--quick"],
        ["--partitions", "0"],
        ["--repeats", "-1"],
        ["--seconds", "nan"],
        ["--flush", "maybe"],
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        COMMAND.parse(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_figures_of_a_part_are_not_written_over_all(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!-- figures -->\n<!-- /figures -->\n")
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "--restore", "0", "--write", str(document)],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Error: --write replaces all figures" in done.stderr


def test_takeovers_are_read_from_the_log_in_their_order() -> None:
    line = (
        "took over partitions [0, 1]: {} rows from {} records, 0 outputs republished "
        "(claim 0.026 s, fence 0.005 s, restore 0.512 s, republish 0.000 s, positions 0.001 s)\n"
    )
    with_copies = line.replace(" records,", " records, 1 of 2 copies used,")
    assert len(takeovers(line.format(0, 16) + with_copies.format(7, 20))) == 2
    last = takeovers(line.format(0, 16) + with_copies.format(7, 20))[-1]
    assert (last.rows, last.records, last.restore_seconds) == (7, 20, 0.512)
    with pytest.raises(ToolError, match="names no takeover"):
        takeovers("worker ready")


def test_a_process_that_ends_by_itself_is_one_error_with_its_last_words(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"]
    with (
        Child("the worker", words, tmp_path / "log", ready="ready") as child,
        pytest.raises(ToolError, match=r"the worker has ended with exit code 3:\nout of luck"),
    ):
        child.wait_until_ready()
    with pytest.raises(ToolError, match=r"the load failed: .*exit status 3"):
        output_of("the load", words)


def test_a_process_that_is_started_again_has_a_log_of_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
    with Child("the worker", words, tmp_path / "worker.log", ready="ready") as child:
        child.wait_until_ready()
        first, log = child.pid, child.log
        child.restart()
        child.wait_until_ready()
        assert child.pid != first
        assert child.log != log


@LINUX
def test_a_process_is_measured_and_one_that_is_gone_is_not() -> None:
    assert (cpu_seconds(os.getpid()) or 0) > 0
    assert (resident_bytes(os.getpid()) or 0) > 1_000_000
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert cpu_seconds(gone.pid) is None
    assert resident_bytes(gone.pid) is None
    assert cpu_seconds(None) is None


async def test_journals_hold_each_payment_once_and_end_with_a_checkpoint() -> None:
    settings = Settings(app_id="bench", partitions=2)
    changelog = settings.changelog("payments")
    log = MemoryLog([changelog], 2)
    await write_journals(log, settings, 8000)
    keys = set()
    for partition in range(2):
        records = [r for r in log.records(changelog) if r.partition == partition]
        rows = [r for r in records if not (r.key or b"").startswith(RESERVED)]
        for record in rows:
            assert partition_of(record.key or b"", 2) == partition
            assert decode_payment(record.value or b"").state is State.COMPLETED
        keys |= {record.key for record in rows}
        checkpoints = [r for r in records if (r.key or b"").startswith(RESERVED)]
        assert len(checkpoints) > 1, "so many rows do not fit one group"
        assert records[-1] is checkpoints[-1]
        assert decode_checkpoint(checkpoints[-1].value or b"").n == len(checkpoints)
    assert len(keys) == 8000


@pytest.mark.parametrize(
    ("stored", "state", "held", "captured"),
    [
        ("make", State.COMPLETED, 0, 0),
        ("authorized", State.AUTHORIZED, 1, 0),
        ("captured", State.COMPLETED, 0, 1),
    ],
)
async def test_stored_payments_are_of_the_kind_that_was_asked_for(
    stored: str, state: State, held: int, captured: int
) -> None:
    settings = Settings(app_id="bench", partitions=1)
    log = MemoryLog([settings.changelog("payments")], 1)
    await write_journals(log, settings, 2, stored)
    keys = [record.key or b"" for record in log.records(settings.changelog("payments"))]
    rows = [
        decode_payment(record.value or b"")
        for record, key in zip(log.records(settings.changelog("payments")), keys, strict=True)
        if not key.startswith(RESERVED)
    ]
    assert [(row.state, row.held, row.captured) for row in rows] == [(state, held, captured)] * 2


def test_pairs_are_shown_as_a_share_of_makes() -> None:
    cell = cell_of(1000, 1000, 1000)
    cell.pairs.extend(cell_of(500, 480, 470).loads)
    assert "| 1,000 | 480 | 0.48 |" in pairs_table([cell]).splitlines()[-1]


def test_a_pair_ends_with_the_capture_of_the_payment_that_was_authorized() -> None:
    answer = b'HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{"payment":"p-1","held":1}'
    [line, *_] = captures(DIALECTS["payments"])(answer).split(b"\r\n")
    assert line == b"POST /v1/payments/p-1/capture HTTP/1.1"
    with pytest.raises(ToolError, match="does not hold money"):
        captures(DIALECTS["restate"])(answer)


def test_a_quick_run_completes_all_payments(broker: RunningBroker) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "--quick"],
        cwd=ROOT,
        env=os.environ | {"PAYMENTS_BROKERS": broker.bootstrap},
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    [answered] = re.findall(
        r"payments: ([\d,]+) payments answered, 0 missing, 0 not completed", done.stdout
    )
    assert answered != "0"
    assert "| 2 | off | 4 |" in done.stdout
    build = "compiled" if compiled.is_current() else "pure Python"
    assert f"payments {__version__} ({build})" in done.stdout
