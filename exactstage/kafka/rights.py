"""Rights: what the brokers let this process do with topics, asked before it does anything.

A right that is missing is often met late: a worker that may write the results and not read them
goes well until the first takeover. Metadata tells all rights at once (KIP-430), without a trial.
"""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any

from aiokafka import errors

from exactstage.errors import NotAuthorized

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .wire import Metadata


class Right(IntEnum):
    """Operations of Kafka's ACLs, by their codes in the protocol (``AclOperation``)."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def word(self) -> str:
        """Its name as ``kafka-acls.sh`` has it, such as ``DescribeConfigs``."""
        return "".join(part.capitalize() for part in self.name.split("_"))


Needed = Mapping[str, Collection[Right]]
"""The rights that are needed, by topic."""

_NOT_TOLD = -(2**31)


async def missing_rights(connection: Connection, needed: Needed) -> dict[str, frozenset[Right]]:
    """Return what is missing, by topic. A topic that does not exist is left out.

    A user who may not even describe a topic is told that all is missing, whether it exists or not.
    """
    patience = RetryPolicy("asking for rights", connection.delivery_timeout_seconds)
    while True:
        try:
            node = connection.client.get_random_node()
            if node is None:
                raise errors.NodeNotReadyError
            _, found = await connection.send(node, Metadata(list(needed), rights=True))
        except RETRIABLE as error:
            await patience.after(error)
            await connection.refresh()
        else:
            break
    missing: dict[str, frozenset[Right]] = {}
    for topic, code, _, rights in found:
        if error_for(code) is errors.TopicAuthorizationFailedError:
            missing[topic] = frozenset(needed[topic])
        elif code == 0 and rights != _NOT_TOLD:
            missing[topic] = frozenset(right for right in needed[topic] if not rights >> right & 1)
    return {topic: rights for topic, rights in missing.items() if rights}


async def require_rights(connection: Connection, needed: Needed) -> None:
    """Raise ``NotAuthorized`` with what is missing and the command that grants it."""
    missing = await missing_rights(connection, needed)
    if missing:
        raise NotAuthorized(refusal(missing, connection.arguments))


def refusal(missing: Needed, arguments: Mapping[str, Any]) -> str:
    """Return in one line which rights are missing, and how to grant them."""
    by_rights: dict[tuple[Right, ...], list[str]] = {}
    for topic, rights in missing.items():
        by_rights.setdefault(tuple(sorted(rights)), []).append(topic)
    what = "; ".join(
        f"{' and '.join(right.word for right in rights)} on {', '.join(topics)}"
        for rights, topics in by_rights.items()
    )
    how = " && ".join(
        grant_command(arguments, [right.word for right in rights], "topic", topics)
        for rights, topics in by_rights.items()
    )
    return f"not authorized: this user lacks {what}. Grant it: {how}"


def denied(
    error: BaseException, arguments: Mapping[str, Any], topic: str, right: Right
) -> NotAuthorized | None:
    """Return the failure of what needs a right on a topic; None for other errors."""
    if isinstance(error, errors.TopicAuthorizationFailedError):
        return NotAuthorized(refusal({topic: [right]}, arguments))
    return None


def grant_command(
    arguments: Mapping[str, Any], operations: Collection[str], resource: str, names: Collection[str]
) -> str:
    """Return the command that grants operations on resources to the user of these arguments."""
    user = arguments.get("sasl_plain_username") or "NAME"
    parts = [
        f"kafka-acls.sh --bootstrap-server {arguments['bootstrap_servers']} --add",
        f"--allow-principal User:{user}",
        *(f"--operation {operation}" for operation in operations),
        *(f"--{resource} {name}" for name in names if name),
    ]
    return " ".join(parts)
