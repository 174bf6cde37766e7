"""The gateway as a process, without a broker: it lives, listens locally, and holds many clients."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from payments.settings import Settings
from tests.gateway.conftest import problem
from tests.gateway.processes import GATEWAY, GatewayProcess
from tools.dev.ports import HOST, free_ports

IDLE_CONNECTIONS, SPARE_FILES, BATCH = 10_000, 1000, 500


@pytest.fixture
async def lonely() -> AsyncIterator[GatewayProcess]:
    """Return a gateway whose broker is not there, and that does not wait for it long."""
    gateway = GatewayProcess(Settings(brokers=f"{HOST}:{free_ports(1)[0]}"))
    gateway.variables["PAYMENTS_GATEWAY_DEADLINE_SECONDS"] = "1"
    gateway.variables["PAYMENTS_GATEWAY_IDLE_TIMEOUT_SECONDS"] = "3600"
    await gateway.start()
    yield gateway
    await gateway.kill()
    gateway.log.unlink()


async def test_without_kafka_it_lives_and_is_not_ready(lonely: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=lonely.url, timeout=60) as http:
        assert (await http.get("/health/live")).status_code == 200
        problem(await http.get("/health/ready"), 503, "unavailable")


async def test_without_kafka_a_command_is_answered_503_and_says_to_send_it_again(
    lonely: GatewayProcess,
) -> None:
    body = {"account": "abc", "amount": 100}
    async with httpx.AsyncClient(base_url=lonely.url, timeout=60) as http:
        response = await http.post("/v1/payments/pay-1", json=body)
        problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        problem(await http.get("/v1/accounts/abc"), 503, "unavailable")


async def test_it_listens_on_this_machine_alone(lonely: GatewayProcess) -> None:
    assert lonely.url.startswith("http://127.0.0.1:")
    found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    for address in {str(info[4][0]) for info in found}:
        if not address.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, lonely.port), timeout=60)


async def test_ten_thousand_idle_connections_do_not_disturb_the_others(
    lonely: GatewayProcess,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CONNECTIONS, hard - SPARE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = []
    try:
        for first in range(0, count, BATCH):
            connecting = [
                asyncio.open_connection(HOST, lonely.port) for _ in range(min(BATCH, count - first))
            ]
            idle += [writer for _, writer in await asyncio.gather(*connecting)]
        assert len(idle) == count
        async with httpx.AsyncClient(base_url=lonely.url, timeout=60) as http:
            for _ in range(20):
                assert (await http.get("/health/live")).status_code == 200
        # They are still there: one of them is as good as a new one.
        idle[0].write(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await idle[0].drain()
        assert not idle[-1].is_closing()
    finally:
        for writer in idle:
            writer.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_sigterm_ends_it_with_exit_code_0(lonely: GatewayProcess) -> None:
    lonely.signal(signal.SIGTERM)
    assert await lonely.ended() == 0


async def test_sighup_reads_the_tokens_again_and_ends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    put(file, "first-token-of-the-test")
    gateway = GatewayProcess(Settings(brokers=f"{HOST}:{free_ports(1)[0]}"))
    gateway.variables["PAYMENTS_GATEWAY_TOKENS_FILE"] = str(file)
    gateway.variables["PAYMENTS_GATEWAY_DEADLINE_SECONDS"] = "0.1"
    await gateway.start()
    try:
        put(file, "second-token-of-the-test")
        gateway.signal(signal.SIGHUP)
        await gateway.until(
            lambda: gateway.log.read_text().count(f"tokens of {file}: shop") > 1, "reads"
        )
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
            for token, status in (
                ("first-token-of-the-test", 401),
                ("second-token-of-the-test", 503),
            ):
                headers = {"Authorization": f"Bearer {token}"}
                found = await http.get("/v1/accounts/abc", headers=headers)
                assert found.status_code == status
        put(file, "short")
        gateway.signal(signal.SIGHUP)
        await gateway.until(lambda: "stay in force" in gateway.log.read_text(), "keeps its tokens")
    finally:
        await gateway.kill()
    log = gateway.log.read_text()
    gateway.log.unlink()
    assert "token-of-the-test" not in log
    second = await asyncio.create_subprocess_exec(
        *GATEWAY, env=os.environ | {"PAYMENTS_GATEWAY_TOKENS_FILE": str(file)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(second.communicate(), 60)
    (line,) = output.decode().splitlines()
    assert second.returncode == 1
    assert line.startswith(f"Error: {file}, line 1: [shop]: ")


def put(file: Path, token: str) -> None:
    file.write_text(f'[shop]\ntoken = "{token}"\nscopes = ["read"]\n')


async def test_who_listens_beyond_this_machine_without_tokens_is_warned(
    lonely: GatewayProcess,
) -> None:
    assert "no tokens are set" not in lonely.log.read_text()
    lonely.variables["PAYMENTS_GATEWAY_HOST"] = "0.0.0.0"  # noqa: S104 - what is tested
    await lonely.kill()
    await lonely.start()
    await lonely.until(lambda: "no tokens are set" in lonely.log.read_text(), "does not warn")


async def test_a_port_that_is_taken_is_told_in_one_line(lonely: GatewayProcess) -> None:
    command = (*GATEWAY[:-1], str(lonely.port))
    second = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 1
    [line] = output.decode().splitlines()
    assert line.startswith(
        f"Error: can't listen on 127.0.0.1:{lonely.port}: Address already in use"
    )
    assert "choose another port with --port" in line


async def test_the_page_opens_in_a_browser(lonely: GatewayProcess) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="payments-chromium-") as folder:
        picture = Path(folder) / "docs.png"
        common = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
        common += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=20000"]
        tree = await run(*common, "--dump-dom", f"{lonely.url}/")
        await run(*common, f"--screenshot={picture}", f"{lonely.url}/docs")
        assert picture.stat().st_size > 20_000
    assert 'class="opblock-summary-path"' in tree
    for path in ("/v1/payments/", "/v1/accounts/", "/health/"):
        assert f'data-path="{path}' in tree


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()
