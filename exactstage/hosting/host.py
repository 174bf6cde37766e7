"""The host: what the parts of a Faust worker (membership, tables, sending) ask of their app.

Faust makes these parts and gives them the app. ``EngineApp`` implements this; they do not know it.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

import faust

from exactstage.engine import Engine
from exactstage.errors import FailStop
from exactstage.takeover import TakeoverReport

from .orderly_end import OrderlyEnd


class Host(faust.App):
    """A Faust app that runs stages on the engine."""

    connection: Mapping[str, Any]
    """The arguments of every aiokafka client."""

    delivery_timeout_seconds: float
    orderly_end: OrderlyEnd
    was_ready: bool
    """Whether it has ever owned its partitions; before that it makes no decision."""

    @property
    def engine(self) -> Engine:
        """The engine, once it is open. Raises ``RuntimeError`` before."""
        raise NotImplementedError

    @property
    def channels(self) -> Collection[Any]:
        """The channels of the stages' agents, which alone receive records."""
        raise NotImplementedError

    @property
    def written(self) -> AbstractSet[str]:
        """Topics that the stages alone write."""
        raise NotImplementedError

    def changelog(self, stage: str) -> str:
        """Return the journal's topic of a stage."""
        raise NotImplementedError

    def rows_in_memory(self, stage: str) -> Mapping[bytes, bytes]:
        """Return the rows of a stage, of all owned partitions; none before it owns some."""
        raise NotImplementedError

    def fail_stop(self, failure: FailStop) -> None:
        """End the process at once, since its state in memory may be out of date."""
        raise NotImplementedError

    async def note_takeover(self, report: TakeoverReport | None) -> None:
        """Log what was taken over, if anything was."""
        raise NotImplementedError


def host_of(app: object) -> Host:
    """Return the app of one of Faust's parts as what it is here."""
    return cast("Host", app)
