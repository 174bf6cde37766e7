"""The server properties of a development broker's node, whoever runs it (Java or Docker).

A node is broker and controller at once (KRaft), alone unless a quorum is given. Small internal
topics and no rebalance delay make starts quick; topics are never made by accident, since
``topics.yaml`` is where they come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"

COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": (
        "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL"
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

    proxied: "Proxied | None" = None


@dataclass(frozen=True, slots=True)
class Proxied:
    """A listener for clients that come through a proxy, and so are told the proxy's port."""

    port: int
    proxy_port: int


@dataclass(frozen=True, slots=True)
class Quorum:
    """The controllers of a cluster, and which of its nodes this one is."""

    node: int
    controller_ports: Mapping[int, int]


def server_properties(
    listeners: Listeners,
    data: PurePath,
    extra: Mapping[str, str] | None = None,
    quorum: Quorum | None = None,
) -> dict[str, str]:
    """Return the whole configuration of one node; ``extra`` has the last word."""
    quorum = quorum or Quorum(1, {1: listeners.controller_port})
    voters = (f"{node}@127.0.0.1:{port}" for node, port in quorum.controller_ports.items())
    internal = f"INTERNAL://127.0.0.1:{listeners.internal_port}"
    controller = f"127.0.0.1:{listeners.controller_port}"
    bound = f"CLIENT://{listeners.bind}:{listeners.client_port}"
    told = f"CLIENT://127.0.0.1:{listeners.advertised_port}"
    if listeners.secure_port is not None:
        secure = f",SECURE://127.0.0.1:{listeners.secure_port}"
        bound, told = bound + secure, told + secure
    if (proxied := listeners.proxied) is not None:
        bound += f",PROXIED://127.0.0.1:{proxied.port}"
        told += f",PROXIED://127.0.0.1:{proxied.proxy_port}"
    return {
        **COMMON,
        "node.id": str(quorum.node),
        "listeners": f"{bound},{internal},CONTROLLER://{controller}",
        "advertised.listeners": f"{told},{internal}",
        "controller.quorum.voters": ",".join(voters),
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
