"""The command as a process of its own, with the application embedded: no broker.

``MOMENT`` says when the process gets SIGINT: ``connecting``, or ``sent``, when the command is in
the log and nobody answers.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from payments.cli import account, main, payment, sending
from payments.client import LogTransport, PaymentsClient
from payments.settings import Settings
from payments.testing import PaymentsTestbed

MOMENT = os.environ.get("MOMENT", "never")


async def interrupt_when_sent(bed: PaymentsTestbed) -> None:
    """Send SIGINT to this process once the command is in the log."""
    topics = ("payments.commands", "accounts.commands")
    while not any(bed.log.records(topic) for topic in topics):
        await bed.log.grown(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@asynccontextmanager
async def connect(
    settings: Settings, deadline_seconds: float | None = None
) -> AsyncIterator[PaymentsClient]:
    """Stand for ``payments.cli.options.connect``."""
    bed = PaymentsTestbed(opening_balance=100_000, partitions=settings.partitions)
    if MOMENT == "connecting":
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.get_running_loop().create_future()
    if MOMENT == "sent":
        transport = LogTransport(bed.log)
        client = PaymentsClient(settings=bed.settings, transport=transport)
        async with client, asyncio.TaskGroup() as group:
            group.create_task(interrupt_when_sent(bed))
            yield client
        return
    async with bed, bed.client() as client:
        yield client


if __name__ == "__main__":
    # Whoever runs the tests may ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for module in (payment, account, sending):
        setattr(module, "connect", connect)  # noqa: B010 - it is no attribute that they export
    main(sys.argv[1:], prog_name="payments")
