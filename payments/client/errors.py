"""What a call can end with instead of a result; all are ``PaymentsClientError``."""


class PaymentsClientError(Exception):
    """Base of everything that the client raises on purpose."""


class DeadlineExceeded(PaymentsClientError):
    """The deadline passed before the answer came.

    A command may still be carried out: send it again (the same payment, the same fields) to learn
    what became of it. That is safe, since payments are idempotent by their id.
    """


class CatchingUp(DeadlineExceeded):
    """What was asked for is still being read from the topics: ask again, the reading goes on.

    The message says how far it is, or what blocks it.
    """


class BrokersUnavailable(PaymentsClientError):
    """Kafka can't be reached, or refuses: the command was not sent, so nothing will happen."""


class RightsMissing(BrokersUnavailable):
    """The brokers do not let this user send commands or read results: nothing was sent.

    The message says which right on which topic, and has the command that grants it. It holds from
    the next try to connect on, half a second later.
    """


class Overloaded(PaymentsClientError):
    """As many calls as this client allows are in flight; nothing was sent."""


class ClientClosed(PaymentsClientError):
    """The client is not open, or was closed during the call; see ``DeadlineExceeded``."""


class WatchBroken(PaymentsClientError):
    """A watch can't go on without leaving out results; the message says why."""


class AccountsUnavailable(PaymentsClientError):
    """Accounts can't be read: the message says whether the index or the topics are to blame."""


class InvalidCommand(PaymentsClientError):
    """The command breaks a rule, so it was not sent.

    ``field`` names the part that is wrong ("payment", "amount", ...; "command" for the whole),
    ``message`` says how, ``reason`` is a code of ``payments.domain.results.Reason``.
    """

    def __init__(self, field: str, message: str, reason: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.reason = reason
