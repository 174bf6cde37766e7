"""Rights: which operations on topics the brokers allow this process, checked before its work.

A missing right is often met late: a worker that may write the results but not read them works until
the first takeover. A metadata answer has all rights (KIP-430), so no trial is needed.
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
        """The name in ``kafka-acls.sh``, such as ``DescribeConfigs``."""
        return "".join(part.capitalize() for part in self.name.split("_"))


Needed = Mapping[str, Collection[Right]]
"""The rights that are needed, by topic."""

_NOT_REPORTED = -(2**31)


async def missing_rights(connection: Connection, needed: Needed) -> dict[str, frozenset[Right]]:
    """Return the missing rights, by topic. A topic that does not exist is left out.

    Without Describe on a topic, all rights are missing, whether the topic exists or not.
    """
    retry = RetryPolicy("asking for rights", connection.delivery_timeout_seconds)
    while True:
        try:
            node = connection.client.get_random_node()
            if node is None:
                raise errors.NodeNotReadyError
            _, found = await connection.send(node, Metadata(list(needed), rights=True))
        except RETRIABLE as error:
            await retry.after(error)
            await connection.refresh()
        else:
            break
    missing: dict[str, frozenset[Right]] = {}
    for topic, code, _, rights in found:
        if error_for(code) is errors.TopicAuthorizationFailedError:
            missing[topic] = frozenset(needed[topic])
        elif code == 0 and rights != _NOT_REPORTED:
            missing[topic] = frozenset(right for right in needed[topic] if not rights >> right & 1)
    return {topic: rights for topic, rights in missing.items() if rights}


async def require_rights(connection: Connection, needed: Needed) -> None:
    """Raise ``NotAuthorized`` with the missing rights and the command that grants them."""
    missing = await missing_rights(connection, needed)
    if missing:
        raise NotAuthorized(rights_refusal(missing, connection.arguments))


def rights_refusal(missing: Needed, arguments: Mapping[str, Any]) -> str:
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
    """Return ``NotAuthorized`` for a refusal by a missing right; None for other errors."""
    if isinstance(error, errors.TopicAuthorizationFailedError):
        return NotAuthorized(rights_refusal({topic: [right]}, arguments))
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
