"""Metrics: what a worker's counts look like to Prometheus, and the page that has them all."""

import ast
import importlib
import json
import pkgutil
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import exactstage
import payments
from exactstage import FailStop, Fenced
from payments.app import create_app
from payments.process import build
from payments.process.metric_family import Family
from payments.records import record_writer
from payments.settings import Settings
from payments.stages import accounts as accounts_stage
from payments.stages import payments as stage
from payments.stages.accounts import AccountsLogic
from payments.stages.payments import PaymentsLogic
from payments.testing import PaymentsTestbed
from payments.worker import ends, health
from payments.worker.metric_families import FAMILIES, NOT_READY
from payments.worker.metrics import Logics, MetricsError, serve

ROOT = Path(__file__).parents[1]
MAKE = {"type": "make", "account": "abc", "amount": 100}
AUTHORIZE = {"type": "authorize", "account": "abc", "amount": 100}


@pytest.fixture
async def payments_testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=100_000) as running:
        yield running


def logics_of(testbed: PaymentsTestbed) -> Logics:
    payments, accounts = (testbed.app.stages[name].logic for name in ("payments", "accounts"))
    assert isinstance(payments, PaymentsLogic)
    assert isinstance(accounts, AccountsLogic)
    return Logics(payments, accounts)


class Scrape:
    """One answer of a process to Prometheus."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            self.text = answer.read().decode()
        self.families = {each.name: each for each in text_string_to_metric_families(self.text)}

    def __getitem__(self, sample: str) -> float:
        lines = [line for line in self.text.splitlines() if line.rpartition(" ")[0] == sample]
        assert len(lines) == 1, f"{sample}: {lines}"
        return float(lines[0].rpartition(" ")[2])


def served(testbed: PaymentsTestbed, **settings: object) -> int:
    """Serve the metrics of an embedded application; return the port."""
    made = Settings(metrics_address="127.0.0.1:0", **settings)  # type: ignore[arg-type]
    return serve(testbed.app.counts, logics_of(testbed), made)


def require_documented(scrape: Scrape, families: tuple[Family, ...]) -> None:
    """Fail where a scrape has other families, or others' labels, than the page."""
    assert set(scrape.families) == {family.name for family in families}
    for family in families:
        found = scrape.families[family.name]
        assert found.type == family.kind, family.name
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), family.name


async def test_counts_are_served_as_they_are_at_each_scrape(
    payments_testbed: PaymentsTestbed,
) -> None:
    port = served(payments_testbed)
    before = Scrape(port)
    assert before["payments_owned_partitions"] == payments_testbed.settings.partitions
    assert before['payments_records_handled_total{stage="payments"}'] == 0
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.send("p2", {"type": "nonsense"})
    after = Scrape(port)
    assert after['payments_records_handled_total{stage="payments"}'] == 3
    assert after['payments_records_handled_total{stage="accounts"}'] == 1
    assert after['payments_rows{stage="payments"}'] == 1
    assert after['payments_dead_letters_total{reason="unknown_type",stage="payments"}'] == 1
    assert after["payments_groups_total"] >= after["payments_journal_appends_total"] > 0
    assert after["payments_ready"] == 1


