"""Violations of what commands are promised, planted in a run and found where they stand."""

import pytest

from exactstage.log import Record
from payments.verify.findings import Kind, Place

from .recording import COMMANDS, LETTERS, RESULTS, Recording, at, read


def command_of(run: Recording, result: Record) -> Record:
    partition, offset = read(result)["command"].split("/")[1:]
    return next(r for r in run.records[COMMANDS] if r[1:3] == (int(partition), int(offset)))


@pytest.mark.parametrize(
    "where",
    [
        {"payment": "undone", "type": "cancel", "replayed": False},
        {"payment": "poor", "outcome": "declined"},
        {"payment": "never"},
        {"payment": "bad", "reason": "not_json"},
        {"payment": "at once", "type": "get"},
    ],
)
def test_a_command_without_a_result(run: Recording, where: dict[str, object]) -> None:
    result = run.find(RESULTS, **where)
    run.remove(result)
    assert run.found() == [at(Kind.MISSING_RESULT, command_of(run, result))]


def test_one_result_for_two_commands_of_the_same_id(run: Recording) -> None:
    commands = run.all(COMMANDS, id="mine")
    run.remove(run.find(RESULTS, command="mine"))
    assert run.found() in [[at(Kind.MISSING_RESULT, command)] for command in commands]


@pytest.mark.parametrize("payment", ["made", "undone", "prevented", "declined", "bad"])
def test_a_command_with_two_results(run: Recording, payment: str) -> None:
    result = [r for r in run.all(RESULTS, payment=payment) if read(r)["command"]][-1]
    assert run.found() == []
    second = run.append(result)
    assert run.found() == [at(Kind.SURPLUS_RESULT, second)]


def test_a_result_of_no_command(run: Recording) -> None:
    added = run.append(run.find(RESULTS, payment="made"), command="nobody's")
    assert run.found() == [at(Kind.SURPLUS_RESULT, added)]


def test_a_result_of_another_payment_than_its_key_says(run: Recording) -> None:
    result = run.find(RESULTS, payment="never")
    run.change(result, payment="other")
    assert run.found() == [at(Kind.MALFORMED_RECORD, result)]


def test_a_payment_that_is_completed_twice_in_one_life(run: Recording) -> None:
    again = run.all(RESULTS, payment="made", replayed=True)[0]
    run.change(again, replayed=False)
    assert run.found() == [at(Kind.CONTRADICTING_RESULT, again)]


def test_an_expiry_without_a_notice(run: Recording) -> None:
    notice = run.find(RESULTS, payment="made", outcome="expired")
    run.remove(notice)
    second_life = run.find(RESULTS, payment="made", outcome="completed")
    assert at(Kind.CONTRADICTING_RESULT, second_life) in run.found()


@pytest.mark.parametrize("payment", ["never", "poor", "made"])
def test_a_notice_of_a_payment_that_is_not_there(run: Recording, payment: str) -> None:
    notices = [
        run.append(run.find(RESULTS, payment="at once", outcome="expired"), payment=payment)
        for _ in range(2)
    ]
    records = run.records[RESULTS]
    for notice in notices:
        records[records.index(notice)] = notice._replace(key=payment.encode())
    assert at(Kind.CONTRADICTING_RESULT, notices[1]) in run.found()


def test_a_result_whose_fields_contradict_each_other(run: Recording) -> None:
    result = run.find(RESULTS, payment="at once", type="get")
    run.change(result, outcome="not_found", state="completed")
    assert run.found() == [at(Kind.CONTRADICTING_RESULT, result)]


def test_a_malformed_command_that_is_not_put_aside(run: Recording) -> None:
    for letter in (run.records[LETTERS][0], run.records[LETTERS][-1]):
        copy = run.copy()
        copy.remove(letter)
        headers = {
            name: (content or b"").decode(errors="replace") for name, content in letter.headers
        }
        partition, offset = (headers[f"__streams.errors.{n}"] for n in ("partition", "offset"))
        place = Place(COMMANDS, int(partition), int(offset))
        assert copy.found() == [(Kind.MISSING_DEAD_LETTER, place)]


def test_a_command_that_is_put_aside_twice(run: Recording) -> None:
    second = run.append(run.records[LETTERS][0])
    assert run.found() == [at(Kind.SURPLUS_DEAD_LETTER, second)]


def test_a_well_formed_command_that_is_put_aside(run: Recording) -> None:
    letter = run.records[LETTERS][0]
    good = run.find(COMMANDS, id="mine")
    place = {"partition": b"%d" % good.partition, "offset": b"%d" % good.offset}
    headers = [*letter.headers, *((f"__streams.errors.{n}", v) for n, v in place.items())]
    added = run.rewrite(run.append(letter), value=good.value, headers=headers)
    assert run.found() == [at(Kind.SURPLUS_DEAD_LETTER, added)]
