"""The report: parts kept as files and read again, counted together, drawn, and judged."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tools.chaos import report
from tools.chaos.faults.table import FAULTS
from tools.chaos.part import Part, Strike
from tools.chaos.timeline import COLORS, draw
from tools.chaos.verdict import complaints, outdated


def part(stand: str = "single", *, found: list[str] | None = None) -> Part:
    return Part(
        stand,
        seed=3,
        seconds=60.0,
        strikes=[Strike("worker-kill", 10, 11, 13), Strike("network-cut", 20, 30, None)],
        sent=100,
        sent_by_kind={"make": 60, "cancel": 40},
        results=100,
        rate=[0, 50, 50],
        endings={"killed: -9": 1},
        faults_found=found or [],
        lag=0,
        last_hundred_ms=120.0,
        verified={"counts": {"commands": 100, "results": 100, "payments": 30, "entries": 40}},
    )


def clean(**changes: Any) -> dict[str, Any]:
    return {"ok": True, "violations": [], "in_flight": 0, "exit_code": 0} | changes


def test_a_part_survives_its_file(tmp_path: Path) -> None:
    part().write(tmp_path / "part-001.json")
    assert Part.read(tmp_path / "part-001.json") == part()


def test_parts_are_counted_together() -> None:
    text = report.as_text([part(), part("three")], "python -m tools.chaos")
    assert "| commands sent | 200 |" in text
    assert "| - cancel | 80 |" in text
    assert "| commands in the topic (verify) | 200 |" in text
    assert "| worker-kill | 2 | 2.0 | 2.0 | SIGKILL of one worker. |" in text
    assert "| network-cut | 2 | - | - |" in text
    assert "All held in 2 parts" in text


def test_what_did_not_hold_comes_first(tmp_path: Path) -> None:
    parts = [part(), part("three", found=["a command is stuck"])]
    text = report.as_text(parts, "python -m tools.chaos")
    assert "**1 things did not hold:**\n\n- three, seed 3: a command is stuck" in text
    assert "All held" not in text
    report.write_json(parts, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is False


def test_a_full_run_needs_its_share_of_holds_and_lapses() -> None:
    full, sent = part(), "in 100,000 commands, under the"
    full.sent, full.holds, full.lapses = 100_000, 19_999, 5_000
    assert report.too_few([full]) == [f"19,999 holds {sent} 20% of a full run"]
    full.holds, full.lapses = 20_000, 4_999
    assert report.too_few([full]) == [f"4,999 lapses {sent} 5% of a full run"]
    full.lapses = 5_000
    assert report.too_few([full]) == []
    assert report.too_few([part()]) == [], "a short run may have none"
    assert "| holds | 20,000 |" in report.as_text([full], "python -m tools.chaos")


def test_the_picture_has_a_bar_for_each_second_and_a_mark_for_each_fault() -> None:
    picture = draw([part(), part("three")])
    root = ET.fromstring(picture)  # noqa: S314 - our own
    names = [element.get("id") for element in root.iter()]
    assert names.count("bar") == 4, "a second without results has none"
    assert names.count("mark") == 4
    assert picture.count("<!-- worker-kill -->") == 2


def test_the_auditor_is_believed_when_it_complains_and_when_it_can_not_tell() -> None:
    violation = {
        "kind": "money_twice",
        "topic": "accounts.ledger",
        "partition": 1,
        "offset": 2,
        "message": "twice",
    }
    assert complaints(clean()) == []
    assert complaints(clean(ok=False, violations=[violation], exit_code=1)) == [
        "money_twice accounts.ledger/1/2: twice"
    ]
    assert complaints(clean(in_flight=2)) == ["2 commands are in flight although all is quiet"]
    assert complaints(clean(ok=False, exit_code=1))
    assert complaints({"ok": False, "error": "no broker"})


def test_local_copies_are_counted_where_there_were_any() -> None:
    with_copies = part()
    with_copies.thrown_away, with_copies.copies = 3, {"same": 16, "not_used": 2}
    text = report.as_text([with_copies, part()], "test")
    assert "| local copies that workers threw away | 3 |" in text
    assert "| local copies at the end: same (verify) | 16 |" in text
    assert "| local copies at the end: not used (verify) | 2 |" in text
    assert "local copies" not in report.as_text([part()], "test")


def test_a_journal_without_a_copy_that_can_be_used_is_a_complaint() -> None:
    copies = [
        {"name": "a-1", "state": "not_used"},
        {"name": "a-1", "state": "same"},
        {"name": "a-2", "state": "not_used"},
        {"name": "a-2", "state": "empty"},
        {"name": "lost+found", "state": "unknown"},
    ]
    assert outdated(copies) == [
        "no worker has a local copy of a-2 that it can use: not_used, empty"
    ]


def test_each_group_of_faults_has_its_color() -> None:
    assert COLORS.keys() == {fault.group for fault in FAULTS.values()}
