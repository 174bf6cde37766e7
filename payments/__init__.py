"""An event-sourced payment processor on Kafka: exact under any crash."""

from exactstage.hosting import name_program

__version__ = "0.1.0"

name_program(program="payments", prefix="PAYMENTS_")
