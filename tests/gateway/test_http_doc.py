"""Every command line of docs/http.md, tried in order; the comment behind it is the status."""

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path

from payments.client import PaymentsClient
from tests.gateway.running import PATIENT, running

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
STREAM_ENDED_BY_US, NO_ANSWER_YET = 28, "000"


async def test_every_line_of_the_document_is_answered_as_it_says(service: PaymentsClient) -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("curl ")]
    assert len(lines) > 15
    async with running(service, **PATIENT) as run:
        for line in lines:
            words = shlex.split(
                line.replace("localhost:8080", f"127.0.0.1:{run.port}"), comments=True
            )
            is_stream = "-N" in words
            code, status = await curl(words, "--max-time", "1" if is_stream else "60")
            if is_stream and status == NO_ANSWER_YET:
                code, status = await curl(words, "--max-time", "20")
            assert code == (STREAM_ENDED_BY_US if is_stream else 0), line
            assert status == line.rpartition("# ")[2][:3], line


async def curl(words: Sequence[str], *more: str) -> tuple[int | None, str]:
    """Run a command line of curl; return its exit code and the status of the answer."""
    options = ("-s", "-o", "/dev/null", "-w", "%{http_code}", *more)
    process = await asyncio.create_subprocess_exec(*words, *options, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode, output.decode()
