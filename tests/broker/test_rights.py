"""A broker with an authorizer and one user for each role, who has the least rights and no more.

The case O8. What is set here is ``payments.doctor.rights.GRANTS``, from which docs/security.md is
made.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from pydantic import SecretStr

from exactstage.config_watch import ConfigWatch
from exactstage.errors import FailStop
from exactstage.hosting.app import rights_of
from exactstage.kafka import KafkaLog
from exactstage.kafka.connection import Connection
from exactstage.kafka.rights import Needed, Right, missing_rights, require_rights
from payments.client import (
    AccountsUnavailable,
    DeadlineExceeded,
    PaymentsClient,
    PaymentsClientError,
    RightsMissing,
)
from payments.doctor.rights import GRANTS, Rule, commands, rules
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.topics.file import PACKAGED, read_topics
from tests import command_line
from tests.broker_fixture import broker_folder, process_environment
from tests.command_line import Ended
from tools.dev.broker import kafka_version
from tools.dev.local_broker import LocalBroker
from tools.dev.ports import free_ports

from .client import WorkerProcess

pytestmark = [pytest.mark.broker, pytest.mark.compiled]

USERS = ("worker", "client", "operator", "recovery", "nobody")
PASSWORD = "a-password"  # noqa: S105 - of a broker that lives for this test
APP = "guarded"
LIMIT_SECONDS = 60.0


class Guarded:
    """The broker as each user sees it."""

    def __init__(self, port: int, admin: str) -> None:
        self._port = port
        self._admin = AdminClient({"bootstrap.servers": admin, "log_level": 0})
        self.open = self._settings(brokers=admin)

    def _settings(self, **values: object) -> Settings:
        given = {"app_id": APP, "topic_prefix": "g.", "partitions": 2, "opening_balance": 1000}
        return Settings.model_validate(given | values)

    def settings(self, user: str) -> Settings:
        """Return the settings of one user."""
        return self._settings(
            brokers=f"127.0.0.1:{self._port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_username=user,
            sasl_password=SecretStr(PASSWORD),
            delivery_timeout_seconds=20.0,
        )

    def grant(self, user: str, granted: Collection[Rule]) -> None:
        """Set ACLs, and wait until they hold."""
        made = self._admin.create_acls([AclBinding(*_acl(rule, user)) for rule in granted])
        for done in made.values():
            done.result(timeout=LIMIT_SECONDS)
        for rule in granted:
            self._wait(rule, user, holds=True)

    def revoke(self, user: str, rule: Rule) -> None:
        """Take one ACL away."""
        [done] = self._admin.delete_acls([AclBindingFilter(*_acl(rule, user))]).values()
        assert len(done.result(timeout=LIMIT_SECONDS)) == 1
        self._wait(rule, user, holds=False)

    def _wait(self, rule: Rule, user: str, *, holds: bool) -> None:
        """Wait until the broker has heard of a change, which its controller has made."""
        deadline = time.monotonic() + LIMIT_SECONDS
        described = AclBindingFilter(*_acl(rule, user))
        while bool(self._admin.describe_acls(described).result(timeout=LIMIT_SECONDS)) != holds:
            assert time.monotonic() < deadline

    def take_all(self, user: str) -> None:
        """Take all ACLs of a user away."""
        every = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type] # any name
            ResourcePatternType.ANY,
            f"User:{user}",
            None,  # type: ignore[arg-type] # any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        [done] = self._admin.delete_acls([every]).values()
        done.result(timeout=LIMIT_SECONDS)


def _acl(rule: Rule, user: str) -> tuple[Any, ...]:
    kinds = {"cluster": "BROKER", "transactional-id": "TRANSACTIONAL_ID"}
    operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", rule.operation).upper()
    return (
        ResourceType[kinds.get(rule.resource, rule.resource.upper())],
        rule.name,
        ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """Return a broker where nobody may do what is not granted, with the rights of each role."""
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    protocols = "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_PLAINTEXT"
    extra = {
        # A default of the broker: all that is written is compressed, journals too.
        "compression.type": "lz4",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",  # The listeners without a login: the brokers' own.
        "listener.security.protocol.map": protocols,
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="broker" password="unused" {users};'
        ),
    }
    port = free_ports(1)[0]
    with broker_folder() as data:
        broker = LocalBroker(version=kafka_version(), folder=data, secure_port=port, extra=extra)
        broker.start()
        try:
            made = Guarded(port, broker.bootstrap)
            for role in GRANTS:
                made.grant(role, list(rules(role, made.open)))
            yield made
        finally:
            broker.stop()


@pytest.fixture(scope="module", autouse=True)
def topics(guarded: Guarded) -> None:
    """Let the operator create the topics, with the operator's rights."""
    applied = run(guarded, "operator", "topics", "apply")
    assert applied.exit_code == 0, applied.output


