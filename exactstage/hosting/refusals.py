"""Refusals: why a worker can't be a member of its group, and the next step."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import errors
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from exactstage.advice import setting
from exactstage.errors import FailStop, NotAuthorized
from exactstage.kafka.admin import open_admin
from exactstage.kafka.hints import error_in_words
from exactstage.kafka.rights import grant_command

_ASK_SECONDS = 5.0
_LIMITS = ("group.min.session.timeout.ms", "group.max.session.timeout.ms")


async def dead_membership(
    error: Exception, group: str, session_timeout_seconds: float, connection: Mapping[str, Any]
) -> FailStop:
    """Return the failure of a worker whose membership ended with ``error``."""
    if isinstance(error, FailStop):
        return error
    if isinstance(error, errors.InconsistentGroupProtocolError):
        return FailStop(
            f"group {group} ({setting('APP_ID')}) has members of another program, with another "
            f"assignor, so this worker can't join it. Find them with: kafka-consumer-groups.sh "
            f"--bootstrap-server {connection['bootstrap_servers']} --describe --members --group "
            f"{group}; end that program, then start the worker again"
        )
    if isinstance(error, errors.InvalidSessionTimeoutError):
        return FailStop(
            f"{setting('SESSION_TIMEOUT_SECONDS')}={session_timeout_seconds:g} is outside the "
            f"limits "
            f"of the brokers ({await _session_limits(connection)}); change it, or the brokers' "
            f"configuration, then start the worker again"
        )
    if isinstance(error, errors.GroupAuthorizationFailedError):
        return not_allowed_in_group(group, connection)
    return FailStop(
        f"the membership in group {group} is dead: {error_in_words(error)}; the worker has to be "
        f"started again"
    )


def not_allowed_in_group(group: str, connection: Mapping[str, Any]) -> NotAuthorized:
    """Return the failure of a worker that may not join its group."""
    command = grant_command(connection, ["Read"], "group", [group])
    return NotAuthorized(
        f"not authorized: this user lacks Read on the group {group}. Grant it, then start the "
        f"worker again: {command}"
    )


async def _session_limits(connection: Mapping[str, Any]) -> str:
    """Return the brokers' limits in words; only their names if they can't be read."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            values = await _broker_configuration(connection)
    except (errors.KafkaError, OSError, FailStop):
        values = {}
    return ", ".join(f"{name}={values[name]}" if name in values else name for name in _LIMITS)


async def _broker_configuration(connection: Mapping[str, Any]) -> dict[str, str]:
    """Return the configuration of one broker; all brokers should have the same."""
    async with open_admin(connection) as admin:
        cluster = await admin.describe_cluster()
        node = str(cluster["brokers"][0]["node_id"])
        found = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, node)])
        return {
            entry[0]: entry[1]
            for response in found
            for _, _, _, _, entries in response.resources
            for entry in entries
        }
