"""The server properties of a single-node development broker, whoever runs it (Java or Docker).

One node is broker and controller at once (KRaft). Small internal topics and no rebalance delay make
starts quick; topics are never made by accident, since ``topics.yaml`` is where they come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"

COMMON = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": (
        "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"
    ),
    "inter.broker.listener.name": "INTERNAL",
    # A broker that was killed may register again only when its old session has ended (default 9 s).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where the three listeners of a node listen.

    ``client`` is bound to ``bind``, and clients are told ``127.0.0.1:<advertised port>``. In Docker
    the two differ, so the broker talks to itself (to end transactions, say) over ``internal``.
    """

    bind: str
    client_port: int
    internal_port: int
    controller_port: int
    advertised_port: int
    secure_port: int | None = None
    """Where clients find SASL over TLS; its keys and users are further properties."""


def server_properties(
    listeners: Listeners, data: PurePath, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the whole configuration of one node; ``extra`` has the last word."""
    internal = f"INTERNAL://127.0.0.1:{listeners.internal_port}"
    controller = f"127.0.0.1:{listeners.controller_port}"
    bound = f"CLIENT://{listeners.bind}:{listeners.client_port}"
    told = f"CLIENT://127.0.0.1:{listeners.advertised_port}"
    if listeners.secure_port is not None:
        secure = f",SECURE://127.0.0.1:{listeners.secure_port}"
        bound, told = bound + secure, told + secure
    return {
        **COMMON,
        "listeners": f"{bound},{internal},CONTROLLER://{controller}",
        "advertised.listeners": f"{told},{internal}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(data),
        **(extra or {}),
    }


def properties_text(properties: Mapping[str, str]) -> str:
    """Return the content of a Java properties file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def environment(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the same configuration as the variables that the ``apache/kafka`` image reads."""
    names = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}
    return names | {"CLUSTER_ID": CLUSTER_ID}
