"""What the stages say to whoever runs them."""

import pytest

from payments.engine.journal import Journal
from payments.engine.limits import Limits
from payments.engine.log import Record, Writer
from payments.engine.stage import Refused
from payments.settings import Settings
from payments.stages import PaymentsLogic


async def test_what_can_not_be_is_said_only_when_it_is_journalled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logic = PaymentsLogic(Settings())
    logic.restored(0, {})
    journal = Journal(
        stage="payments",
        partition=0,
        changelog="payments-changelog",
        visible=frozenset(),
        writer=Writer(1, 0),
        limits=Limits(),
    )
    settlement = b'{"ok":true,"reason":null}'
    with pytest.raises(Refused):
        logic.handle(Record("payments.inbox", 0, 0, 0, b"pay-1", settlement, ()), journal)
    # A worker that has lost the partition gets no further: its append is refused.
    assert not caplog.records
    for callback in journal.cut().callbacks:
        callback()
    [said] = caplog.records
    assert said.levelname == "ERROR"
    assert "'pay-1' met what can't be, settled_ok in state None" in said.getMessage()
