"""Errors with which a call can end instead of a result; all are ``PaymentsClientError``."""


class PaymentsClientError(Exception):
    """Base of all errors of the client."""


class DeadlineExceeded(PaymentsClientError):
    """The deadline passed before the answer came.

    A command may still be carried out. For a payment, send it again (the same fields) to get its
    result: payments are idempotent by their id. For an account, read the account first, and send it
    again only if no one else has changed it since: a late repeat undoes a later command.
    """


class CatchingUp(DeadlineExceeded):
    """The topics are not read to the end yet: ask again, the reading continues.

    The message says how far it is, or what blocks it.
    """


class BrokersUnavailable(PaymentsClientError):
    """Kafka can't be reached, or refuses: the command was not sent and will not be carried out."""


class RightsMissing(BrokersUnavailable):
    """The brokers do not allow this user to send commands or read results: nothing was sent.

    The message names the right and the topic, and has the command that grants it. A granted right
    is used from the next attempt to connect on, half a second later.
    """


class Overloaded(PaymentsClientError):
    """The limit of calls in flight is reached; nothing was sent."""


class ClientClosed(PaymentsClientError):
    """The client is not open, or was closed during the call; see ``DeadlineExceeded``."""


class WatchBroken(PaymentsClientError):
    """A watch can't continue without missing results; the message says why."""


class AccountsUnavailable(PaymentsClientError):
    """Accounts can't be read: the message says whether because of the index or the topics."""


class InvalidCommand(PaymentsClientError):
    """The command breaks a rule, so it was not sent.

    ``field`` names the invalid part ("payment", "amount", ...; "command" for the whole),
    ``message`` the rule, ``reason`` is a code of ``payments.domain.results.Reason``.
    """

    def __init__(self, field: str, message: str, reason: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.reason = reason
