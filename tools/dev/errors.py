"""Errors of the tools that a user reads as one line."""


class ToolError(Exception):
    """A tool can't go on, or what it measures would not mean anything; the message says why."""


class BrokerError(RuntimeError):
    """A broker cannot be had or does not run; the message says why and what to do."""
