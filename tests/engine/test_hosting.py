"""The engine in a Faust app: a second application of ten lines, run by embedded test agents."""

from typing import Any

import pytest
from faust.types import StreamT

from payments.engine.hosting import EngineApp
from payments.engine.reading import Delivery
from payments.engine.stage import topics_of
from payments.testing import Testbed

from .wordcount import word_count

CONNECTION = {"bootstrap_servers": "localhost:9092", "request_timeout_ms": 20_000}


def words_app(log: Any, clock: Any) -> EngineApp:
    stage = word_count()
    app = EngineApp(
        "words", stages=[stage], partitions=2, connection=CONNECTION, log=log, clock_ms=clock
    )
    app.rows(stage)

    @app.agent(app.inputs(stage), name="count")
    async def count(stream: StreamT[Delivery]) -> None:
        async for delivery in stream:
            await app.engine.handle(delivery)

    return app


def words_testbed() -> Testbed:
    return Testbed(words_app, topics_of([word_count()]), partitions=2)


async def test_a_second_application_runs_on_the_engine() -> None:
    async with words_testbed() as words:
        for word in (b"to", b"be", b"or", b"not", b"to", b"be"):
            words.produce("words", word, b"")
        await words.quiet()
        counts = {record.key: record.value for record in words.records("counts")}
    assert counts == {b"to": b"2", b"be": b"2", b"or": b"1", b"not": b"1"}


async def test_rows_can_be_read_as_a_table_but_not_written() -> None:
    async with words_testbed() as words:
        words.produce("words", b"to", b"")
        await words.quiet()
        table: Any = words.app.tables["count"]
        assert table[b"to"] == b"1"
        assert (len(table), list(table)) == (1, [b"to"])
        with pytest.raises(KeyError):
            table[b"be"]
        with pytest.raises(TypeError, match="through the journal"):
            table[b"to"] = b"7"
        with pytest.raises(TypeError, match="through the journal"):
            del table[b"to"]
