"""Offline: proof that no worker runs, before a command changes anything.

The consumer group is checked first, because a claim would end a running worker. Then every
partition is claimed: a worker that starts later ends this command or is ended by it, and never do
both write.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)

from exactstage.kafka import grant_command, open_admin
from payments.settings import Settings

from .errors import RecoveryRefused

NO_COORDINATOR_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
COORDINATOR_SECONDS, COORDINATOR_POLL_SECONDS = 30.0, 0.2


class Member(NamedTuple):
    """A member of the workers' consumer group."""

    client_id: str
    host: str


async def members(settings: Settings) -> list[Member]:
    """Return the members of the workers' consumer group. Raises ``RecoveryRefused``."""
    async with open_admin(settings.connection()) as admin:
        response = await _described(admin, settings.app_id)
    found: list[Member] = []
    for code, group, _, _, _, listed, *_ in response.groups:
        if code:
            error: Any = for_code(code)
            if error is GroupAuthorizationFailedError:
                command = grant_command(settings.connection(), ["Describe"], "group", [group])
                message = (
                    f"not authorized: this user lacks Describe on the group {group}; nothing was "
                    f"changed. Grant it: {command}"
                )
                raise RecoveryRefused(message)
            message = f"the consumer group {group} can't be described: {error.__name__}"
            raise RecoveryRefused(message)
        found += [Member(client_id, host) for _, client_id, host, *_ in listed]
    return found


class _Denied(NamedTuple):
    """The answer for a group that this user may not see."""

    groups: list[tuple[Any, ...]]


async def _described(admin: AIOKafkaAdminClient, group: str) -> Any:
    """Ask the coordinator of a group; a new cluster has to make one first."""
    deadline = asyncio.get_running_loop().time() + COORDINATOR_SECONDS
    while True:
        try:
            try:
                [response] = await admin.describe_consumer_groups([group])
            except GroupAuthorizationFailedError as error:  # Nor does it name the coordinator.
                return _Denied([(error.errno, group, "", "", "", [])])
            for code, *_ in response.groups:
                if code in {error.errno for error in NO_COORDINATOR_YET}:
                    raise GroupCoordinatorNotAvailableError(group)
        except NO_COORDINATOR_YET:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(COORDINATOR_POLL_SECONDS)
        else:
            return response


async def require_no_workers(settings: Settings) -> None:
    """Raise ``RecoveryRefused`` while the consumer group of the workers has members."""
    refuse_members(settings.app_id, await members(settings))


def refuse_members(group: str, found: Sequence[Member]) -> None:
    """Raise ``RecoveryRefused`` when there are any."""
    if not found:
        return
    listing = ", ".join(sorted({f"{member.client_id} on {member.host}" for member in found}))
    message = (
        f"consumer group {group} has {len(found)} members ({listing}): stop all workers of this "
        f"installation first; one that was killed, or ended with exit code 70, stays a member "
        f"until its session timeout (PAYMENTS_SESSION_TIMEOUT_SECONDS) is over: then try again"
    )
    raise RecoveryRefused(message)
