"""The benchmark: its arithmetic and tables, what it writes, and one short run on a broker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exactstage.checkpoint import RESERVED, decode_checkpoint
from exactstage.memory import MemoryLog
from exactstage.partitioner import partition_of
from payments import __version__
from payments.domain.payment import State
from payments.records.internal_codec import decode_payment
from payments.settings import Settings
from tests.broker_fixture import RunningBroker
from tools.bench.errors import BenchError
from tools.bench.figures import OURS, Cell, RestoreFigures, Run, faults, medians
from tools.bench.latencies import Figures
from tools.bench.measuring import System, parse_system
from tools.bench.options import parse_options
from tools.bench.process import cpu_seconds, resident_bytes
from tools.bench.restore import read_takeover, write_journals
from tools.bench.tables import faults_text, load_table, restore_table, with_figures
from tools.dev import compiled

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def run_of(
    rate: float, *, worker_us: float | None = 300.0, missing: int = 0, not_completed: int = 0
) -> Run:
    load = Figures(
        payments=100,
        seconds=1.0,
        rate=rate,
        p50_ms=rate / 100,
        p95_ms=rate / 50,
        p99_ms=rate / 25,
        max_ms=rate,
        not_completed=not_completed,
        missing=missing,
    )
    return Run(load, worker_us, None)


def cell_of(*rates: float) -> Cell:
    cell = Cell(partitions=8, flush=False, concurrency=1000)
    for rate in rates:
        cell.add(OURS, run_of(rate))
    return cell


def test_each_value_is_the_median_of_its_own() -> None:
    found = medians([run_of(900, worker_us=None), run_of(100), run_of(200, worker_us=500.0)])
    assert (found.rate, found.p50_ms, found.p95_ms, found.p99_ms) == (200, 2, 4, 8)
    assert found.worker_us == 400, "a run whose CPU is not known does not count"
    assert found.broker_us is None


def test_the_ratio_is_the_median_over_pairs() -> None:
    cell = cell_of(100, 900, 300)
    for rate in (100, 450, 100):
        cell.add("other", run_of(rate))
    assert cell.ratio("other") == 2.0, "the pairs give 1, 2 and 3; the two medians would give 3"


def test_the_table_of_the_load_has_a_row_for_each_cell() -> None:
    assert load_table([cell_of(1234.4, 1000, 2000)]).splitlines() == [
        (
            "| partitions | flush | concurrency | payments/s | p50 ms | p95 ms | p99 ms "
            "| worker µs | broker µs |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 8 | off | 1,000 | 1,234 | 12.3 | 24.7 | 49.4 | 300 | - |",
    ]


def test_the_table_shows_a_system_that_ran_beside() -> None:
    cell = cell_of(200)
    cell.add("other", run_of(400))
    heading, _, row = load_table([cell], "other").splitlines()
    assert heading.endswith("| other payments/s | other p50 ms | other worker µs | ratio |")
    assert row.endswith("| 400 | 4.0 | 300 | 0.50 |")


def test_missing_payments_are_told_beside_the_table() -> None:
    cell = cell_of(200)
    cell.add(OURS, run_of(100, missing=2, not_completed=3))
    assert faults([cell]) == {OURS: (200, 2, 3)}
    assert faults_text([cell]) == ("payments: 200 payments answered, 2 missing, 3 not completed.")


def restore_of(*, empty_bytes: int | None) -> RestoreFigures:
    return RestoreFigures(
        payments=1000,
        partitions=2,
        records=1500,
        restore_seconds=0.5,
        ready_seconds=2.0,
        empty_bytes=empty_bytes,
        full_bytes=80_500_000,
        idle_percent=1.26,
    )


def test_memory_per_payment_is_what_the_payments_add() -> None:
    figures = restore_of(empty_bytes=80_000_000)
    assert figures.bytes_per_payment == 500
    text = restore_table(figures)
    assert "| memory per stored payment | 500 bytes |" in text
    assert "| restore rate | 3,000 records/s |" in text
    assert "| idle worker, 1,000 payments | 1.3 % of a core |" in text


def test_memory_that_is_not_known_is_a_dash() -> None:
    assert "| memory per stored payment | - bytes |" in restore_table(restore_of(empty_bytes=None))


def test_figures_replace_only_what_is_between_the_markers() -> None:
    document = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    once = with_figures(document, "new\n")
    assert once == "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    assert with_figures(once, "new") == once


@pytest.mark.parametrize("document", ["nothing", "<!-- figures -->", "<!-- /figures -->"])
def test_a_document_without_both_markers_is_refused(document: str) -> None:
    with pytest.raises(BenchError, match="lacks the lines"):
        with_figures(document, "new")


def test_the_document_of_this_project_takes_figures() -> None:
    document = (ROOT / "docs" / "performance.md").read_text()
    assert "\n\nthe figures\n\n" in with_figures(document, "the figures")


def test_a_system_beside_is_named_on_the_command_line() -> None:
    text = 'other=p.commands,p.results,{"s":"DONE","x":1},4711'
    wanted = System("other", "p.commands", "p.results", '{"s":"DONE","x":1}', 4711)
    assert parse_system(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["other", "other=a,b,c", "other=a,b,c,d", "=a,b,c,1", "other=a,b,,1", "payments=a,b,c,1"],
)
def test_a_system_beside_that_is_not_complete_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_system(text)


def test_quick_gives_way_to_what_is_named() -> None:
    given = parse_options(["--quick", "--concurrency", "7", "9"])
    assert given.concurrency == [7, 9]
    assert (given.seconds, given.repeats, given.restore) == (1.0, 1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--write", "x.md", "--quick"],
        ["--repeats", "0", "--restore", "0"],
        ["--partitions", "0"],
        ["--seconds", "nan"],
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_options(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_last_takeover_in_the_log_counts() -> None:
    line = (
        "took over partitions [0, 1]: {} rows from {} records, 0 outputs republished "
        "(claim 0.026 s, fence 0.005 s, restore 0.512 s, republish 0.000 s, positions 0.001 s)\n"
    )
    assert read_takeover(line.format(0, 16) + line.format(7, 20)) == (7, 20, 0.512)
    with pytest.raises(BenchError, match="names no takeover"):
        read_takeover("worker ready")


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


def test_a_quick_run_completes_all_payments(broker: RunningBroker, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "--quick", "--json", str(file)],
        cwd=ROOT,
        env=os.environ | {"PAYMENTS_BROKERS": broker.bootstrap},
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    [cell] = json.loads(file.read_text())["load"]
    [run] = cell["runs"][OURS]
    assert cell["concurrency"] == 4
    assert run["load"]["payments"] > 0
    assert (run["load"]["missing"], run["load"]["not_completed"]) == (0, 0)
    assert "| 2 | off | 4 |" in done.stdout
    build = "compiled" if compiled.is_current() else "pure Python"
    assert f"payments {__version__} ({build})" in done.stdout
