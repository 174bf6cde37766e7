"""The storm's own judgement: a result of a command that was never sent, and a second result."""

from collections.abc import Iterator

import pytest

from payments.settings import Settings
from tools.chaos.storm import Storm

NOBODY = "127.0.0.1:1"


@pytest.fixture
def storm() -> Iterator[Storm]:
    made = Storm(Settings(brokers=NOBODY), seed=1, rate=1)
    yield made
    made.close()


def test_commands_of_somebody_else_are_waited_for_like_its_own(storm: Storm) -> None:
    first, second = storm.take(2, "kcat")
    storm.delivered([first, second])
    assert [under.id for under in storm.unanswered(up_to=1)] == [first.id]
    for command in (first, second):
        storm.take_result(command.id, "completed", 1.0)
    assert storm.unanswered(up_to=2) == []
    assert (storm.tally.answered, storm.tally.wrong) == (2, [])


def test_a_command_of_an_aborted_transaction_has_no_result(storm: Storm) -> None:
    early, late, none = commands = storm.take(3, "transaction")
    storm.take_result(early.id, "completed", 1.0)
    storm.undo(commands)
    storm.take_result(late.id, "declined", 1.0)
    assert storm.unanswered(up_to=3) == []
    assert none.id not in str(storm.tally.wrong)
    assert storm.tally.aborted == 3
    assert storm.tally.wrong == [
        f"{early.id} has a result before it was sent",
        f"{late.id} was never sent, and has a result: declined",
    ]


def test_a_second_result_of_a_command_that_was_sent_once_is_wrong(storm: Storm) -> None:
    [command] = storm.take(1, "kcat")
    for _ in range(2):
        storm.take_result(command.id, "completed", 1.0)
    storm.take_result(None, "expired", 1.0)
    storm.take_result("of another client", "completed", 1.0)
    assert storm.tally.wrong == [f"{command.id} has a second result: completed"]
    assert (storm.tally.notices, storm.tally.results) == (1, 3)


def test_holds_and_lapses_are_counted_once_each(storm: Storm) -> None:
    answer = {"command": "c", "type": "authorize", "outcome": "authorized", "replayed": False}
    for result in (
        answer,
        answer | {"replayed": True},
        answer | {"outcome": "declined"},
        answer | {"type": "lapse", "outcome": "lapsed", "command": None},
        answer | {"type": "void", "outcome": "lapsed", "replayed": True},
    ):
        storm.count_holds(result)
    assert (storm.tally.holds, storm.tally.lapses) == (1, 1)
