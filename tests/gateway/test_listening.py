"""Where a gateway can't listen, one line says where, why, and what to do; exit code 1.

The whole line of the command for a port that is taken: tests/gateway/test_process.py.
"""

import errno
import os
import socket
import sys

import pytest

from payments.gateway.listening import CantListen, listen
from payments.gateway.settings import GatewaySettings
from tests.command_line import run


def refused(*, host: str = "127.0.0.1", port: int = 0) -> str:
    with pytest.raises(CantListen) as caught:
        listen(GatewaySettings(host=host, port=port))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_port_in_use_names_who_listens_there_and_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        told = refused(port=port)
        if sys.platform == "linux":
            assert f"by process {os.getpid()} (" in told
        assert told.startswith(f"can't listen on 127.0.0.1:{port}: Address already in use")
        assert "choose another port with --port" in told


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1%lo"])
def test_an_address_of_no_interface_says_how_to_see_those_there_are(host: str) -> None:
    told = refused(host=host)
    assert "no interface of this machine has this address: `ip address` shows" in told


@pytest.mark.parametrize(
    "host",
    [
        "no-such-host.invalid",
        "127.0.0.1:80",
        "http://localhost",
        "256.1.1.1",
        "*",
        "a b",
        "a" * 70,
        "a..b",
    ],
)
def test_what_is_no_host_says_what_a_host_is(host: str) -> None:
    told = refused(host=host)
    assert told.startswith(f"can't listen on {host}:0: ")
    assert "PAYMENTS_GATEWAY_HOST" in told


def test_a_port_that_needs_rights_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied (while attempting to bind)")

    monkeypatch.setattr(socket, "create_server", refuse)
    told = refused(port=80)
    assert told.startswith("can't listen on 127.0.0.1:80: Permission denied; this user may not")
    assert "1024" in told
    assert "CAP_NET_BIND_SERVICE" in told


@pytest.mark.parametrize("host", ["::1", "[::1]", " ::1 ", "::", "0:0:0:0:0:0:0:1", "localhost"])
def test_every_form_of_an_address_of_this_machine_listens(host: str) -> None:
    if not socket.has_ipv6 and ":" in host:
        pytest.skip("no IPv6 here")
    with listen(GatewaySettings(host=host, port=0)) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["", " ", "[]"])
def test_no_host_at_all_is_not_every_address(host: str) -> None:
    """``socket`` takes it for all addresses, and nobody asked for that."""
    with pytest.raises(ValueError, match="a host is an address or a name"):
        GatewaySettings(host=host)
    failed = run("gateway", "--host", host)
    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"Error: PAYMENTS_GATEWAY_HOST={host}: a host is an address")
