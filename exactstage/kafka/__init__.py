"""The log on a real broker, over aiokafka's client and protocol classes."""

from .log import KafkaLog

__all__ = ["KafkaLog"]
