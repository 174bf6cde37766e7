"""Free ports: whoever asked for one finds it free later too, also after a server on it has died.

The other kind, a port that somebody else has: ``test_local_broker`` and ``test_run``.
"""

import socket
import sys

import pytest

from tools.dev.ports import HOST, free_ports


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are only free at that moment")
def test_a_free_port_is_given_to_nobody_else_and_a_server_can_listen_on_it_again() -> None:
    [port, other] = free_ports(2)
    assert port != other
    for _ in range(2):
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))
        with (
            socket.create_server((HOST, port)) as server,
            socket.create_connection((HOST, port)) as connection,
        ):
            server.accept()[0].close()
            assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
