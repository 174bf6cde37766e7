"""An event-sourced payment processor on Kafka: exact under any crash."""

__version__ = "0.1.0"