def run(guarded: Guarded, user: str, *arguments: str) -> Ended:
    """Run the command as one user."""
    environment = process_environment(guarded.settings(user))
    given = {name: text for name, text in environment.items() if name.startswith("PAYMENTS_")}
    return command_line.run(*arguments, environment=given)


@pytest.mark.kafka39
async def test_each_role_does_its_work_with_its_least_rights(guarded: Guarded) -> None:
    """No role has IdempotentWrite on the cluster: Write on any topic includes it (KIP-679)."""
    worker = WorkerProcess(guarded.settings("worker"))
    try:
        await worker.start()
        async with PaymentsClient(settings=guarded.settings("client")) as client:
            assert (await client.make("p1", account="abc", amount=100)).outcome == "completed"
            await worker.kill()
            await worker.start()  # A takeover reads what the one before wrote.
            assert (await client.make("p1", account="abc", amount=100)).replayed
            balance = await client.account("abc")
            assert balance is not None
            assert balance.balance == 900
            assert len(await client.entries("abc") or ()) == 2
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()


@pytest.mark.parametrize(
    "arguments",
    [("topics", "check"), ("verify",), ("dead-letters", "list")],
    ids=lambda arguments: arguments[0],
)
def test_the_operator_needs_no_more_than_its_rights(
    guarded: Guarded, arguments: tuple[str, ...]
) -> None:
    done = run(guarded, "operator", *arguments)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("role", [*GRANTS, "gateway"])
def test_doctor_is_content_with_exactly_the_rights_of_a_role(guarded: Guarded, role: str) -> None:
    user = "client" if role == "gateway" else role
    done = run(guarded, user, "doctor", "--role", role)
    assert done.exit_code == 0, done.output
    assert f"all that a {user} needs" in done.stdout
    assert "--operation" not in done.output, "nobody gets more than the table says"


def test_doctor_says_which_role_the_rights_are_enough_for(guarded: Guarded) -> None:
    for role in GRANTS:
        done = run(guarded, role, "doctor", "--no-fencing")
        assert done.exit_code == 0, done.output
        assert re.search(f"rights this user: enough for: .*{role}", done.stdout), done.stdout
        assert "--operation" not in done.output
    refused = run(guarded, "nobody", "doctor", "--no-fencing")
    assert refused.exit_code == 2
    assert "not enough for any role" in refused.stdout
    assert "a worker needs Read on g.payments.commands" in refused.stdout


def test_a_client_that_only_pays_is_no_problem(guarded: Guarded) -> None:
    payer = [rule for rule in rules("client", guarded.open) if not rule.optional]
    guarded.grant("nobody", payer)
    try:
        done = until(guarded, "nobody", "doctor", "--role", "client", exit_code=0)
        assert "warning  rights g.accounts.ledger: lacks Read" in done.stdout
    finally:
        guarded.take_all("nobody")


