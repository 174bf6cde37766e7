"""Every command line of docs/http.md, tried in order; the comment behind it is the status."""

import asyncio
import shlex
from pathlib import Path

from payments.client import PaymentsClient
from tests.gateway.running import running

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
STREAM_ENDED_BY_US = 28


async def test_every_line_of_the_document_is_answered_as_it_says(service: PaymentsClient) -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("curl ")]
    assert len(lines) > 15
    async with running(service, receive_timeout_seconds=10) as run:
        for line in lines:
            words = shlex.split(
                line.replace("localhost:8080", f"127.0.0.1:{run.port}"), comments=True
            )
            limit = ["--max-time", "1"] if "-N" in words else []
            options = ["-s", "-o", "/dev/null", "-w", "%{http_code}", *limit]
            curl = await asyncio.create_subprocess_exec(
                *words, *options, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await asyncio.wait_for(curl.communicate(), 30)
            assert curl.returncode == (STREAM_ENDED_BY_US if limit else 0), line
            assert output.decode() == line.rpartition("# ")[2][:3], line
