"""What can go wrong with the trial itself, told in one line."""


class FaultsError(Exception):
    """The trial can't go on, or would prove nothing."""
