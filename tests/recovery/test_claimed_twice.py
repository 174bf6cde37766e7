"""After two app ids started on new topics at once and both were refused: the one that stays.

That at most one of the two ever goes on: ``tests/engine/test_consistency.py``.
"""

from exactstage.checkpoint import FENCE_KEY
from exactstage.errors import NotOurs
from exactstage.log import TopicPartition
from payments.recovery.installation import stages_of

from .rig import Installation

MAKE = {"type": "make", "account": "abc", "amount": 1}
SOMEBODY_ELSE = 4711


async def test_the_app_id_that_stays_goes_on_after_a_rebuild() -> None:
    log = Installation(partitions=2)
    for stage in stages_of(log.settings):
        for partition in range(2):
            log.produce(TopicPartition(stage.changelog, partition), FENCE_KEY, None)
            for topic in stage.public:
                at = log.partition(TopicPartition(topic, partition))
                at.mark(SOMEBODY_ELSE, 0, commit=False)
    log.command("p1", MAKE)
    refused = await log.work()
    assert isinstance(refused, NotOurs)
    assert f"was claimed by producer id {SOMEBODY_ELSE} too" in str(refused)
    assert "payments rebuild" in str(refused)
    assert not log.results()
    await log.rebuild()
    assert await log.work() is None
    assert [result["payment"] for result in log.results()] == ["p1"]
    await log.require_clean()
