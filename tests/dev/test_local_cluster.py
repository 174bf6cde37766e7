"""The configuration of a cluster's nodes: one quorum, and copies that survive one node."""

from pathlib import Path

from tools.dev.local_cluster import NODES, LocalCluster
from tools.dev.server_properties import Listeners, Proxied, Quorum, server_properties

LISTENERS = Listeners("127.0.0.1", 1000, 1001, 1002, advertised_port=1000)


def test_each_node_knows_the_whole_quorum() -> None:
    quorum = Quorum(2, {1: 2001, 2: 2002, 3: 2003})
    properties = server_properties(LISTENERS, Path("/data"), quorum=quorum)
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == (
        "1@127.0.0.1:2001,2@127.0.0.1:2002,3@127.0.0.1:2003"
    )


def test_a_node_alone_is_its_own_quorum() -> None:
    properties = server_properties(LISTENERS, Path("/data"))
    assert properties["node.id"] == "1"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:1002"


def test_clients_of_the_proxied_listener_are_told_the_proxys_port() -> None:
    listeners = Listeners("127.0.0.1", 1, 2, 3, advertised_port=1, proxied=Proxied(7, 8))
    properties = server_properties(listeners, Path("/data"))
    assert "PROXIED://127.0.0.1:7" in properties["listeners"].split(",")
    assert "PROXIED://127.0.0.1:8" in properties["advertised.listeners"].split(",")


def test_the_nodes_of_a_cluster_have_ports_of_their_own_and_the_same_quorum(
    tmp_path: Path,
) -> None:
    cluster = LocalCluster(version="4.1.0", folder=tmp_path)
    nodes = list(cluster.nodes.values())
    ports = [node.port for node in nodes]
    assert len(set(ports)) == NODES
    assert cluster.bootstrap == ",".join(f"127.0.0.1:{port}" for port in ports)
    quorums = [node.quorum for node in nodes if node.quorum is not None]
    assert [quorum.node for quorum in quorums] == [1, 2, 3]
    controllers = quorums[0].controller_ports
    assert all(quorum.controller_ports == controllers for quorum in quorums)
    assert set(controllers.values()).isdisjoint(ports)
    assert all(node.extra["min.insync.replicas"] == "2" for node in nodes)
