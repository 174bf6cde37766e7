"""Adopting: lets workers take over journals whose topics were recreated (other topic ids).

Only where nothing is lost silently: recreated inputs are read from their first record, and dead
letters may have a gap. A new ledger or new results need a rebuild, and so do copies and another
cluster. The journal gets a whole ring of checkpoints, so that none with the old ids remains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exactstage import Log, Stage, TopicPartition, topics_of
from exactstage.inspection import Identity
from exactstage.recovery import Claimed, Surroundings, renew_identity
from payments.records.recovery_notes import encode_note, note_without_commands
from payments.settings import Settings

from .errors import RecoveryRefused
from .inspecting import Held, read_held


@dataclass(frozen=True, slots=True)
class Adoption:
    """The new identity and input offsets of one journal."""

    stage: Stage
    held: Held
    identity: Identity
    differences: dict[str, tuple[str, str]]
    """Topics whose id has changed: the journal's and the broker's."""

    inputs: dict[str, int]
    """Next offset of each input."""

    lost_commands: bool = False
    """Whether the commands that the journal has answered were deleted with their topic."""

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        last = self.held.last
        return {
            "stage": self.stage.name,
            "partition": self.held.at.partition,
            "topic": self.held.at.topic,
            "differences": {name: list(ids) for name, ids in self.differences.items()},
            "inputs_before": {} if last is None else last.inputs,
            "inputs": self.inputs,
        }


async def plan(log: Log, settings: Settings, stages: Sequence[Stage]) -> list[Adoption]:
    """Return the adoption of each journal. Raises ``RecoveryRefused``."""
    cluster = await log.describe(topics_of(stages))
    around = Surroundings(settings.app_id, stages, settings.partitions, cluster)
    found: list[Adoption] = []
    for stage in stages:
        at = [TopicPartition(stage.changelog, p) for p in range(settings.partitions)]
        bounds = await log.bounds(
            [TopicPartition(topic, tp.partition) for topic in stage.inputs for tp in at]
        )
        for tp, held in (await read_held(log, at)).items():
            written, last = held.identity, held.last
            if written is None or last is None:
                message = f"{tp} has no identity: make the journals again with: payments rebuild"
                raise RecoveryRefused(message)
            now = around.identity(stage.name, tp.partition, written.installation)
            _require_adoptable(held, written, now, settings)
            differences = {
                topic: (id_, now.topics[topic])
                for topic, id_ in written.topics.items()
                if now.topics[topic] != id_
            }
            inputs = {
                topic: bounds[TopicPartition(topic, tp.partition)].first
                if topic in differences
                else position
                for topic, position in last.inputs.items()
            }
            lost_commands = not differences.keys().isdisjoint(stage.public_inputs)
            found.append(Adoption(stage, held, now, differences, inputs, lost_commands))
    return found


def _require_adoptable(held: Held, written: Identity, now: Identity, settings: Settings) -> None:
    wrong: str | None = None
    if written.cluster != now.cluster:
        wrong = f"it was written on cluster {written.cluster}, this is {now.cluster}"
    elif written.app != now.app or written.topics.keys() != now.topics.keys():
        wrong = f"it belongs to installation {written.installation} with other names"
    elif held.unpublished or held.missing:
        wrong = "it has outputs that were not published yet"
    else:
        topics = settings.topics
        for topic in (topics.results, topics.account_results, topics.ledger):
            if topic in written.topics and written.topics[topic] != now.topics[topic]:
                wrong = f"{topic} was recreated, and balances and answers are read from it"
    if wrong is not None:
        message = (
            f"{held.at} can't be adopted: {wrong}; rebuild the journals from the public topics "
            f"with: payments rebuild --replace (and --copied where topics were copied)"
        )
        raise RecoveryRefused(message)


async def carry_out(log: Log, app_id: str, stages: Sequence[Stage], adoption: Adoption) -> None:
    """Claim the partition, and append the adoption; a worker that starts now fences this."""
    held, last = adoption.held, adoption.held.last
    assert last is not None, "plan() requires a checkpoint"
    claimed = Claimed(log, app_id, stages, [held.at.partition])
    await claimed.claim()
    now = (await read_held(log, [held.at]))[held.at].last
    if now is None or now.n != last.n:
        message = f"a worker has written to {held.at} in between; run the command again"
        raise RecoveryRefused(message)
    note = encode_note(note_without_commands(last.n + 1, 0)) if adoption.lost_commands else None
    await renew_identity(
        log,
        held.at,
        claimed,
        checkpoints=held.checkpoints.values(),
        identity=adoption.identity,
        inputs=adoption.inputs,
        note=note,
    )
