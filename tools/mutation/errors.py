"""What can go wrong with the trial itself, told in one line."""


class FaultsError(Exception):
    """The trial can't go on, or would prove nothing."""


class MisfitError(FaultsError):
    """A fault does not fit the source, which has changed since the fault was written."""
