"""Words, each counted exactly once: a stage in the plain event loop, without the payments.

``python words.py`` creates its topics on ``localhost:9092`` (or ``BROKERS``) and counts until
Ctrl-C; kill it at any moment and start it again. Send words with any client, and read the counts::

    printf 'a:\\nb:\\na:\\n' | kcat -P -b localhost:9092 -t words -K :
    kcat -C -b localhost:9092 -t words.counts -f '%k %s\\n'
"""

import asyncio
import os
import sys

from exactstage import Context, FailStop, Record, Refused, Stage
from exactstage.hosting import EXIT_FAIL_STOP, PlainHost
from exactstage.kafka import KafkaLog, create_topics


def count(record: Record, context: Context) -> None:
    """Count one more; a record without a key has no word."""
    if not record.key:
        raise Refused("no_word", "the record has no key")
    number = int(context.get(record.key) or b"0") + 1
    context.put(record.key, b"%d" % number)
    context.emit("words.counts", record.key, b"%d" % number, type="count")


STAGE = Stage(
    "count",
    count,
    changelog="words-count-changelog",
    dead_letters="words.dead-letters",
    public_inputs=("words",),
    # Clients disagree on the partition of a key: what comes in on another one is forwarded.
    internal_inputs=("words.inbox",),
    forward_to="words.inbox",
    outputs=("words.counts",),
)


async def main(brokers: str) -> None:
    """Count until Ctrl-C, or until it fails (``FailStop``)."""
    connection = {"bootstrap_servers": brokers}
    await create_topics(connection, [STAGE], partitions=4, replication=1)
    async with PlainHost("words", [STAGE], KafkaLog(connection)) as host:
        await host.run()


if __name__ == "__main__":
    try:
        asyncio.run(main(os.environ.get("BROKERS", "localhost:9092")))
    except KeyboardInterrupt:
        print("ended: everything that was counted is published")
    except FailStop as failure:
        print(f"fail-stop: {failure}", file=sys.stderr)
        sys.exit(EXIT_FAIL_STOP)
