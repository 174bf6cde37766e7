"""Offsets: first offset, end and offsets by time of partitions, by request to their leaders."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import errors

from exactstage.errors import FailStop
from exactstage.log import Bounds, TopicPartition

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .hints import refusal
from .rights import Right, denied
from .wire import ListOffsets, Offset

_FIRST: Final = -2
_END: Final = -1
_NONE: Final = -1


async def bounds(
    connection: Connection, at: Sequence[TopicPartition]
) -> dict[TopicPartition, Bounds]:
    """Return first offset and end of each partition; the end includes open transactions."""
    first, end = await asyncio.gather(_ask(connection, at, _FIRST), _ask(connection, at, _END))
    return {tp: Bounds(first[tp], end[tp]) for tp in at}


async def ends(connection: Connection, at: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the end of each partition, by one request to each leader (``bounds`` needs two).

    The end in a new leader's fetch answer may be before acknowledged records; this request is
    refused until the leader has caught up (KIP-207).
    """
    return await _ask(connection, at, _END)


async def ends_now(
    connection: Connection, at: Sequence[TopicPartition], *, stable: bool
) -> dict[TopicPartition, int]:
    """Return the end of each partition, or its last ``stable`` offset, without retries.

    Raises aiokafka's errors: the first one that occurs.
    """
    found: dict[TopicPartition, int] = {}
    await _ask_once(connection, at, _END, found, stable=stable)
    return found


async def offsets_since(
    connection: Connection, at: Sequence[TopicPartition], time_ms: int
) -> dict[TopicPartition, int]:
    """Return the offset of the first record at or after that time; the end if there is none."""
    since, end = await asyncio.gather(_ask(connection, at, time_ms), _ask(connection, at, _END))
    return {tp: since[tp] if since[tp] != _NONE else end[tp] for tp in at}


async def _ask(
    connection: Connection, at: Sequence[TopicPartition], which: int
) -> dict[TopicPartition, int]:
    retry = RetryPolicy("asking for offsets", connection.delivery_timeout_seconds)
    found: dict[TopicPartition, int] = {}
    while left := [tp for tp in at if tp not in found]:
        try:
            await _ask_once(connection, left, which, found)
        except RETRIABLE as error:
            await retry.after(error)
            await connection.refresh()
        except errors.KafkaError as error:
            topic = str(error.args[0]).rpartition("/")[0] if error.args else ""
            refused = denied(error, connection.arguments, topic, Right.DESCRIBE)
            if refused is not None:
                raise refused from error
            wanted = ", ".join(map(str, left))
            message = f"the offsets of {wanted} were refused: {refusal(error)}"
            raise FailStop(message) from error
    return found


async def _ask_once(
    connection: Connection,
    at: Sequence[TopicPartition],
    which: int,
    found: dict[TopicPartition, int],
    *,
    stable: bool = False,
) -> None:
    """Ask each leader once. Raises the first error; ``found`` has the answers before it."""
    nodes: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for tp in at:
        node = connection.leader(tp)
        if node is None:
            raise errors.LeaderNotAvailableError(str(tp))
        nodes.setdefault(node, {}).setdefault(tp.topic, []).append((tp.partition, which))
    requests = [
        connection.send(node, ListOffsets(asked, committed_only=stable))
        for node, asked in nodes.items()
    ]
    answers: Sequence[Sequence[Offset]] = await asyncio.gather(*requests)
    for topic, partition, code, offset in (each for answer in answers for each in answer):
        if (error := error_for(code)) is not None:
            raise error(f"{topic}/{partition}")
        found[TopicPartition(topic, partition)] = offset
