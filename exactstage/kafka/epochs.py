"""Epochs: the offsets at which leader epochs end, by request to the leaders (KIP-320)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from aiokafka import errors

from exactstage.errors import FailStop
from exactstage.log import TopicPartition

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .rights import Right, denied
from .wire import EpochEnd, OffsetForLeaderEpoch

logger = logging.getLogger(__name__)

_UNKNOWN = -1


async def epoch_ends(
    connection: Connection, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return the offset at which each epoch ended, or the partition's end for its latest one.

    One request for each leader. A partition is left out, with a line in the log, when its leader
    does not know the epoch, or its broker does not know the request (Kafka has it since 2.3).
    Raises ``FailStop`` when the brokers refuse or can't be reached.
    """
    retry = RetryPolicy("asking for leader epochs", connection.delivery_timeout_seconds)
    found: dict[TopicPartition, int] = {}
    while left := {tp: epoch for tp, epoch in epochs.items() if tp not in found}:
        try:
            await _ask_once(connection, left, found)
        except errors.IncompatibleBrokerVersion as error:
            logger.warning("whether inputs lost records that were handled is not known: %s", error)
            break
        except RETRIABLE as error:
            await retry.after(error)
            await connection.refresh()
        except errors.KafkaError as error:
            topic = str(error.args[0]).rpartition("/")[0] if error.args else ""
            refused = denied(error, connection.arguments, topic, Right.DESCRIBE)
            if refused is not None:
                raise refused from error
            message = f"the leader epochs of {', '.join(map(str, left))} were refused: {error!r}"
            raise FailStop(message) from error
    for tp in [tp for tp, end in found.items() if end == _UNKNOWN]:
        del found[tp]
        logger.warning(
            "the leader of %s knows nothing of its leader epoch %d, under which records were read: "
            "whether it lost any is not known (was it restored from an older backup?)",
            tp,
            epochs[tp],
        )
    return found


async def _ask_once(
    connection: Connection,
    epochs: Mapping[TopicPartition, int],
    found: dict[TopicPartition, int],
) -> None:
    """Ask each leader once. Raises the first error; ``found`` has the answers before it."""
    nodes: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for tp, epoch in epochs.items():
        node = connection.leader(tp)
        if node is None:
            raise errors.LeaderNotAvailableError(str(tp))
        nodes.setdefault(node, {}).setdefault(tp.topic, []).append((tp.partition, epoch))
    requests = [connection.send(node, OffsetForLeaderEpoch(asked)) for node, asked in nodes.items()]
    answers: Sequence[Sequence[EpochEnd]] = await asyncio.gather(*requests)
    for topic, partition, code, end in (each for answer in answers for each in answer):
        if (error := error_for(code)) is not None:
            raise error(f"{topic}/{partition}")
        found[TopicPartition(topic, partition)] = end
