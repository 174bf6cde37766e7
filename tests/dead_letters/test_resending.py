"""Replays of an own stage's dead letters: where they go, and what is refused."""

import pytest

from exactstage.log import TopicPartition
from payments.dead_letters.letter import DeadLetter, NotReplayable
from payments.dead_letters.replaying import Correction
from payments.dead_letters.resending import REPLAY_OF, resend_of
from payments.records.record_address import RecordAddress

AT = RecordAddress("shop.points.dead-letters", 3, 17)
TAKEN = frozenset({"accounts.ledger", "payments.commands"})
AS_IS = Correction()


def letter(topic: str = "shop.replays", reason: str = "not_an_entry", **facts: str) -> DeadLetter:
    return DeadLetter(
        position=AT,
        time_ms=2,
        received_ms=1,
        source=f"{topic}/3/5" if topic else "",
        reason=reason,
        facts={"topic": topic, "partition": "3", "offset": "5", **facts},
        key=b"xenia",
        value=b"{}",
        headers=[("mine", b"1"), ("src", b"accounts/3/1/0")],
    )


def test_a_record_is_sent_as_it_was_received_with_the_position_of_its_letter() -> None:
    at, record = resend_of(letter(), TAKEN, AS_IS, to=None)
    assert at == TopicPartition("shop.replays", 3)
    assert record == (b"xenia", b"{}", [("mine", b"1"), (REPLAY_OF, str(AT).encode())])
    corrected = Correction(b"other", b"[]")
    assert resend_of(letter(), TAKEN, corrected, to=None)[1][:2] == (b"other", b"[]")


def test_what_the_payments_published_goes_to_another_input_of_the_stage() -> None:
    """Only workers write to the ledger; a command on its topic would be carried out."""
    with pytest.raises(NotReplayable, match="only the payments' workers write: name another input"):
        resend_of(letter("accounts.ledger"), TAKEN, AS_IS, to=None)
    at, _ = resend_of(letter("accounts.ledger"), TAKEN, AS_IS, to="shop.replays")
    assert at == TopicPartition("shop.replays", 3)
    with pytest.raises(NotReplayable, match=r"payments\.commands is a topic of the payments"):
        resend_of(letter(), TAKEN, AS_IS, to="payments.commands")


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (letter(""), "no stage wrote it"),
        (letter(reason="undecodable_batch", **{"last.offset": "9"}), "whole batch"),
        (letter(**{"value.bytes": "2000000"}), "too large to be kept whole"),
        (letter(reason="missing_position"), "would be refused again, missing_position"),
        (letter(reason="foreign_record"), "would be refused again, foreign_record"),
    ],
)
def test_what_can_t_be_sent_again_says_why(refused: DeadLetter, why: str) -> None:
    with pytest.raises(NotReplayable, match=why):
        resend_of(refused, TAKEN, AS_IS, to=None)
