"""Kafka without a stage: this module is for clients and operators' tools.

- ``KafkaLog`` is the log of ``exactstage.log`` on brokers, over aiokafka's client and protocol
  classes; ``Connection`` is what it stands on. ``arguments`` are those of every aiokafka client.
- ``append_once`` and ``fetch_once`` are single requests, for who retries by rules of its own;
  ``backoff_seconds`` are the pauses between attempts.
- ``create_topics`` creates the topics of stages, ``open_admin`` is an admin client; ``Right``,
  ``missing_rights`` and the ``may_*`` functions find out what a user may do; ``prove_fencing``
  tries whether a broker refuses stale appends.
- ``Trouble`` is what keeps records from being handled now; ``Readiness`` and ``OUTAGE`` log what
  lasts, once and then rarely; ``error_in_words`` and ``cause_in_words`` make one line of an error.
- ``BrokerClock`` is the brokers' time.
"""

from typing import TYPE_CHECKING

from exactstage._doors import exports

if TYPE_CHECKING:
    from exactstage.backoff import backoff_seconds
    from exactstage.clock import WORTH_LOGGING_SECONDS, BrokerClock, wall_clock_ms
    from exactstage.outage import OUTAGE
    from exactstage.readiness import Readiness
    from exactstage.troubles import Trouble, troubles_in_words

    from .admin import hidden_topics, open_admin
    from .appender import encode_batch
    from .connection import RETRIABLE, Connection
    from .diagnosis import Refusal
    from .fencing import FencingReport, prove_fencing
    from .hints import cause_in_words, error_in_words
    from .log import KafkaLog
    from .metadata import require_same_cluster
    from .reader import KafkaReader
    from .rights import Needed, Right, denied, grant_command, missing_rights, rights_refusal
    from .single_requests import AppendFailure, Chunk, append_once, fetch_once
    from .standing import Standing
    from .topic_creation import create_topics
    from .trials import may_claim, may_describe_group, may_join_group, may_read_broker_settings

__all__ = [
    "OUTAGE",
    "RETRIABLE",
    "WORTH_LOGGING_SECONDS",
    "AppendFailure",
    "BrokerClock",
    "Chunk",
    "Connection",
    "FencingReport",
    "KafkaLog",
    "KafkaReader",
    "Needed",
    "Readiness",
    "Refusal",
    "Right",
    "Standing",
    "Trouble",
    "append_once",
    "backoff_seconds",
    "cause_in_words",
    "create_topics",
    "denied",
    "encode_batch",
    "error_in_words",
    "fetch_once",
    "grant_command",
    "hidden_topics",
    "may_claim",
    "may_describe_group",
    "may_join_group",
    "may_read_broker_settings",
    "missing_rights",
    "open_admin",
    "prove_fencing",
    "require_same_cluster",
    "rights_refusal",
    "troubles_in_words",
    "wall_clock_ms",
]

__getattr__ = exports(
    __name__,
    {
        "backoff": ("backoff_seconds",),
        "clock": ("WORTH_LOGGING_SECONDS", "BrokerClock", "wall_clock_ms"),
        "kafka.admin": ("hidden_topics", "open_admin"),
        "kafka.appender": ("encode_batch",),
        "kafka.connection": ("RETRIABLE", "Connection"),
        "kafka.diagnosis": ("Refusal",),
        "kafka.fencing": ("FencingReport", "prove_fencing"),
        "kafka.hints": ("cause_in_words", "error_in_words"),
        "kafka.log": ("KafkaLog",),
        "kafka.metadata": ("require_same_cluster",),
        "kafka.reader": ("KafkaReader",),
        "kafka.rights": (
            "Needed",
            "Right",
            "denied",
            "grant_command",
            "missing_rights",
            "rights_refusal",
        ),
        "kafka.single_requests": ("AppendFailure", "Chunk", "append_once", "fetch_once"),
        "kafka.standing": ("Standing",),
        "kafka.topic_creation": ("create_topics",),
        "kafka.trials": (
            "may_claim",
            "may_describe_group",
            "may_join_group",
            "may_read_broker_settings",
        ),
        "outage": ("OUTAGE",),
        "readiness": ("Readiness",),
        "troubles": ("Trouble", "troubles_in_words"),
    },
)
