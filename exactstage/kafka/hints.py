"""Hints: the likely cause of a broker's error and the next step, in words for an operator."""

from collections.abc import Mapping

from aiokafka import errors

from exactstage.advice import command
from exactstage.errors import OUT_OF_ORDER

Hints = Mapping[type[BaseException], str]
"""A sentence for an error's class, without a full stop."""

GROUP_COORDINATOR: Hints = {
    errors.GroupCoordinatorNotAvailableError: (
        "the brokers have no coordinator for consumer groups, most likely because they can't make "
        "their internal topic __consumer_offsets: offsets.topic.replication.factor in the brokers' "
        "configuration must not exceed the number of brokers"
    )
}

TRANSACTION_COORDINATOR: Hints = {
    errors.GroupCoordinatorNotAvailableError: (
        "the brokers have no coordinator for transactions, most likely because they can't make "
        "their internal topic __transaction_state: transaction.state.log.replication.factor and "
        "transaction.state.log.min.isr in the brokers' configuration must not exceed the number "
        "of brokers"
    )
}

_APPLY = "nothing is lost: {apply}, then start again"

REFUSALS: Hints = {
    errors.MessageSizeTooLargeError: "max.message.bytes of the topic is too small; " + _APPLY,
    errors.RecordListTooLargeError: "segment.bytes of the topic is too small; " + _APPLY,
    errors.InvalidTimestampError: (
        "message.timestamp.type of the topic is not LogAppendTime; " + _APPLY
    ),
    errors.TopicAuthorizationFailedError: (
        "not authorized: grant this user the right (docs/security.md), then start again; "
        "nothing is lost"
    ),
    errors.ClusterAuthorizationFailedError: (
        "not authorized: grant this user the right (docs/security.md), then start again; "
        "nothing is lost"
    ),
    errors.GroupAuthorizationFailedError: (
        "not authorized: grant this user Read on the group (docs/security.md), then start again; "
        "nothing is lost"
    ),
    errors.OutOfOrderSequenceNumber: OUT_OF_ORDER,
}
"""Errors that end the process: the likely cause of each, and the next step."""


def refusal(error: BaseException | type[BaseException]) -> str:
    """Return an error that ends the process, with its cause and the next step in brackets."""
    kind = error if isinstance(error, type) else type(error)
    step = REFUSALS.get(kind, "docs/runbook.md has this line; nothing that was decided is lost")
    return f"{kind.__name__} ({step.replace('{apply}', command('topics apply'))})"


def cause_in_words(error: BaseException) -> str:
    """Return an error as one line; for a failed connection, only its cause.

    The advice in its text is for a process that ends with it (``RetryPolicy``).
    """
    cause = error.__cause__
    return error_in_words(cause if isinstance(cause, errors.KafkaConnectionError) else error)


def error_in_words(error: BaseException) -> str:
    """Return an error as one line, with its class unless the text names it."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    if not text:
        return name
    if isinstance(error, errors.NodeNotReadyError):
        return "there is no connection to the broker"
    if isinstance(error, errors.KafkaConnectionError):
        return text.removeprefix(f"{name}: ")  # The text says already that there is no connection.
    return text if name in text else f"{name}: {text}"
