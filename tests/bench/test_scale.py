"""What partitions cost: what is counted, and the table."""

from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tools.bench.appended_batches import appended_since, log_sizes
from tools.bench.scale import Variant, table


def test_the_table_has_a_column_for_each_variant_and_a_row_for_each_figure() -> None:
    few = {"partitions": str(Variant(8)), "busy: payments/s": "7,060"}
    stored = {"partitions": str(Variant(8, stored=1000)), "busy: payments/s": "7,000"}
    workers = {"partitions": str(Variant(1024, workers=2)), "idle: share of a core, %": "1.0"}
    assert table([few, stored, workers]).splitlines() == [
        "| partitions | 8 | 8, 1,000 payments stored | 1,024, 2 workers |",
        "| --- | --- | --- | --- |",
        "| busy: payments/s | 7,060 | 7,000 | - |",
        "| idle: share of a core, % | - | - | 1.0 |",
    ]


def test_batches_that_were_appended_are_counted_in_the_log_files(tmp_path: Path) -> None:
    old, new = tmp_path / "a-0" / "0.log", tmp_path / "a-1" / "0.log"
    for file in (old, new):
        file.parent.mkdir()
    old.write_bytes(batch(b"before"))
    sizes = log_sizes([old])
    added = batch(b"x", b"y", b"z") + batch(b"1")
    old.write_bytes(batch(b"before") + added)
    new.write_bytes(batch(b"2"))
    assert appended_since(sizes, [old, new]) == (3, 5, len(added) + len(batch(b"2")))


def batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1000, b"k", value, [])
    return bytes(builder.build())
