"""The gateway on a real broker, with a worker: whole requests, kills, and several side by side."""

import asyncio
import shlex
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from payments.settings import Settings
from tests.broker.client import WorkerProcess, read_all
from tests.broker_fixture import Installations
from tests.gateway.processes import GatewayProcess
from tools.dev.ports import HOST, free_ports

OPENING = 10**9
LIMIT_SECONDS = 120
CURL_LINES = """
curl -X POST localhost:8080/payments/makePayment -H 'content-type: application/json' -d '{"key": "some-string-id", "request": { "accountId": "abc", "amount": 100 } }'
curl -X POST localhost:8080/payments/cancelPayment -H 'content-type: application/json' -d '{"key": "some-string-id"}'
curl -X POST localhost:8080/payments/my-payment-id/makePayment -H 'content-type: application/json' -d '{  "accountId": "abc", "amount": 100 }'
curl -X POST localhost:8080/payments/my-payment-id/cancelPayment
"""  # noqa: E501 - they must stand as they are
Start = Callable[[], Awaitable[GatewayProcess]]


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(
        opening_balance=OPENING, session_timeout_seconds=60, request_timeout_seconds=60
    )


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess(settings)
    await worker.start()
    yield worker
    await worker.kill()
    worker.log.unlink()


@pytest.fixture
async def start(settings: Settings, worker: WorkerProcess) -> AsyncIterator[Start]:
    started: list[GatewayProcess] = []

    async def start_one() -> GatewayProcess:
        gateway = GatewayProcess(settings)
        gateway.variables["PAYMENTS_GATEWAY_DEADLINE_SECONDS"] = str(LIMIT_SECONDS)
        started.append(gateway)
        await gateway.start()
        return gateway

    yield start_one
    for gateway in started:
        await gateway.kill()
        gateway.log.unlink()


async def test_the_curl_lines_of_the_example_systems_work_as_they_stand(start: Start) -> None:
    gateway = await start()
    outcomes = []
    for line in CURL_LINES.strip().splitlines():
        words = shlex.split(line.replace("localhost:8080", f"localhost:{gateway.port}"))
        curl = await asyncio.create_subprocess_exec(
            *words, "-s", "-w", "\n%{http_code}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(curl.communicate(), LIMIT_SECONDS)
        body, status = output.decode().rsplit("\n", 1)
        outcomes.append((status, httpx.Response(200, text=body).json()["outcome"]))
    assert outcomes == [("200", "completed"), ("200", "cancelled")] * 2


async def test_a_gateway_that_is_killed_loses_nothing(settings: Settings, start: Start) -> None:
    gateway = await start()
    payments = [f"pay-{number}" for number in range(200)]
    async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
        asked = [asyncio.create_task(make(http, payment)) for payment in payments]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        gateway.signal(signal.SIGKILL)
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert any(isinstance(answer, httpx.TransportError) for answer in found)
    other = await start()
    async with httpx.AsyncClient(base_url=other.url, timeout=LIMIT_SECONDS) as http:
        again = await asyncio.gather(*(make(http, payment) for payment in payments))
        assert [answer.status_code for answer in again] == [200] * 200
        for before, after in zip(found, again, strict=True):
            if isinstance(before, httpx.Response):
                assert after.headers["idempotent-replayed"] == "true"
        await exactly_once(http, settings, payments)


async def test_the_location_of_a_202_is_answered_by_the_next_gateway_though_this_is_killed(
    start: Start, worker: WorkerProcess
) -> None:
    """With a result from before the kill, and one that comes long after it."""
    gateway = await start()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
        done = await make(http, "pay-1", prefer="respond-async")
        assert (await http.get(f"{done.headers['location']}?wait=60s")).status_code == 200
        await worker.stop()
        taken = await make(http, "pay-2", prefer="respond-async")
    await gateway.kill()
    other = await start()
    async with httpx.AsyncClient(base_url=other.url, timeout=LIMIT_SECONDS) as http:
        answer = await http.get(done.headers["location"])
        assert (answer.status_code, answer.json()["outcome"]) == (200, "completed")
        assert "idempotent-replayed" not in answer.headers
        assert (await http.get(taken.headers["location"])).status_code == 202
        await worker.start()
        answer = await http.get(f"{taken.headers['location']}?wait=60s")
        assert (answer.status_code, answer.json()["payment"]) == (200, "pay-2")
        assert "idempotent-replayed" not in answer.headers
        assert (await make(http, "pay-2")).headers["idempotent-replayed"] == "true"


async def test_a_result_that_comes_long_after_the_deadline_is_at_its_location(
    settings: Settings, worker: WorkerProcess
) -> None:
    """It is kept for ``PAYMENTS_GATEWAY_KEPT_SECONDS``, however long no worker runs."""
    gateway = GatewayProcess(settings)
    gateway.variables["PAYMENTS_GATEWAY_DEADLINE_SECONDS"] = "0.5"
    await gateway.start()
    await worker.stop()
    try:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
            taken = await make(http, "pay-1", prefer="respond-async")
            location = taken.headers["location"]
            for _ in range(3):
                assert (await http.get(f"{location}?wait=500ms")).status_code == 202
            await worker.start()
            answer = await http.get(f"{location}?wait=60s")
            assert (answer.status_code, answer.json()["outcome"]) == (200, "completed")
    finally:
        await gateway.kill()
        gateway.log.unlink()


async def test_a_gateway_that_is_connected_can_be_scraped(
    settings: Settings, worker: WorkerProcess
) -> None:
    gateway = GatewayProcess(settings)
    address = f"{HOST}:{free_ports(1)[0]}"
    gateway.variables["PAYMENTS_GATEWAY_METRICS_ADDRESS"] = address
    await gateway.start()
    try:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
            assert (await make(http, "pay-1")).status_code == 200
            async with asyncio.timeout(LIMIT_SECONDS):
                while (
                    "payments_gateway_ready 1.0"
                    not in (answer := await http.get(f"http://{address}/metrics")).text
                ):
                    assert answer.status_code == 200
    finally:
        await gateway.kill()
        gateway.log.unlink()


async def test_two_gateways_answer_for_the_same_payments(settings: Settings, start: Start) -> None:
    gateways = [await start(), await start()]
    payments = [f"pay-{number}" for number in range(100)]
    clients = [
        httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) for gateway in gateways
    ]
    found = await asyncio.gather(*(make(http, one) for one in payments for http in clients))
    assert {answer.status_code for answer in found} == {200}
    replays = [answer for answer in found if "idempotent-replayed" in answer.headers]
    assert len(replays) == len(payments)
    await clients[0].post("/v1/payments/pay-0/cancel")
    assert (await clients[1].get("/v1/payments/pay-0")).json()["state"] == "cancelled"
    for http in clients:
        await http.aclose()


