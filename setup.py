"""The build: with PAYMENTS_COMPILED=1 the hot modules become machine code, else all stays Python.

mypyc compiles them, from their types; the source of each stays beside it in the wheel.
"""

import os

from setuptools import setup

COMPILED = (
    "payments/stages/expiry.py",
    "payments/stages/payment_counts.py",
    "payments/stages/accounts.py",
    "payments/stages/payments.py",
    "exactstage/checkpoint.py",
    "exactstage/committer.py",
    "exactstage/context.py",
    "exactstage/local_delivery.py",
    "exactstage/journal.py",
    "exactstage/kafka/appender.py",
    "exactstage/kafka/fetched.py",
    "exactstage/kafka/wire.py",
    "exactstage/local_rows.py",
    "exactstage/log.py",
    "exactstage/outputs.py",
    "exactstage/partitioner.py",
    "exactstage/pipeline.py",
    "exactstage/processing.py",
    "exactstage/senders.py",
    "exactstage/timer_index.py",
)
"""What a worker runs for each payment; the rest gains nothing, and what only makes or reads
msgspec's values (the domain, the records) is even a little slower when compiled."""

if os.environ.get("PAYMENTS_COMPILED") == "1":
    from mypyc.build import mypycify

    # All in one library: calls from one compiled module into another stay direct.
    setup(ext_modules=mypycify(list(COMPILED), group_name="payments"))
else:
    setup()
