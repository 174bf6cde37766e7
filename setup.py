"""The build: with PAYMENTS_COMPILED=1 the hot modules become machine code, else all stays Python.

mypyc compiles them, from their types; the source of each stays beside it in the wheel.
"""

import os

from setuptools import setup

COMPILED = (
    "payments/expiry.py",
    "payments/records/decoded.py",
    "payments/stages/accounts.py",
    "payments/stages/payments.py",
    "payments/engine/checkpoint.py",
    "payments/engine/committer.py",
    "payments/engine/handover.py",
    "payments/engine/journal.py",
    "payments/engine/kafka/appender.py",
    "payments/engine/kafka/fetched.py",
    "payments/engine/kafka/wire.py",
    "payments/engine/log.py",
    "payments/engine/outputs.py",
    "payments/engine/partitioner.py",
    "payments/engine/processing.py",
    "payments/engine/receiving.py",
)
"""What a worker runs for each payment; the rest gains nothing, and what only makes or reads
msgspec's values (the domain, the records) is even a little slower when compiled."""

if os.environ.get("PAYMENTS_COMPILED") == "1":
    from mypyc.build import mypycify

    # All in one library: calls from one compiled module into another stay direct.
    setup(ext_modules=mypycify(list(COMPILED), group_name="payments"))
else:
    setup()
