"""Trials: whether this user may use a group, a transactional id or the cluster, by trial requests.

Brokers list the rights on topics (``rights``), but no others to a user without Describe on the
cluster. Each trial is a request that can't succeed and changes nothing: the authorizer refuses it
before any other check.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import errors
from aiokafka.client import CoordinationType
from aiokafka.protocol.admin import DescribeConfigsRequest, DescribeGroupsRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .hints import GROUP_COORDINATOR, TRANSACTION_COORDINATOR, Hints

_NO_PRODUCER = 2**63 - 1
"""A producer id that no broker has assigned: they count from 0."""

_NO_MEMBER, _NO_GENERATION = "doctor", 0
_BROKER_RESOURCE = 4
_ABORT = False

_REFUSED: tuple[type[Exception], ...] = (
    errors.GroupAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.ClusterAuthorizationFailedError,
)


async def may_join_group(connection: Connection, group: str) -> bool:
    """Whether this user has Read on a group: sends a heartbeat of an unknown member."""

    async def ask() -> int:
        node = await _coordinator(connection, CoordinationType.GROUP, group)
        request = HeartbeatRequest(group, _NO_GENERATION, _NO_MEMBER)
        code: int = (await connection.send(node, request)).error_code
        return code

    return await _is_allowed(connection, f"group {group}", ask, GROUP_COORDINATOR)


async def may_describe_group(connection: Connection, group: str) -> bool:
    """Whether this user has Describe on a group."""

    async def ask() -> int:
        node = await _coordinator(connection, CoordinationType.GROUP, group)
        response = await connection.send(node, DescribeGroupsRequest([group]))
        code: int = response.groups[0][0]
        return code

    return await _is_allowed(connection, f"group {group}", ask, GROUP_COORDINATOR)


async def may_claim(connection: Connection, name: str) -> bool:
    """Whether this user has Write on a transactional id: ends a transaction that never began."""

    async def ask() -> int:
        node = await _coordinator(connection, CoordinationType.TRANSACTION, name)
        request = EndTxnRequest(name, _NO_PRODUCER, 0, _ABORT)
        code: int = (await connection.send(node, request)).error_code
        return code

    return await _is_allowed(connection, f"transactional id {name}", ask, TRANSACTION_COORDINATOR)


async def may_read_broker_settings(connection: Connection) -> bool:
    """Whether this user has DescribeConfigs on the cluster."""

    async def ask() -> int:
        node = connection.client.get_random_node()
        if node is None:
            raise errors.NodeNotReadyError
        resources = [(_BROKER_RESOURCE, str(node), ["auto.create.topics.enable"])]
        response = await connection.send(node, DescribeConfigsRequest(resources))
        code: int = response.resources[0][0]
        return code

    return await _is_allowed(connection, "the cluster", ask, {})


async def _coordinator(connection: Connection, kind: Any, name: str) -> int:
    node: int = await connection.client.coordinator_lookup(kind, name)
    if connection.client.cluster.broker_metadata(node) is None:
        await connection.refresh()
    return node


async def _is_allowed(
    connection: Connection, what: str, ask: Callable[[], Awaitable[int]], hints: Hints
) -> bool:
    """Return whether a request is not refused by a missing right."""
    retry = RetryPolicy(f"asking for rights on {what}", connection.delivery_timeout_seconds, hints)
    while True:
        try:
            error = error_for(await ask())
            if error is not None and issubclass(error, RETRIABLE):
                raise error(what)
        except _REFUSED:
            return False
        except RETRIABLE as failure:
            await retry.after(failure)
            await connection.refresh()
        else:
            return error is None or not issubclass(error, _REFUSED)