@pytest.mark.parametrize("compiled", [True, False])
async def test_the_build_is_that_of_the_version_option(
    payments_testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    monkeypatch.setattr(build, "is_compiled", lambda: compiled)
    [sample] = Scrape(served(payments_testbed)).families["payments_build_info"].samples
    assert sample.labels["compiled"] == str(compiled).lower()


async def test_each_family_of_the_page_is_in_a_scrape_and_no_other(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.send("p2", AUTHORIZE)
    await payments_testbed.send_account("abc", {"type": "get"})
    scrape = Scrape(served(payments_testbed))
    require_documented(scrape, FAMILIES)
    empty = {name for name, each in scrape.families.items() if not each.samples}
    assert not empty, "each was seen with a value"


async def test_results_are_counted_by_type_outcome_and_reason(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.send("p1", {**MAKE, "amount": 7})
    await payments_testbed.send("p2", {"type": "of a client's own invention"})
    await payments_testbed.send("p3", b"no JSON")
    scrape = Scrape(served(payments_testbed))
    samples = {
        tuple(sample.labels.values()): sample.value
        for sample in scrape.families["payments_results"].samples
        if sample.name.endswith("_total")
    }
    assert samples == {
        ("completed", "", "make"): 1,
        ("rejected", "different_amount", "make"): 1,
        ("rejected", "unknown_type", "unreadable"): 1,
        ("rejected", "not_json", "unreadable"): 1,
    }
    assert scrape["payments_result_seconds_count"] == 4


async def test_results_of_commands_for_accounts_are_counted_alone(
    payments_testbed: PaymentsTestbed,
) -> None:
    for _ in range(2):
        await payments_testbed.send_account("abc", {"type": "freeze"})
    await payments_testbed.send_account("xyz", {"type": "open"})
    await payments_testbed.send_account("xyz", {"type": "freeze"})
    await payments_testbed.send_account("xyz", {"type": "freeze"})
    await payments_testbed.send_account("xyz", {"type": "of a client's own invention"})
    await payments_testbed.send_account("xyz", {"type": "get"})
    scrape = Scrape(served(payments_testbed))
    samples = {
        tuple(sample.labels[name] for name in ("type", "outcome", "reason")): sample.value
        for sample in scrape.families["payments_account_results"].samples
        if sample.name.endswith("_total")
    }
    assert samples == {
        ("freeze", "rejected", "unknown_account"): 2,
        ("open", "completed", ""): 1,
        ("freeze", "completed", ""): 2,
        ("unreadable", "rejected", "unknown_type"): 1,
        ("get", "found", ""): 1,
    }
    assert not scrape.families["payments_results"].samples


async def test_an_account_result_that_cant_be_written_is_not_counted(
    payments_testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(*given: Any) -> bytes:
        monkeypatch.setattr(accounts_stage, "encode_account_result", writes)
        raise RuntimeError("a defect of the writer")

    writes = record_writer.encode_account_result
    monkeypatch.setattr(accounts_stage, "encode_account_result", fails_once)
    await payments_testbed.send_account("abc", {"type": "open"})
    scrape = Scrape(served(payments_testbed))
    rejected = (
        'payments_account_results_total{outcome="rejected",reason="internal_error",type="open"}'
    )
    assert scrape[rejected] == 1
    assert 'outcome="completed"' not in scrape.text


async def test_a_worker_with_other_settings_than_the_last_owner_is_seen_for_an_hour() -> None:
    async with PaymentsTestbed(opening_balance=100_000) as former:
        await former.send("p1", MAKE)
        found = Scrape(served(former, opening_balance=100_000))
    setting = 'app_id="payments",setting="PAYMENTS_OPENING_BALANCE",value='
    assert found[f'payments_setting_info{{{setting}"100000"}}'] == 1
    differ = 'payments_settings_differ{setting="PAYMENTS_OPENING_BALANCE"}'
    assert found[differ] == 0
    other = PaymentsTestbed(opening_balance=0)
    other.log, other.clock = former.log, former.clock
    other.app = create_app(other.settings, log=former.log)
    async with other:
        port = served(other)
        found = Scrape(port)
        assert found["payments_ready"] == 1
        assert found[f'payments_setting_info{{{setting}"0"}}'] == 1
        assert found[differ] > 0
        assert found['payments_settings_differ{setting="PAYMENTS_DEFAULT_CURRENCY"}'] == 0
        other.clock.advance(3599)
        assert Scrape(port)[differ] > 0
        other.clock.advance(2)
        assert Scrape(port)[differ] == 0


async def test_what_takeovers_have_read_is_a_gauge_for_an_hour() -> None:
    """A takeover is mostly over before the first scrape: no increase of a counter shows it."""
    async with PaymentsTestbed(opening_balance=100_000) as former:
        for number in range(5):
            await former.send(f"p{number}", MAKE)
    other = PaymentsTestbed(opening_balance=100_000)
    other.log, other.clock = former.log, former.clock
    other.app = create_app(other.settings, log=former.log)
    rows, records = "payments_recent_takeover_rows", "payments_recent_takeover_records_read"
    async with other:
        port, engine = served(other, opening_balance=100_000), other.app.engine
        found = Scrape(port)
        assert found[rows] == found["payments_takeover_rows_total"] >= 5
        assert found[records] == found["payments_takeover_records_read_total"] > found[rows]
        other.clock.advance(1800)
        await engine.drain()
        await engine.rebalance(set())
        await engine.rebalance(other.app.all_inputs())
        second = Scrape(port)
        assert second[rows] == second["payments_takeover_rows_total"] > found[rows]
        other.clock.advance(1801)
        later = Scrape(port)
        assert later[rows] == second[rows] - found[rows]
        assert later[records] == second[records] - found[records]
        other.clock.advance(1800)
        assert (Scrape(port)[rows], Scrape(port)[records]) == (0, 0)


async def test_a_notice_of_a_hold_that_ends_soon_is_counted_as_a_notice() -> None:
    async with PaymentsTestbed(opening_balance=100_000, hold_notice_seconds=100) as testbed:
        await testbed.send("p1", {**AUTHORIZE, "hold_seconds": 200})
        await testbed.advance(100 + testbed.settings.window_seconds)
        scrape = Scrape(served(testbed))
    assert scrape['payments_results_total{outcome="hold_ends_soon",reason="",type="notice"}'] == 1


async def test_the_time_to_a_result_begins_with_the_command(
    payments_testbed: PaymentsTestbed,
) -> None:
    payments_testbed.post("p1", MAKE)
    payments_testbed.clock.advance(3)
    await payments_testbed.quiet()
    scrape = Scrape(served(payments_testbed))
    assert scrape["payments_result_seconds_sum"] == pytest.approx(3)
    assert scrape['payments_result_seconds_bucket{le="2.5"}'] == 0
    assert scrape['payments_result_seconds_bucket{le="5"}'] == 1


async def test_an_answer_that_cant_be_written_is_not_counted(
    payments_testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(*given: Any) -> bytes:
        monkeypatch.setattr(stage, "encode_result", record_writer.encode_result)
        raise RuntimeError("a defect of the writer")

    monkeypatch.setattr(stage, "encode_result", fails_once)
    await payments_testbed.send("p1", {"type": "get"})
    await payments_testbed.send("p2", {"type": "get"})
    scrape = Scrape(served(payments_testbed))
    rejected = 'payments_results_total{outcome="rejected",reason="internal_error",type="get"}'
    assert scrape[rejected] == 1
    assert scrape['payments_results_total{outcome="not_found",reason="",type="get"}'] == 1


async def test_holds_are_open_until_they_are_captured_voided_or_lapse(
    payments_testbed: PaymentsTestbed,
) -> None:
    port = served(payments_testbed)
    for payment in ("captured", "voided", "lapses"):
        await payments_testbed.send(payment, AUTHORIZE)
    opened = Scrape(port)
    assert opened['payments_open_holds{currency="EUR"}'] == 3
    assert opened['payments_held_minor_units{currency="EUR"}'] == 300
    parcel = {"type": "capture", "capture": "parcel", "amount": 60, "final": False}
    await payments_testbed.send("captured", parcel)
    assert Scrape(port)['payments_held_minor_units{currency="EUR"}'] == 240
    await payments_testbed.send("captured", {"type": "capture", "capture": "rest"})
    await payments_testbed.send("voided", {"type": "void"})
    assert Scrape(port)['payments_open_holds{currency="EUR"}'] == 1
    settings = payments_testbed.settings
    await payments_testbed.advance(settings.hold_seconds + settings.window_seconds)
    closed = Scrape(port)
    assert closed['payments_open_holds{currency="EUR"}'] == 0
    assert closed['payments_held_minor_units{currency="EUR"}'] == 0
    assert (
        closed['payments_results_total{outcome="lapsed",reason="hold_expired",type="lapse"}'] == 1
    )


async def test_what_is_open_is_counted_again_after_a_takeover(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", AUTHORIZE)
    await payments_testbed.send("p2", MAKE)
    engine = payments_testbed.app.engine
    await engine.drain()
    await engine.rebalance(set())
    port = served(payments_testbed)
    assert not Scrape(port).families["payments_open_holds"].samples
    await engine.rebalance(payments_testbed.app.all_inputs())
    again = Scrape(port)
    assert again['payments_open_holds{currency="EUR"}'] == 1
    assert again['payments_held_minor_units{currency="EUR"}'] == 100
    assert again["payments_waiting_payments"] == 0


async def test_a_payment_whose_transfer_is_in_flight_waits(
    payments_testbed: PaymentsTestbed,
) -> None:
    testbed = payments_testbed
    port = served(testbed)
    testbed.post("p1", MAKE)
    while not logics_of(testbed).payments.waiting().payments:
        await testbed.log.grown(0.001)
    testbed.clock.advance(12)
    waits = Scrape(port)
    assert waits["payments_waiting_payments"] == 1
    assert waits["payments_waiting_oldest_seconds"] == 12
    await testbed.quiet()
    assert Scrape(port)["payments_waiting_oldest_seconds"] == 0


async def test_records_that_are_not_handled_are_the_lag(payments_testbed: PaymentsTestbed) -> None:
    testbed = payments_testbed
    await testbed.send("p1", MAKE)
    await testbed.app.engine.drain()  # It reads no more.
    port = served(testbed)
    at = testbed.produce(testbed.settings.topics.commands, b"p1", json.dumps(MAKE).encode())
    testbed.clock.advance(30)
    labels = f'{{partition="{at.partition}",topic="{at.topic}"}}'
    behind = Scrape(port)
    assert behind[f"payments_lag_records{labels}"] == 1
    assert behind[f"payments_lag_seconds{labels}"] == 30
    await testbed.app.engine.rebalance(testbed.app.all_inputs())
    await testbed.quiet()
    assert Scrape(port)[f"payments_lag_records{labels}"] == 0


async def test_a_timer_that_is_not_taken_is_overdue(
    payments_testbed: PaymentsTestbed,
) -> None:
    testbed = payments_testbed
    settings = testbed.settings
    await testbed.send("p1", MAKE)
    testbed.clock.advance(settings.retention_seconds + settings.window_seconds + 90)
    port = served(testbed)
    assert Scrape(port)['payments_timer_overdue_seconds{stage="payments"}'] >= 90
    await testbed.app.engine.timers.tick_all()
    assert Scrape(port)['payments_timer_overdue_seconds{stage="payments"}'] == 0


def test_each_kind_of_trouble_has_a_label() -> None:
    kinds = set()
    for file in (ROOT / "exactstage").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Trouble":
                kind = node.args[0]
                assert isinstance(kind, ast.Constant), f"{file}: a kind has no places in it"
                kinds.add(kind.value)
    assert kinds == set(NOT_READY) - {"joins_group", "takes_over"}


def subclasses(of: type[FailStop]) -> Iterator[type[FailStop]]:
    """Yield a class of failures and all below it, of whatever module."""
    yield of
    for each in of.__subclasses__():
        yield from subclasses(each)


def test_each_failure_is_a_reason_of_an_end() -> None:
    for package in (exactstage, payments):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    shipped = {
        each
        for each in subclasses(FailStop)
        if each.__module__.partition(".")[0] in {"exactstage", "payments"}
        and each.__module__ != "exactstage.testing"  # Its kill is no end of a worker.
    }
    codes = {ends.reason_of(each.__new__(each)) for each in shipped}
    assert {*codes, ends.KILLED, ends.OTHER} == set(ends.REASONS)


async def test_ends_of_former_workers_are_served(
    payments_testbed: PaymentsTestbed, tmp_path: Path
) -> None:
    file = tmp_path / "ready"
    ends.note(file, ends.reason_of(Fenced("another worker owns it")))
    ends.note(file, ends.reason_of(Fenced("another worker owns it")))
    ends.note(file, "a_reason_of_a_later_version")
    scrape = Scrape(served(payments_testbed, health_file=file))
    assert scrape['payments_worker_ends_total{reason="fenced"}'] == 2
    assert scrape['payments_worker_ends_total{reason="other"}'] == 1
    assert scrape['payments_worker_ends_total{reason="killed"}'] == 0


async def test_ends_of_the_last_minutes_are_a_gauge(
    payments_testbed: PaymentsTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's first scrape has them already: no increase of a counter shows them."""
    file, now = tmp_path / "ready", 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    ends.file_of(file).write_text('{"fenced": 7, "killed": 1}\n')  # Of an earlier version.
    ends.note(file, "fenced")
    now += 600
    ends.note(file, "fenced")
    ends.note(file, "a_reason_of_a_later_version")
    port = served(payments_testbed, health_file=file)
    found = Scrape(port)
    assert found['payments_worker_ends_total{reason="fenced"}'] == 9
    assert found['payments_recent_worker_ends{reason="fenced"}'] == 2
    assert found['payments_recent_worker_ends{reason="other"}'] == 1
    assert found['payments_recent_worker_ends{reason="killed"}'] == 0
    now += 301
    assert Scrape(port)['payments_recent_worker_ends{reason="fenced"}'] == 1
    now += 600
    assert Scrape(port)['payments_recent_worker_ends{reason="fenced"}'] == 0
    for _ in range(30):
        ends.note(file, "fenced")
    again = Scrape(port)
    assert again['payments_worker_ends_total{reason="fenced"}'] == 39
    assert again['payments_recent_worker_ends{reason="fenced"}'] == 20


def test_a_worker_that_was_killed_is_counted_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    ends.note_former(file)
    assert ends.read(file) == {}, "there was none"
    write = (
        "import sys, pathlib, payments.worker.health as h; h.show(pathlib.Path(sys.argv[1]), [])"
    )
    subprocess.run([sys.executable, "-c", write, str(file)], check=True, cwd=ROOT)
    ends.note_former(file)
    assert ends.read(file) == {"killed": 1}
    health.show(file, [])
    ends.note_former(file)
    assert ends.read(file) == {"killed": 1}, "this one still runs"


def test_a_counts_file_that_is_damaged_counts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    ends.file_of(file).write_text("{")
    assert ends.read(file) == {}
    ends.note(file, "fenced")
    assert ends.read(file) == {"fenced": 1}


def test_no_family_is_named_as_another() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(payments|process)_[a-z_]+", name) for name in names)
    assert not any(name.endswith("_total") for name in names), "a counter gets it by itself"


def test_an_address_of_ipv6_is_given_as_in_a_url(payments_testbed: PaymentsTestbed) -> None:
    """Others: of brokers in ``tests/test_settings.py``, of a gateway in ``tests/gateway``."""
    logics = logics_of(payments_testbed)
    settings = Settings(metrics_address="[::1]:0")
    port = serve(lambda: pytest.fail("nobody asks"), logics, settings)
    with socket.create_connection(("::1", port)):
        pass


def test_an_address_in_use_is_named_with_the_setting(payments_testbed: PaymentsTestbed) -> None:
    logics = logics_of(payments_testbed)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(metrics_address=address)
        with pytest.raises(MetricsError, match=rf"{address}.*PAYMENTS_METRICS_ADDRESS"):
            serve(lambda: pytest.fail("nobody asks"), logics, settings)
