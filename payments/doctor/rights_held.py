"""Asks the brokers which of a role's rights this user lacks, on every kind of resource."""

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from exactstage.errors import NotAuthorized
from exactstage.kafka import (
    Connection,
    Right,
    grant_command,
    may_claim,
    may_describe_group,
    may_join_group,
    may_read_broker_settings,
    missing_rights,
)
from payments.doctor.rights import Role, Rule, rules
from payments.settings import Settings

_AT_ONCE = 16
_WORDS = {right.word: right for right in Right}


async def lacking(connection: Connection, needed: Iterable[Rule], partitions: int) -> list[Rule]:
    """Return the rules that this user lacks. Rights on a missing topic can't be checked.

    A prefix of transactional ids is tried with the names of all partitions.
    """
    every = list(dict.fromkeys(needed))
    topics: dict[str, set[Right]] = {}
    for rule in every:
        if rule.resource == "topic":
            topics.setdefault(rule.name, set()).add(_WORDS[rule.operation])
    missing = await missing_rights(connection, topics) if topics else {}
    found: list[Rule] = []
    for rule in every:
        if rule.resource == "topic":
            lacks = _WORDS[rule.operation] in missing.get(rule.name, ())
        else:
            lacks = not await _has(connection, rule, partitions)
        if lacks:
            found.append(rule)
    return found


async def _has(connection: Connection, rule: Rule, partitions: int) -> bool:
    match rule.resource, rule.operation:
        case "group", "Read":
            return await may_join_group(connection, rule.name)
        case "group", "Describe":
            return await may_describe_group(connection, rule.name)
        case "cluster", "DescribeConfigs":
            return await may_read_broker_settings(connection)
        case "transactional-id", "Write":
            return await _may_claim_all(connection, rule, partitions)
    message = f"there is no trial for {rule}"
    raise AssertionError(message)


async def _may_claim_all(connection: Connection, rule: Rule, partitions: int) -> bool:
    if rule.of_partitions:
        names = [f"{rule.name}{partition}" for partition in range(partitions)]
    else:
        names = [f"{rule.name}{uuid.uuid4().hex}"]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> bool:
        async with slots:
            return await may_claim(connection, name)

    return all(await asyncio.gather(*map(one, names)))


def by_resource(lacks: Iterable[Rule]) -> Iterator[tuple[Rule, list[str]]]:
    """Yield one rule of each resource, with all operations that are lacking on it."""
    found: dict[tuple[str, str], tuple[Rule, list[str]]] = {}
    for rule in lacks:
        found.setdefault((rule.resource, rule.name), (rule, []))[1].append(rule.operation)
    yield from found.values()


def grant(arguments: Mapping[str, Any], rule: Rule, operations: Sequence[str]) -> str:
    """Return the command that grants operations on the resource of a rule."""
    if rule.resource == "cluster":
        return f"{grant_command(arguments, operations, 'cluster', [])} --cluster"
    command = grant_command(arguments, operations, rule.resource, [rule.name])
    return f"{command} --resource-pattern-type prefixed" if rule.prefixed else command


async def require_role(role: Role, installations: Sequence[Settings], *, dry_run: bool) -> None:
    """Raise ``NotAuthorized`` with all rights of a role that are lacking, before any change.

    A dry run needs only the rights to read.
    """
    settings = installations[0]
    connection = Connection(
        settings.connection(), delivery_timeout_seconds=settings.request_timeout_seconds
    )
    await connection.start([])
    lacks: list[Rule] = []
    try:
        for each in installations:
            needed = [rule for rule in rules(role, each) if not (dry_run and rule.changes)]
            lacks += await lacking(connection, needed, each.partitions)
    finally:
        await connection.close()
    if lacks:
        parts = list(by_resource(lacks))
        what = "; ".join(
            f"{' and '.join(operations)} on {rule.words()}" for rule, operations in parts
        )
        how = " && ".join(grant(connection.arguments, *part) for part in parts)
        message = (
            f"not authorized: this user lacks {what}; nothing was changed. Grant it "
            f"(docs/security.md, user {role}): {how}"
        )
        raise NotAuthorized(message)