def until(guarded: Guarded, user: str, *arguments: str, exit_code: int) -> Ended:
    """Run a command until the broker has heard of a change of ACLs, which its controller has."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (done := run(guarded, user, *arguments)).exit_code != exit_code:
        assert time.monotonic() < deadline, done.output
    return done


def test_doctor_names_each_right_that_a_worker_lacks(guarded: Guarded) -> None:
    for rule in rules("worker", guarded.open):
        guarded.revoke("worker", rule)
        try:
            arguments = ("doctor", "--role", "worker", "--no-fencing")
            done = until(guarded, "worker", *arguments, exit_code=2)
            problems = [each for each in done.stdout.splitlines() if each.startswith("problem")]
            assert len(problems) == 1, done.stdout
            [line] = problems
            assert f"lacks {rule.operation}" in line
            assert f"--allow-principal User:worker --operation {rule.operation} " in line
            assert f"--{rule.resource} {rule.name}" in line
            assert rule.prefixed == ("--resource-pattern-type prefixed" in line)
        finally:
            guarded.grant("worker", [rule])


async def test_a_running_worker_tells_of_a_right_that_only_its_next_start_needs(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """Rights that it needs for its work end it, with the same words, when it meets the refusal."""
    settings = guarded.settings("worker")
    stages = [payments_stage(settings), accounts_stage(settings)]
    log = KafkaLog(settings.connection(), rights=rights_of(stages))
    await log.start([stage.changelog for stage in stages])
    journals = [stage.changelog for stage in stages]
    watch = ConfigWatch(
        log, inputs=stages[0].inputs, journals=journals, keeps={}, between_seconds=300
    )
    [rule] = [
        rule
        for rule in rules("worker", settings)
        if (rule.name, rule.operation) == ("g.payments.results", "Read")
    ]
    guarded.revoke("worker", rule)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (told := [line for line in caplog.messages if "its next start" in line]):
                await watch.look()
    finally:
        guarded.grant("worker", [rule])
        await log.close()
    assert told[0].startswith(
        "this worker continues, but its next start is refused: not authorized: this user lacks "
        "Read on g.payments.results. Grant it: kafka-acls.sh "
    )


def test_the_recovery_commands_need_no_more_than_its_rights(guarded: Guarded) -> None:
    """Each changes something but adopt, for which nothing is to be adopted here."""
    sent = Producer({"bootstrap.servers": guarded.open.brokers, "log_level": 0})
    at: list[Message] = []
    topic = guarded.open.topic("payments.commands")
    sent.produce(topic, b"{}", b"p9", 0, on_delivery=lambda _, message: at.append(message))
    assert sent.flush(LIMIT_SECONDS) == 0
    end = str((at[0].offset() or 0) + 1)
    for arguments in (
        ("journal", "inspect"),
        ("journal", "adopt", "--yes"),
        ("journal", "repair", "--yes"),
        ("rebuild", "--replace", "--yes"),
        ("journal", "skip", "--topic", topic, "--partition", "0", "--to", end, "--yes"),
    ):
        done = run(guarded, "recovery", *arguments)
        assert done.exit_code == 0, done.output
    new = guarded.open.model_copy(update={"topic_prefix": "n.", "app_id": "new"})
    guarded.grant("recovery", list(rules("recovery", new)))
    words = ("--partitions", "3", "--to-prefix", "n.", "--to-app", "new")
    for given in (words, (*words, "--yes")):
        done = run(guarded, "recovery", "repartition", *given)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("rebuild", "--replace", "--yes"),
        ("journal", "repair", "--yes"),
        ("journal", "adopt", "--yes"),
        (
            "journal",
            "skip",
            "--topic",
            "g.payments.commands",
            "--partition",
            "0",
            "--lost",
            "--yes",
        ),
    ],
    ids=" ".join,
)
def test_a_recovery_command_names_all_rights_that_are_lacking(
    guarded: Guarded, arguments: tuple[str, ...]
) -> None:
    done = run(guarded, "operator", *arguments)
    assert done.exit_code == 1
    assert "not authorized: this user lacks " in done.stderr
    assert "Write on the transactional id guarded-*" in done.stderr
    assert "Write and Delete on guarded-accounts-changelog" in done.stderr
    assert "nothing was changed" in done.stderr
    [_, grants] = done.stderr.split("user recovery): ")
    assert f"--operation Write --transactional-id {APP}- --resource-pattern-type prefixed" in grants
    assert "--operation Delete --topic guarded-accounts-changelog" in grants


def test_a_dry_run_without_rights_says_so_with_the_grants(guarded: Guarded) -> None:
    words = ("--partitions", "3", "--to-prefix", "m.", "--to-app", "other")
    for arguments in (("rebuild",), ("repartition", *words), ("journal", "inspect")):
        done = run(guarded, "nobody", *arguments)
        assert done.exit_code == 1
        assert "not authorized: this user lacks " in done.stderr, done.stderr
        assert "kafka-acls.sh" in done.stderr
    done = run(guarded, "operator", "repartition", *words)
    assert done.exit_code == 1
    assert "Describe on the group other" in done.stderr


WORKER_STOPS = [
    Rule("topic", "g.payments.results", prefixed=False, operation="Read"),
    Rule("transactional-id", f"{APP}-", prefixed=True, operation="Write"),
    Rule("group", APP, prefixed=False, operation="Read"),
]


@pytest.mark.parametrize("rule", WORKER_STOPS, ids=lambda rule: rule.resource)
async def test_a_worker_that_lacks_a_right_ends_at_its_start_and_says_which(
    guarded: Guarded, rule: Rule
) -> None:
    """Others: each topic in the next test."""
    guarded.revoke("worker", rule)
    worker = WorkerProcess(guarded.settings("worker"))
    try:
        worker.spawn()
        assert await worker.ended() == 70
        log = worker.log.read_text()
        [line] = [x for x in log.splitlines() if "not authorized" in x] or [log]
        assert f"lacks {rule.operation} on" in line
        assert f"--allow-principal User:worker --operation {rule.operation}" in line
        assert f"--{rule.resource} {rule.name}" in line
    finally:
        guarded.grant("worker", [rule])
        await worker.kill()
        worker.log.unlink()


async def until_missing(connection: Connection, needed: Needed, topics: set[str]) -> None:
    """Wait until the broker has heard of a change of ACLs, which its controller has."""
    while set(await missing_rights(connection, needed)) != topics:
        pass


def worker_topics(settings: Settings) -> dict[str, set[Right]]:
    return rights_of([payments_stage(settings), accounts_stage(settings)])


def test_what_a_worker_tries_at_its_start_is_what_the_table_grants(guarded: Guarded) -> None:
    granted: dict[str, set[str]] = {}
    for rule in rules("worker", guarded.open):
        if rule.resource == "topic":
            granted.setdefault(rule.name, set()).add(rule.operation)
    tried = worker_topics(guarded.open)
    assert {topic: {right.word for right in rights} for topic, rights in tried.items()} == granted


async def test_every_right_on_a_topic_is_missed_by_name(guarded: Guarded) -> None:
    settings = guarded.settings("nobody")
    needed = worker_topics(settings)
    granted = [
        Rule("topic", topic, prefixed=False, operation=right.word)
        for topic, rights in needed.items()
        for right in rights
    ]
    connection = Connection(settings.connection(), delivery_timeout_seconds=20)
    guarded.grant("nobody", granted)
    await connection.start([])
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await until_missing(connection, needed, set())
            for rule in granted:
                guarded.revoke("nobody", rule)
                await until_missing(connection, needed, {rule.name})
                with pytest.raises(FailStop, match="not authorized") as missed:
                    await require_rights(connection, needed)
                assert f"--operation {rule.operation}" in str(missed.value)
                assert f"--topic {rule.name}" in str(missed.value)
                guarded.grant("nobody", [rule])
                await until_missing(connection, needed, set())
    finally:
        await connection.close()
        guarded.take_all("nobody")


@asynccontextmanager
async def lacks(guarded: Guarded, user: str, rule: Rule) -> AsyncIterator[None]:
    """Take one right away for as long as the block lasts."""
    guarded.revoke(user, rule)
    connection = Connection(guarded.settings(user).connection(), delivery_timeout_seconds=20)
    await connection.start([])
    needed = {rule.name: [Right[rule.operation.upper()]]}
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await until_missing(connection, needed, {rule.name})
            yield
        guarded.grant(user, [rule])
        async with asyncio.timeout(LIMIT_SECONDS):
            await until_missing(connection, needed, set())
    finally:
        await connection.close()
        guarded.grant(user, [rule])


RESULTS = Rule("topic", "g.payments.results", prefixed=False, operation="Read")
SEEN = Rule("topic", "g.payments.results", prefixed=False, operation="Describe")
COMMANDS = Rule("topic", "g.payments.commands", prefixed=False, operation="Write")
COMMANDS_SEEN = Rule("topic", "g.payments.commands", prefixed=False, operation="Describe")
LACKS_COMMANDS = "not authorized: this user lacks Write on g.payments.commands. Grant it: kafka-acl"
LACKS_RESULTS = "not authorized: this user lacks Read on g.payments.results. Grant it: kafka-acls"


async def until_so(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0.01)


async def test_a_client_whose_right_to_send_is_taken_away_says_so_until_it_is_given_back(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """The other right of a client, to read results, is below; those on accounts come after it."""
    guarded.grant("client", [COMMANDS_SEEN])
    async with PaymentsClient(settings=guarded.settings("client")) as client:
        with suppress(DeadlineExceeded):  # No worker runs: it is sent and not answered.
            await client.get("p1", deadline_seconds=0.5)
        async with lacks(guarded, "client", COMMANDS):
            with pytest.raises(RightsMissing, match="this user lacks Write on g"):
                await client.make("p1", account="abc", amount=100, deadline_seconds=20)
            await until_so(lambda: LACKS_COMMANDS in (client.trouble() or ""))
            http = asgi(client)
            for answer in (
                await http.post("/v1/payments/p2", json={"account": "abc", "amount": 1}),
                await http.get("/health/ready"),
            ):
                assert answer.status_code == 503
                assert answer.json()["type"] == "/problems/rights-missing"
                assert "this user lacks Write on g.payments.commands" in answer.json()["detail"]
        await until_so(client.healthy)  # It goes on by itself.
    assert sum("g.payments.commands" in line for line in caplog.messages) == 1


async def test_a_client_that_may_not_read_results_is_told_before_it_sends(
    guarded: Guarded,
) -> None:
    """It may describe them, so connecting alone would go well. Others: accounts, below."""
    guarded.grant("client", [SEEN])
    settings = guarded.settings("client")
    async with PaymentsClient(settings=settings, connect_seconds=0) as before:
        with suppress(DeadlineExceeded):  # No worker runs: it is sent and not answered.
            await before.get("p1", deadline_seconds=0.5)
        async with lacks(guarded, "client", RESULTS):
            with pytest.raises(RightsMissing, match=LACKS_RESULTS):
                await PaymentsClient(settings=settings).__aenter__()
            async with PaymentsClient(settings=settings, connect_seconds=0) as patient:
                with pytest.raises(RightsMissing, match=LACKS_RESULTS):
                    await patient.make("p1", account="abc", amount=100, deadline_seconds=20)
                assert LACKS_RESULTS in (patient.trouble() or "")
            for words in (("get", "p"), ("make", "p", "--account", "a", "--amount", "1")):
                done = await asyncio.to_thread(run, guarded, "client", *words)
                assert (done.exit_code, done.stdout) == (1, "")
                assert done.stderr.startswith(f"Error: {LACKS_RESULTS}")
            await until_so(lambda: LACKS_RESULTS in (before.trouble() or ""))
            with pytest.raises(RightsMissing, match=LACKS_RESULTS):
                await before.get("p1", deadline_seconds=20)
            http = asgi(before)
            for answer in (
                await http.get("/v1/payments/p1"),
                await http.post("/v1/payments/p2", json={"account": "abc", "amount": 1}),
                await http.get("/health/ready"),
            ):
                assert answer.status_code == 503
                assert answer.json()["type"] == "/problems/rights-missing"
                told = answer.json()["detail"]
                assert "not authorized: this user lacks Read on g.payments.results" in told
        await until_so(before.healthy)  # It goes on by itself.
    guarded.revoke("client", SEEN)


def asgi(client: PaymentsClient) -> httpx.AsyncClient:
    """Return a client of a gateway on this one."""
    gateway = Gateway(client, GatewaySettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://127.0.0.1")


async def test_a_client_that_only_pays_is_silent_and_told_what_accounts_need(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    payer = [rule for rule in rules("client", guarded.open) if not rule.optional]
    guarded.grant("nobody", payer)
    try:
        await asyncio.to_thread(until, guarded, "nobody", "doctor", "--role", "client", exit_code=0)
        async with PaymentsClient(settings=guarded.settings("nobody")) as client:
            assert client.trouble() is None
            assert "not authorized" not in caplog.text
            with pytest.raises(AccountsUnavailable, match="lacks Read on") as refused:
                await client.entries("abc", deadline_seconds=20)
            assert f"{APP}-accounts-changelog, g.accounts.ledger" in str(refused.value)
            assert "--operation Read --topic" in str(refused.value)
            with pytest.raises(AccountsUnavailable, match="not authorized"):
                await client.account("abc", deadline_seconds=20)
        done = await asyncio.to_thread(run, guarded, "nobody", "account", "abc")
        assert done.exit_code == 1
        assert "not authorized: this user lacks Read on" in done.stderr
        assert "not authorized for this client" not in caplog.text, "a line of aiokafka"
    finally:
        guarded.take_all("nobody")


async def test_a_client_without_rights_is_told_so(guarded: Guarded) -> None:
    client = PaymentsClient(settings=guarded.settings("nobody"), connect_seconds=20)
    with pytest.raises(PaymentsClientError, match="not authorized"):
        await client.__aenter__()


def test_topics_check_without_rights_names_what_is_missing(guarded: Guarded) -> None:
    refused = run(guarded, "nobody", "topics", "check")
    assert refused.exit_code == 2
    assert "lacks Describe on g." in refused.stderr
    assert "--operation Describe --topic g." in refused.stderr
    assert "--topic g.accounts.ledger" in refused.stderr
    seen = [
        Rule("topic", topic.name, prefixed=False, operation="Describe")
        for topic in read_topics(PACKAGED, guarded.open)
    ]
    guarded.grant("nobody", seen)
    try:
        refused = run(guarded, "nobody", "topics", "check")
        assert refused.exit_code == 2
        assert "lacks DescribeConfigs on " in refused.stderr
        assert "Traceback" not in refused.output
    finally:
        for rule in seen:
            guarded.revoke("nobody", rule)


def test_the_commands_of_the_table_name_every_rule(guarded: Guarded) -> None:
    for role in GRANTS:
        text = "\n".join(commands(role, guarded.open, f"User:{role}"))
        for rule in rules(role, guarded.open):
            assert f"--operation {rule.operation}" in text
            assert rule.resource == "cluster" or f"--{rule.resource} {rule.name}" in text
