"""Published: how far publishing got on public topics, as a journal knows it.

What the topics themselves show is in ``tails``; a takeover compares the two.
"""

from collections.abc import Sequence

from .checkpoint import Checkpoint
from .outputs import Output, OutputId


class LastPublished:
    """The last output of one journal for each public topic."""

    def __init__(self, topics: frozenset[str]) -> None:
        self._topics = topics
        self.sent: dict[str, OutputId] = {}
        """Last output that went, or will go, to each public topic."""
        self.surely: dict[str, OutputId] = {}
        """Last output that each topic holds at least, by the restored checkpoints."""

    def note(self, commit: int, outputs: Sequence[Output]) -> None:
        """Note the last output of a sealed commit for each public topic."""
        for topic in {output[0] for output in outputs} & self._topics:
            index = len(outputs) - 1
            while outputs[index][0] != topic:
                index -= 1
            self.sent[topic] = (commit, index)

    def restore(self, checkpoint: Checkpoint, *, published: int) -> None:
        """Take what a checkpoint of the ring has; commits up to ``published`` are published."""
        self.sent |= checkpoint.sent
        self.sent |= checkpoint.last_public(self._topics)
        known = {topic: last for topic, last in self.sent.items() if last[0] <= published}
        self.surely |= known
