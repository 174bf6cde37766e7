"""A client's transaction: open with commands in it until it is told to end, or killed.

    python -m tools.chaos.transaction BROKERS TOPIC TIMEOUT_SECONDS

The first line of standard input is JSON: pairs of a command's key and value. ``open`` is printed
when they are written; the second line is ``commit`` or ``abort``.
"""

import json
import sys
import uuid

from confluent_kafka import Producer

LIMIT_SECONDS = 30.0


def main() -> None:
    """Run as a program."""
    brokers, topic, timeout_seconds = sys.argv[1:]
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "transactional.id": f"chaos-{uuid.uuid4().hex}",
            "transaction.timeout.ms": int(float(timeout_seconds) * 1000),
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    producer.init_transactions(LIMIT_SECONDS)
    producer.begin_transaction()
    for key, value in json.loads(sys.stdin.readline()):
        producer.produce(topic, key=key.encode(), value=value.encode())
    producer.flush(LIMIT_SECONDS)
    print("open", flush=True)
    if sys.stdin.readline().strip() == "commit":
        producer.commit_transaction(LIMIT_SECONDS)
    else:
        producer.abort_transaction(LIMIT_SECONDS)


if __name__ == "__main__":
    main()
