"""Schemathesis over the OpenAPI document: whatever it sends, nothing is a 500 and nothing hangs.

``make fuzz`` sends at least 5,000 requests; the run with the other tests is shorter. Requests that
no document describes are in ``test_fuzz_bytes``.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

from payments.client import PaymentsClient
from tests.gateway.running import running

FULL = os.environ.get("PAYMENTS_FUZZ") == "full"
PHASES, EXAMPLES, LEAST = (
    ("examples,coverage,fuzzing", 500, 5000) if FULL else ("examples,fuzzing", 15, 200)
)
LIMIT_SECONDS = 3500 if FULL else 280
TAIL_CHARACTERS = 5000
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
COMMAND = Path(sys.executable).parent / "schemathesis"


async def test_no_request_is_a_server_error_hangs_or_leaves_the_document(
    service: PaymentsClient,
) -> None:
    async with running(service, receive_timeout_seconds=60) as run:
        fuzzing = await asyncio.create_subprocess_exec(
            COMMAND,
            f"--config-file={CONFIGURATION}",
            "run",
            f"http://127.0.0.1:{run.port}/openapi.json",
            f"--max-examples={EXAMPLES}",
            f"--phases={PHASES}",
            "--mode=all",
            "--request-timeout=60",
            # Whether a valid request is accepted depends on what was done under its id before.
            "--exclude-checks=positive_data_acceptance",
            # A busy machine makes requests slowly; the limit here is that of the whole run.
            "--suppress-health-check=too_slow",
            # A stream does not end; tests of its own read it.
            "--exclude-operation-id=getEvents",
            "--no-color",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(LIMIT_SECONDS):
            output, _ = await fuzzing.communicate()
    text = output.decode()[-TAIL_CHARACTERS:]
    assert fuzzing.returncode == 0, text
    found = re.search(r"(\d+) generated", text)
    assert found is not None, text
    assert int(found[1]) >= LEAST, text
