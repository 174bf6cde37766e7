"""An audit of records that a made-up later version wrote: reported as such, and nothing false.

Of the same kind: ``tests/recovery/test_later_versions.py`` (a rebuild is refused) and
``tests/records/test_later_versions.py`` (the client and what shows a result).
"""

import pytest

from payments.verify.findings import Kind

from .recording import LEDGER, RESULTS, Recording, at, read


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "preauthorize"},
        {"outcome": "preauthorized"},
        {"reason": "partly"},
        {"state": "blocked"},
        {"blocked": 100},
        {"parts": [{"amount": 60}]},
        {"outcome": "preauthorized", "state": "blocked", "reason": "partly", "blocked": 1},
    ],
)
@pytest.mark.parametrize("payment", ["made", "undone", "declined"])
def test_a_result_that_a_later_version_wrote(
    run: Recording, payment: str, changes: dict[str, object]
) -> None:
    result = run.change(run.find(RESULTS, payment=payment), **changes)
    report = run.audit()
    assert [(found.kind, found.place) for found in report.violations] == [
        at(Kind.LATER_VERSION, result)
    ]
    [violation] = report.violations
    assert "audit with the version of the workers" in violation.message
    assert all(name in violation.message for name in changes)
    assert report.unchecked["payments with records of a later version"] == 1


@pytest.mark.parametrize("changes", [{"kind": "block"}, {"blocked_change": 5}])
def test_an_entry_that_a_later_version_wrote(run: Recording, changes: dict[str, object]) -> None:
    entry = run.change(run.find(LEDGER, payment="made"), **changes)
    assert run.found() == [at(Kind.LATER_VERSION, entry)]


def test_of_each_partition_the_first_record_is_reported(run: Recording) -> None:
    for record in run.records[RESULTS]:
        run.change(record, blocked=0)
    report = run.audit()
    assert set(report.by_kind) == {Kind.LATER_VERSION}
    partitions = {record.partition for record in run.records[RESULTS]}
    assert [found.place.partition for found in report.violations] == sorted(partitions)


def test_a_field_that_is_null_changes_nothing(run: Recording) -> None:
    for topic in (RESULTS, LEDGER):
        for record in run.records[topic]:
            run.change(record, blocked=None)
    assert run.found() == []


def test_other_faults_are_found_beside_it(run: Recording) -> None:
    result = run.change(run.find(RESULTS, payment="made"), state="blocked")
    other = run.find(RESULTS, payment="declined", outcome="declined", replayed=False)
    run.remove(other)
    kinds = {kind for kind, _ in run.found()}
    assert kinds == {Kind.LATER_VERSION, Kind.MISSING_RESULT}
    assert read(result)["state"] == "blocked"


def test_what_is_no_json_is_malformed_and_ends_no_audit(run: Recording) -> None:
    result = run.find(RESULTS, payment="made")
    value = (result.value or b"")[:-1] + b',"blocked":NaN}'
    result = run.rewrite(result, value=value)
    assert at(Kind.MALFORMED_RECORD, result) in run.found()
