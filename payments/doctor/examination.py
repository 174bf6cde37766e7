"""The examination behind ``payments doctor``: the checks of a start, without its side effects.

Each finding has its subject, place, value and next step. Nothing of an installation is written,
claimed or created: clock and fencing are tried on a topic of their own.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiokafka import codec
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from exactstage import Stage, TopicPartition
from exactstage.errors import FailStop, NotOurs
from exactstage.inspection import (
    MOVED_KEY,
    differing_settings,
    partitions_of,
    require_own_installation,
)
from exactstage.kafka import WORTH_LOGGING_SECONDS, Connection, open_admin, prove_fencing
from exactstage.log import Bounds
from payments.broker_time import ahead_seconds
from payments.doctor.rights import GRANTS, Role, rules
from payments.doctor.rights_held import by_resource, grant, lacking
from payments.recovery.errors import RecoveryRefused
from payments.recovery.fitting import misfit
from payments.recovery.inspecting import Inspected, inspect
from payments.recovery.installation import open_log, stages_of
from payments.recovery.repairing import foreign_records
from payments.settings import Settings
from payments.topics.cluster import TopicsError, cluster
from payments.topics.file import Topic

FENCING_ROUNDS = 20
COPIES_IN_PRODUCTION = 3
LARGEST_BATCH_BYTES = 1_048_588
"""``max.message.bytes`` of most topics of topics.yaml; a topic's own value wins over a broker's."""

INTERNAL_TOPICS = (
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
)
AS_OPERATOR = "run payments doctor as the operator too"

_NOT_AUTHORIZED = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
CONNECT_SECONDS = 5.0
"""Time to reach a broker, as in the other commands."""

SESSION_LIMIT = "group.max.session.timeout.ms"

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``where`` is a topic or a broker, ``next_step`` is empty where all is well."""

    level: Level
    what: str
    where: str
    value: str
    next_step: str = ""


async def examine(
    settings: Settings, wanted: tuple[Topic, ...], *, fencing: bool, role: Role | None = None
) -> AsyncIterator[Finding]:
    """Yield findings: connection, rights, topics, journals, brokers, codecs, fencing, clock.

    This user must have the rights of ``role``, or without it those of any one role. A client has
    rights on its own topics only, so the rest is not examined for it.

    Raises ``FailStop`` when no broker answers: then there is nothing more to examine.
    """
    arguments = settings.connection()
    patience_seconds = settings.request_timeout_seconds
    connection = Connection(
        arguments, delivery_timeout_seconds=min(CONNECT_SECONDS, patience_seconds)
    )
    await connection.start([])
    connection.delivery_timeout_seconds = patience_seconds
    try:
        yield Finding("ok", "connection", settings.brokers, settings.security_protocol)
        async for finding in _reported("rights", _rights(connection, settings, role)):
            yield finding
    finally:
        await connection.close()
    for finding in _codecs():
        yield finding
    if role == "client":
        return
    for what, findings in (
        ("topics", _topics(settings, wanted)),
        ("installation", _installation(settings)),
        ("brokers", _brokers(arguments, settings)),
        ("fencing", _fencing(arguments, settings) if fencing else _clock(settings)),
    ):
        async for finding in _reported(what, findings):
            yield finding


