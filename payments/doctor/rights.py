"""The least rights of each role on a broker with an authorizer, as data.

docs/security.md has the same table (``python -m tools.dev.readme`` puts it there), a test gives one
user for each role exactly these, and ``commands`` prints them for ``kafka-acls.sh``.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from payments.settings import TOPICS, Settings
from payments.topics.file import APP_PLACEHOLDER, full_name

Role = Literal["worker", "client", "operator", "recovery"]
Resource = Literal["topic", "group", "transactional-id", "cluster"]

FENCING_IDS = "fencing-"
"""Prefix of the transactional ids of the fencing check."""

PREFIXED = "*"
"""At the end of a name: the grant is for every name with this prefix."""


class Grant(NamedTuple):
    """Operations on resources of one kind, by the names of topics.yaml, and why."""

    resource: Resource
    names: tuple[str, ...]
    operations: tuple[str, ...]
    why: str
    optional: bool = False
    """Whether some users of this role need no such right."""


JOURNALS = ("{app}-payments-changelog", "{app}-accounts-changelog")
INTERNAL = (TOPICS.transfers, TOPICS.inbox)
PUBLIC = (
    TOPICS.results,
    TOPICS.account_results,
    TOPICS.ledger,
    TOPICS.payments_dead_letters,
    TOPICS.accounts_dead_letters,
)
COMMANDS = (TOPICS.commands, TOPICS.account_commands)
ALL = (*COMMANDS, *INTERNAL, *PUBLIC, *JOURNALS, TOPICS.fencing_check)

GRANTS: dict[Role, tuple[Grant, ...]] = {
    "worker": (
        Grant("topic", COMMANDS, ("Read", "DescribeConfigs"), "commands come in"),
        Grant(
            "topic",
            (*INTERNAL, *JOURNALS),
            ("Read", "Write", "DescribeConfigs"),
            "messages between workers, and journals",
        ),
        Grant(
            "topic",
            PUBLIC,
            ("Read", "Write"),
            "what is published; a takeover reads what was written last",
        ),
        Grant("group", ("{app}",), ("Read",), "workers share the partitions"),
        Grant("transactional-id", ("{app}-*",), ("Write",), "a worker fences the one before it"),
    ),
    "client": (
        Grant("topic", (TOPICS.commands,), ("Write",), "commands go out"),
        Grant("topic", (TOPICS.results,), ("Read",), "each command's result"),
        Grant(
            "topic",
            (TOPICS.account_commands,),
            ("Write",),
            "commands for accounts go out; not for a client that only pays",
            optional=True,
        ),
        Grant("topic", (TOPICS.account_results,), ("Read",), "each one's result", optional=True),
        Grant(
            "topic",
            (TOPICS.ledger, "{app}-accounts-changelog"),
            ("Read",),
            "entries and balances of accounts; not for a client that only pays",
            optional=True,
        ),
    ),
    "operator": (
        Grant(
            "topic",
            ALL,
            ("Read", "Create", "DescribeConfigs", "AlterConfigs"),
            "`topics`, `verify`, `trace`, `dead-letters list`",
        ),
        Grant("topic", COMMANDS, ("Write",), "`dead-letters replay`"),
        Grant("topic", (TOPICS.fencing_check,), ("Write",), "`topics check` tries the fencing"),
        Grant("transactional-id", (FENCING_IDS + PREFIXED,), ("Write",), "the same"),
        Grant("group", ("{app}",), ("Describe",), "`doctor` looks at the group"),
        Grant("cluster", (), ("DescribeConfigs",), "`doctor` looks at the brokers' settings"),
    ),
    "recovery": (
        Grant("topic", ALL, ("Read", "DescribeConfigs"), "what each of its commands reads"),
        Grant(
            "topic",
            (*JOURNALS, *PUBLIC),
            ("Write",),
            "it claims partitions as a worker does, and writes journals and notices",
        ),
        Grant("topic", JOURNALS, ("Delete",), "`rebuild --replace`"),
        Grant("topic", ALL, ("Create",), "`rebuild --replace`; the new topics of `repartition`"),
        Grant("topic", COMMANDS, ("Write",), "`repartition` copies them"),
        Grant("topic", (TOPICS.fencing_check,), ("Write",), "it asks for the brokers' time"),
        Grant("group", ("{app}",), ("Describe",), "it is refused while a worker runs"),
        Grant("transactional-id", ("{app}-*",), ("Write",), "it fences workers"),
    ),
}
"""A gateway has the rights of a client. Describe comes with Read, Write and AlterConfigs."""


class Rule(NamedTuple):
    """One ACL: a name, or the beginning of names where it is ``prefixed``."""

    resource: Resource
    name: str
    prefixed: bool
    operation: str
    optional: bool = False

    @property
    def changes(self) -> bool:
        """Whether a command that only reads needs no such right."""
        return self.operation not in {"Read", "Describe", "DescribeConfigs"}

    @property
    def of_partitions(self) -> bool:
        """Whether it is for one transactional id of each partition, as workers have."""
        return self.prefixed and self.resource == "transactional-id" and self.name != FENCING_IDS

    def words(self) -> str:
        """Return its resource in words, such as ``the group payments``."""
        if self.resource == "cluster":
            return "the cluster"
        end = PREFIXED if self.prefixed else ""
        kind = "" if self.resource == "topic" else f"the {self.resource.replace('-', ' ')} "
        return f"{kind}{self.name}{end}"


def rules(role: Role, settings: Settings) -> Iterator[Rule]:
    """Yield each ACL of a role with the names of an installation."""
    for grant in GRANTS[role]:
        for name, prefixed in _names(grant, settings):
            for operation in grant.operations:
                yield Rule(grant.resource, name, prefixed, operation, grant.optional)


def commands(role: Role, settings: Settings, principal: str) -> Iterator[str]:
    """Yield the commands that grant a role its rights; ``principal`` is such as ``User:worker``."""
    for grant in GRANTS[role]:
        names = list(_names(grant, settings))
        parts = [
            f"kafka-acls.sh --bootstrap-server {settings.brokers}",
            f"--add --allow-principal {principal}",
            *(f"--operation {operation}" for operation in grant.operations),
        ]
        if grant.resource == "cluster":
            parts.append("--cluster")
        else:
            parts += [f"--{grant.resource} {name}" for name, _ in names]
        if any(prefixed for _, prefixed in names):
            parts.append("--resource-pattern-type prefixed")
        yield " ".join(parts)


def _names(grant: Grant, settings: Settings) -> Iterator[tuple[str, bool]]:
    """Yield each name in full, and whether it is the beginning of names."""
    if grant.resource == "cluster":
        yield "kafka-cluster", False
    for name in grant.names:
        bare = name.removesuffix(PREFIXED)
        is_topic_or_ours = grant.resource == "topic" or APP_PLACEHOLDER in bare
        yield full_name(bare, settings) if is_topic_or_ours else bare, bare != name