async def test_sigterm_answers_what_is_under_way(
    settings: Settings, start: Start, worker: WorkerProcess
) -> None:
    gateway = await start()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
        await make(http, "pay-0")
        worker.signal(signal.SIGSTOP)
        asked = [asyncio.create_task(make(http, f"pay-{number}")) for number in range(1, 50)]
        # A command is on the topic once its record is read there.
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(await read_all(settings, settings.topics.commands)) < 50:
                assert not any(task.done() for task in asked)
        gateway.signal(signal.SIGTERM)
        worker.signal(signal.SIGCONT)
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 49
    assert await gateway.ended() == 0


async def test_a_thousand_requests_wait_for_a_worker_that_comes_back(
    settings: Settings, start: Start, worker: WorkerProcess
) -> None:
    gateway = await start()
    payments = [f"pay-{number}" for number in range(1000)]
    await worker.stop()
    asked = [asyncio.create_task(status_of_make(gateway.port, payment)) for payment in payments]
    await worker.start()
    assert await asyncio.gather(*asked) == [200] * 1000
    async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_SECONDS) as http:
        await exactly_once(http, settings, payments)


async def make(http: httpx.AsyncClient, payment: str, **headers: str) -> httpx.Response:
    body = {"account": "abc", "amount": 1}
    return await http.post(f"/v1/payments/{payment}", json=body, headers=headers)


async def status_of_make(port: int, payment: str) -> int:
    """Make a payment on a connection of its own; httpx is slow with a thousand of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"account":"abc","amount":1}'
    head = f"POST /v1/payments/{payment} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(LIMIT_SECONDS):
        line = await reader.readline()
        await reader.read()
    writer.close()
    return int(line.split()[1])


async def exactly_once(http: httpx.AsyncClient, settings: Settings, payments: list[str]) -> None:
    """Check that each payment moved its money once, by the ledger and by the balance."""
    records = await read_all(settings, settings.topics.ledger)
    entries = [httpx.Response(200, content=record.value).json() for record in records]
    moved = [entry["payment"] for entry in entries if entry["kind"] == "make"]
    assert sorted(moved) == sorted(payments)
    balance = (await http.get("/v1/accounts/abc")).json()
    assert (balance["balance"], balance["sequence"]) == (
        OPENING - len(payments),
        len(payments) + 1,
    )
