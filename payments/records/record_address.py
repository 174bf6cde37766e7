"""Record address: topic, partition and offset of a record, with its one text form.

The engine writes the same form (``exactstage.record``): records do not depend on the engine.
"""

from typing import NamedTuple, Self


def address_text(topic: str, partition: int | str, offset: int | str) -> str:
    """Return the text form; partition and offset may be texts already, as headers have them."""
    return f"{topic}/{partition}/{offset}"


class RecordAddress(NamedTuple):
    """Address of a record; its text form is ``topic/partition/offset``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return the text form."""
        return address_text(*self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text form. Raises ``ValueError`` when it is something else."""
        topic, *numbers = text.rsplit("/", 2)
        if not topic or len(numbers) < 2 or not all(n.isascii() and n.isdecimal() for n in numbers):
            message = f"{text!r} is no address such as payments.dead-letters/3/17"
            raise ValueError(message)
        return cls(topic, int(numbers[0]), int(numbers[1]))