async def _reported(what: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """Yield findings; an error that ends the examination of ``what`` is a finding too."""
    try:
        async for finding in findings:
            yield finding
    except (FailStop, KafkaError, TopicsError, RecoveryRefused) as error:
        text = str(error) or type(error).__name__
        if text.startswith("not authorized") or isinstance(error, _NOT_AUTHORIZED):
            # A worker does not need the operator's rights, so no grant is advised.
            text = text.partition("Grant it")[0].rstrip(" .(")
            yield Finding("warning", what, "not examined", text, AS_OPERATOR)
        else:
            # The text has the next step.
            yield Finding("problem", what, "cluster", text)


async def _rights(
    connection: Connection, settings: Settings, role: Role | None
) -> AsyncIterator[Finding]:
    """Examine every right of a role, or name the roles for which this user has enough rights."""
    if role is not None:
        lacks = await lacking(connection, rules(role, settings), settings.partitions)
        for rule, operations in by_resource(lacks):
            level: Level = "warning" if rule.optional else "problem"
            value = f"lacks {', '.join(operations)}, which a {role} needs"
            if rule.optional:
                value += " to read accounts"
            command = grant(connection.arguments, rule, operations)
            yield Finding(level, "rights", rule.words(), value, command)
        if not lacks:
            yield Finding("ok", "rights", "this user", f"all that a {role} needs")
        return
    short: dict[Role, str] = {}
    enough: list[Role] = []
    for each in GRANTS:
        lacks = await lacking(connection, rules(each, settings), settings.partitions)
        required = [rule for rule in lacks if not rule.optional]
        if required:
            short[each] = f"{required[0].operation} on {required[0].words()}"
        else:
            enough.append(each)
    if enough:
        value = f"enough for: {', '.join(enough)}"
        yield Finding("ok", "rights", "this user", value)
        return
    needs = "; ".join(f"a {name} needs {what}" for name, what in short.items())
    step = "payments doctor --role ROLE names all that one role lacks, and the grants"
    yield Finding("problem", "rights", "this user", f"not enough for any role: {needs}", step)


async def _topics(settings: Settings, wanted: tuple[Topic, ...]) -> AsyncIterator[Finding]:
    async with cluster(settings) as connected:
        plan = await connected.plan(wanted)
    for change in plan.changes:
        value = f"{change.sign} {change.text}"
        yield Finding("problem", "topics", "topics.yaml", value, "payments topics apply")
    if not plan.changes:
        yield Finding("ok", "topics", f"{len(wanted)} topics", "as topics.yaml says")


async def _installation(settings: Settings) -> AsyncIterator[Finding]:
    """Examine whether journals and topics belong together, and to this installation.

    All journals are read, so this takes as long as a worker's restore.
    """
    stages = stages_of(settings)
    async with open_log(settings) as log:
        try:
            await require_own_installation(log, settings.app_id, stages, settings.partitions)
        except NotOurs as error:
            yield Finding("problem", "installation", settings.app_id, str(error))
            return
        await log.require_configs(
            inputs=[topic for stage in stages for topic in stage.inputs],
            journals=[stage.changelog for stage in stages],
        )
        faults = 0
        foreign = foreign_records(log, settings.partitions)
        found = await inspect(log, stages, range(settings.partitions), foreign)
        for journal in found:
            for finding in _journal(journal):
                faults += 1
                yield finding
        if not faults:
            failure = await misfit(log, settings.app_id, stages, settings.partitions, found)
            if failure is not None:
                faults += 1
                yield Finding("problem", "journals", settings.app_id, str(failure))
        ledger = settings.topics.ledger
        bounds = await log.bounds(partitions_of(ledger, settings.partitions))
    for finding in (*judge_ledger(bounds), *_settings(found, stages)):
        yield finding
    if not faults:
        value = "nothing is lost, nothing is foreign"
        yield Finding("ok", "journals", f"{len(stages) * settings.partitions} journals", value)


def judge_ledger(bounds: Mapping[TopicPartition, Bounds]) -> Iterator[Finding]:
    """Yield partitions of the ledger without first entries: a worker runs, a rebuild can't."""
    for at, (first, _) in bounds.items():
        if first > 0:
            value = f"begins at offset {first}: earlier entries are gone, so no rebuild is possible"
            step = "restore them from a backup; keep the ledger for ever: payments topics apply"
            yield Finding("warning", "ledger", str(at), value, step)


def _settings(journals: Sequence[Inspected], stages: Sequence[Stage]) -> Iterator[Finding]:
    """Yield the settings whose values here differ from those of earlier owners of partitions."""
    here = {stage.name: stage.settings for stage in stages}
    differing: dict[tuple[str, str, str], list[int]] = {}
    for journal in journals:
        written = journal.held.identity
        if written is None:
            continue
        now = replace(written, settings=here[journal.stage])
        for name, (before, value) in differing_settings(written, now).items():
            partitions = differing.setdefault((name, before, value), [])
            partitions.append(written.partition)
    for (name, before, value), partitions in differing.items():
        where = f"partitions {', '.join(map(str, sorted(set(partitions))))}"
        message = f"workers decided with {before} there, here it is {value}"
        yield Finding("warning", name, where, message, "give all workers the same value")


def _journal(journal: Inspected) -> Iterator[Finding]:
    held, where = journal.held, str(journal.held.at)
    for each in held.unreadable:
        value = f"offsets {each.offset} to {each.last_offset} can't be read ({each.why})"
        yield Finding("problem", "journal", where, value, "payments rebuild --replace")
    for foreign in held.foreign:
        if foreign.undone:
            continue  # It stays until compaction removes it, and does no harm.
        if foreign.key == MOVED_KEY:
            value = "this installation was moved by payments repartition"
            step = "start workers with the settings of the new one"
            yield Finding("problem", "journal", where, value, step)
            continue
        value = f"offset {foreign.offset}, key {foreign.key!r}: {foreign.why}"
        yield Finding("problem", "foreign record", where, value, "payments journal repair")
    if held.rows and not held.checkpoints:
        value = "it has rows but no checkpoint"
        yield Finding("problem", "journal", where, value, "payments rebuild --replace")
    for topic in journal.tails_ahead:
        value = f"{topic} is ahead of it: records of the journal were lost"
        yield Finding("problem", "journal", where, value, "payments rebuild")
    if held.missing:
        value = f"checkpoints {held.missing} are not there"
        yield Finding("problem", "journal", where, value, "payments rebuild")
    yield from _inputs(journal)


def _inputs(journal: Inspected) -> Iterator[Finding]:
    where = str(journal.held.at)
    for source in journal.inputs:
        if source.truncated_at is not None:
            value = (
                f"continues at {source.topic} {source.position}, but the records that were handled "
                f"from {source.truncated_at} on are lost there"
            )
            yield Finding("problem", "journal", where, value, "payments journal skip --lost")
        elif source.lost:
            value = f"continues at {source.topic} {source.position}, {source.lost} records are gone"
            yield Finding("problem", "journal", where, value, "payments journal skip")


async def _brokers(arguments: Mapping[str, Any], settings: Settings) -> AsyncIterator[Finding]:
    async with open_admin(arguments) as admin:
        nodes = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        for node in nodes:
            resource = ConfigResource(ConfigResourceType.BROKER, str(node))
            for response in await admin.describe_configs([resource]):
                for code, message, _, _, entries in response.resources:
                    if code:
                        value = f"its configuration can't be read: {message}"
                        yield Finding("warning", "broker", str(node), value, AS_OPERATOR)
                        continue
                    values = {entry[0]: entry[1] for entry in entries}
                    for finding in judge_broker(node, values, len(nodes), settings):
                        yield finding


def judge_broker(
    node: int, values: Mapping[str, str], brokers: int, settings: Settings
) -> Iterator[Finding]:
    """Yield the faults in the configuration of one broker, or that there are none."""
    found = [*_judge_safety(values, settings), *_judge_limits(values, brokers, settings)]
    for level, name, next_step in found:
        yield Finding(level, "broker", str(node), f"{name}={values[name]}", next_step)
    if not found:
        yield Finding("ok", "broker", str(node), "its configuration fits")


def _judge_safety(
    values: Mapping[str, str], settings: Settings
) -> Iterator[tuple[Level, str, str]]:
    production = settings.replication >= COPIES_IN_PRODUCTION
    if values.get("auto.create.topics.enable") == "true":
        step = "set it to false: a mistyped name makes a topic with other settings than topics.yaml"
        yield "warning", "auto.create.topics.enable", step
    if values.get("unclean.leader.election.enable") == "true":
        step = "set it to false: acknowledged records can be lost"
        yield "problem" if production else "warning", "unclean.leader.election.enable", step


def _judge_limits(
    values: Mapping[str, str], brokers: int, settings: Settings
) -> Iterator[tuple[Level, str, str]]:
    production = settings.replication >= COPIES_IN_PRODUCTION
    for name in INTERNAL_TOPICS:
        if name in values and int(values[name]) > brokers:
            yield "problem", name, f"set it to {brokers} or less: there are no more brokers"
    for name in INTERNAL_TOPICS[:2]:
        if production and name in values and int(values[name]) < COPIES_IN_PRODUCTION:
            yield "warning", name, "set it to 3: the loss of one broker would stop all workers"
    if int(values.get("message.max.bytes", LARGEST_BATCH_BYTES)) < LARGEST_BATCH_BYTES:
        step = f"set it to {LARGEST_BATCH_BYTES} or more, or max.message.bytes of each topic"
        yield "warning", "message.max.bytes", step
    session_ms = settings.session_timeout_seconds * 1000
    for name, shortest in (("group.min.session.timeout.ms", True), (SESSION_LIMIT, False)):
        if name in values and (session_ms < int(values[name])) is shortest:
            step = "change it or PAYMENTS_SESSION_TIMEOUT_SECONDS, which is outside"
            if session_ms != int(values[name]):
                yield "problem", name, step


def _codecs() -> Iterator[Finding]:
    checks: Mapping[str, Callable[[], bool]] = {
        "gzip": codec.has_gzip,
        "snappy": codec.has_snappy,
        "lz4": codec.has_lz4,
        "zstd": codec.has_zstd,
    }
    lacking = [name for name, is_there in checks.items() if not is_there()]
    if lacking:
        step = "install cramjam, which reads them"
        yield Finding("problem", "codecs", "this process", f"can't read {', '.join(lacking)}", step)
    else:
        yield Finding("ok", "codecs", "this process", ", ".join(checks))


async def _clock(settings: Settings) -> AsyncIterator[Finding]:
    """Compare the clocks; only the timestamp of an appended record has the broker's time."""
    yield judge_clock(await ahead_seconds(settings))


async def _fencing(arguments: Mapping[str, Any], settings: Settings) -> AsyncIterator[Finding]:
    """Prove fencing; its appends have the broker's time too."""
    topic = settings.topics.fencing_check
    report = await prove_fencing(arguments, topic, FENCING_ROUNDS)
    tried = report.refused + report.accepted
    value = f"{report.refused} of {tried} stale appends refused"
    if report.accepted or not tried:
        step = "run no worker on these brokers"
        yield Finding("problem", "fencing", topic, value, step)
    else:
        yield Finding("ok", "fencing", topic, value)
    yield judge_clock(report.ahead_seconds)


def judge_clock(ahead_seconds: float) -> Finding:
    """Return the finding for a difference between this machine's clock and the broker's."""
    if abs(ahead_seconds) < WORTH_LOGGING_SECONDS:
        return Finding("ok", "clock", "this machine", "agrees with the broker's")
    side = "ahead of" if ahead_seconds > 0 else "behind"
    value = f"{abs(ahead_seconds):.0f} s {side} the broker's, by which payments expire"
    step = "check the time synchronization (NTP) of this machine and of the brokers"
    return Finding("warning", "clock", "this machine", value, step)
