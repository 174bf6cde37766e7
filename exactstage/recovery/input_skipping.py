"""Skipping: gives records of an input up, as one more commit of the journal that reads it."""

from collections.abc import Callable, Sequence

from exactstage.checkpoint import NOTE_KEY
from exactstage.limits import Limits
from exactstage.log import NO_HEADERS, Channel, Log, TopicPartition
from exactstage.outputs import Output, Rounds, publish
from exactstage.stage import Stage
from exactstage.takeover import Takeover


async def skip_input(
    log: Log,
    app_id: str,
    stages: Sequence[Stage],
    at: TopicPartition,
    position: int,
    *,
    notice: Output | None = None,
    note: Callable[[int], bytes] | None = None,
) -> None:
    """Take a partition over as a worker does, but continue at ``position`` of the input ``at``.

    ``notice`` is published with the commit that moves the journal. ``note`` returns what the
    journal keeps for ever, from the number of that commit. All workers must be stopped: one that
    starts now ends this, or is ended. Raises ``FailStop``.
    """
    [stage] = [each for each in stages if at.topic in each.inputs]
    limits = Limits()
    messenger = await log.new_writer()
    takeover = Takeover(
        log=log,
        app_id=app_id,
        stages=stages,
        partitions=log.partition_count(at.topic),
        messenger=messenger,
        limits=limits,
        moved={at: position},
    )
    journals, _ = await takeover.run([at.partition])
    [journal] = [each for each in journals if each.stage == stage.name]
    if notice is not None:
        journal.publish(*notice)
        journal.accept()
    journal.advance(at.topic, position)
    commit = journal.seal()
    batch = commit.batch
    if note is not None:
        batch = batch._replace(records=[*batch.records, (NOTE_KEY, note(journal.n), NO_HEADERS)])
    await log.append([batch], Channel.JOURNAL)
    rounds = Rounds(limits.batch_bytes)
    commit.publication.add_to(rounds, messenger)
    await publish(log, rounds)
