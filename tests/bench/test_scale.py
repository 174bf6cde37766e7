"""What partitions cost: what is read, counted and computed."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from exactstage.kafka import KafkaLog
from payments.settings import Settings
from tests.broker_fixture import RunningBroker
from tools.bench.broker_records import appended_since, last_checkpoints, log_sizes
from tools.bench.comparing import comparisons, comparisons_table
from tools.bench.counting import PRODUCE, make_file, read_counts
from tools.bench.failures import BenchError
from tools.bench.latencies import Figures
from tools.bench.loading import UNIQUE, Load
from tools.bench.markdown import with_figures
from tools.bench.restore import write_journals
from tools.bench.scale import report
from tools.bench.scale_figures import (
    Checkpoints,
    IdleFigures,
    Loaded,
    Requests,
    ScaleFigures,
    batches_for,
    batches_table,
    idle_table,
    measured_table,
    request_shares,
    shares,
)
from tools.bench.takeover_log import Takeover
from tools.bench.worker_cores import CORES, computed, cores_table

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
METADATA = 3


def figures_of(
    *, worker_us: float | None = 100.0, broker_us: float = 50.0, batches_each: float = 1.0
) -> ScaleFigures:
    takeover = Takeover(10, 20, {"claim": 0.5, "restore": 0.3})
    return ScaleFigures(
        at_rest=IdleFigures(
            partitions=8,
            create_seconds=1.0,
            first=takeover,
            idle=Requests(0.5, 4.0, 0.5),
            idle_percent=0.4,
        ),
        again=takeover,
        ready_seconds=2.0,
        lone=Loaded(
            rate=200.0,
            p50_ms=5.0,
            worker_us=2090.0,
            broker_us=3040.0,
            requests=Requests(1000.0, 600.0, 0.0),
            requests_each=10.0,
            bytes_each=4000.0,
            batches_each=7.0,
            batch_records=1.5,
        ),
        busy=Loaded(
            rate=4000.0,
            p50_ms=50.0,
            worker_us=worker_us,
            broker_us=broker_us,
            requests=Requests(200.0, 200.0, 0.0),
            requests_each=0.05,
            bytes_each=2000.0,
            batches_each=batches_each,
            batch_records=2.5,
        ),
        checkpoints=Checkpoints(bytes=200.0, source_entries=4.0, source_entry_bytes=20.0),
    )


def test_cpu_is_split_into_payments_and_requests() -> None:
    found = request_shares(figures_of())[0]
    assert found == pytest.approx((90, 200)), "90 + 10 * 200 = 2090, and 90 + 0.05 * 200 = 100"
    assert request_shares(figures_of(worker_us=None))[0] is None


def test_as_many_requests_for_each_payment_split_nothing() -> None:
    assert shares(100.0, 90.0, (2.0, 2.0)) is None


@pytest.mark.parametrize(("partitions", "named"), [(8, 1), (62, 1), (63, 2), (4096, 67)])
def test_a_checkpoint_without_messages_tells_a_share_of_the_senders(
    partitions: int, named: int
) -> None:
    figures = figures_of()
    figures = replace(figures, at_rest=replace(figures.at_rest, partitions=partitions))
    assert figures.quiet_checkpoint_bytes == 200 - 4 * 20 + named * 20


def test_cores_multiply_what_one_of_them_was_measured_to_do() -> None:
    values = {
        line.what: [cores * line.of_one for cores in CORES] for line in computed(figures_of())
    }
    assert values["payments, 1/s"] == [10_000, 100_000, 1_000_000]
    assert values["partitions"] == [8, 80, 800]
    assert values["broker cores"] == pytest.approx([1.5, 15, 150]), "three copies of 0.5 cores"
    assert values["records written, MB/s"] == pytest.approx([60, 600, 6000])
    takeover = "takeover of all partitions by one worker, without restore, s"
    assert values[takeover] == pytest.approx([0.5, 5, 50])


def test_each_computed_number_says_what_it_rests_on() -> None:
    for line in computed(figures_of()):
        assert line.basis.startswith(("measured:", "assumed:", "computed from"))


def test_without_the_workers_cpu_nothing_is_computed() -> None:
    with pytest.raises(BenchError, match="not known"):
        computed(figures_of(worker_us=None))


def test_the_tables_have_a_column_for_each_measurement_and_number_of_cores() -> None:
    measured = measured_table([figures_of(), figures_of(worker_us=None)]).splitlines()
    assert measured[0] == "| partitions | 8 | 8 |"
    assert "| idle: requests/s | 5.0 | 5.0 |" in measured
    assert "| busy: worker µs per payment | 100 | - |" in measured
    assert "| worker µs: a payment itself, a request | 90, 200 | - |" in measured
    assert "| busy: batches for each, records in one | 1.00, 2.5 | 1.00, 2.5 |" in measured
    assert idle_table([figures_of().at_rest]).splitlines() == [
        "| partitions | 8 |",
        "| --- | --- |",
        "| topics made, s | 1.0 |",
        "| first takeover, s | 0.80 (claim 0.50, restore 0.30) |",
        "| idle: requests/s | 5.0 |",
        "| idle: produce, fetch, other | 0.5, 4.0, 0.5 |",
        "| idle: share of a core, % | 0.4 |",
    ]
    wanted = "| payments, 1/s | 10,000 | 100,000 | 1,000,000 | measured: 100 µs"
    assert wanted in cores_table(figures_of())


def test_two_numbers_of_partitions_tell_what_a_batch_costs() -> None:
    many = figures_of(worker_us=160.0, broker_us=95.0, batches_each=4.0)
    table = batches_table(figures_of(), many)
    assert table.splitlines()[2:] == [
        "| worker | 80 | 20 | 1.00 | 4.00 |",
        "| broker | 35 | 15 | 1.00 | 4.00 |",
    ]
    # 115 for a payment and 35 for its batch: at half of the rate, 300 are 115 and 5.3 batches.
    assert batches_for(0.5, figures_of(), many) == pytest.approx(185 / 35)
    assert batches_for(0.5, figures_of(), figures_of(worker_us=None)) is None


def test_batches_that_were_appended_are_counted_in_the_log_files(tmp_path: Path) -> None:
    old, new = tmp_path / "a-0" / "0.log", tmp_path / "a-1" / "0.log"
    for file in (old, new):
        file.parent.mkdir()
    old.write_bytes(batch(b"before"))
    sizes = log_sizes([old])
    old.write_bytes(batch(b"before") + batch(b"x", b"y", b"z") + batch(b"1"))
    new.write_bytes(batch(b"2"))
    assert appended_since(sizes, [old, new]) == (3, 5)


def batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1000, b"k", value, [])
    return bytes(builder.build())


def load_at(rate: float) -> Load:
    figures = Figures(100, 1.0, rate, 1.0, 2.0, 3.0, not_completed=0, missing=0)
    return Load(UNIQUE, 256, figures, {"worker": 50.0, "broker": 30.0}, {})


def test_a_comparison_is_the_median_of_pairs_that_ran_one_after_the_other() -> None:
    stored, partitions, as_full, workers = comparisons(1_000_000, 256)
    rates = [(100.0, 90.0), (200.0, 100.0), (50.0, 40.0)]
    stored.pairs = [(load_at(base), load_at(other)) for base, other in rates]
    partitions.pairs = as_full.pairs = workers.pairs = stored.pairs[:1]
    assert stored.ratio == pytest.approx(0.8)
    assert comparisons_table([stored, partitions, as_full, workers]).splitlines()[2:] == [
        "| 1,000,000 stored payments against none | 90 | 100 | 0.80 | at least 0.95 |",
        "| 64 partitions against 8 | 90 | 100 | 0.90 | at least 0.6 |",
        "| 64 partitions with 2,048 payments at once against 8 with 256 | 90 | 100 | 0.90 | - |",
        "| two workers on the same cores against one | 90 | 100 | 0.90 | - |",
    ]


def test_the_document_of_this_project_takes_the_tables() -> None:
    document = (ROOT / "docs" / "scale.md").read_text()
    text = report([figures_of(), figures_of(batches_each=4.0)], {512: "no room"}, [])
    assert "512 partitions: not measured, no room" in text
    assert text in with_figures(document, text)


def test_requests_of_a_process_are_counted_by_kind(broker: RunningBroker, tmp_path: Path) -> None:
    file = tmp_path / "counts"
    make_file(file)
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.counting", str(file), "topics", "plan"],
        cwd=ROOT,
        env=os.environ | {"PAYMENTS_BROKERS": broker.bootstrap},
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    counts = read_counts(file)
    assert counts[METADATA] > 0
    assert counts[PRODUCE] == 0


async def test_the_last_checkpoint_of_each_journal_is_found(settings: Settings) -> None:
    log = KafkaLog(settings.connection())
    try:
        await log.start([settings.changelog("payments")])
        await write_journals(log, settings, 200)
    finally:
        await log.close()
    found = await asyncio.to_thread(last_checkpoints, settings)
    assert found.source_entries == 0, "nobody has sent anything to these journals"
    assert found.source_entry_bytes == 0
    assert found.bytes == len('{"n":1,"published":0,"inputs":{},"sources":{},"outputs":[]}')
