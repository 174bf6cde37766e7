"""An event-sourced payment processor on Kafka: exact under any crash."""

from exactstage import advice

__version__ = "0.1.0"

advice.use(program="payments", prefix="PAYMENTS_")
