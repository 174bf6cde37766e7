"""The one error of the development environment that is shown to the user as a single message."""


class BrokerError(RuntimeError):
    """A broker cannot be had or does not run; the message says why and what to do."""
