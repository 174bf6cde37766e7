"""Senders: what a receiver of messages knows of each sending journal (docs/design.md 4.4).

A message says who owned its sender's journal when it was sent, and at which commit that owner began
(its base). A receiver that has taken a later commit from an owner before knows more of the journal
than the present owner found in it: acknowledged commits were lost, and the messages that come now
would look like repeats.
"""

from functools import lru_cache
from typing import NamedTuple

from .errors import newer_format
from .log import Header, Writer

OWNER = "src-owner"
"""Header of a message, before ``origin`` and ``src``:
``<format>/<app id>/<topic id>/<base>/<producer id and epoch>``, the installation in the middle."""

MESSAGE_FORMAT = 1
"""Oldest format of messages that a receiver has to know; see ``identity.CHECKPOINT_FORMAT``."""

_EPOCH_BITS = 16


class Owner(NamedTuple):
    """One ownership of a journal."""

    installation: str
    base: int
    """Number of the last commit that the owner found in the journal."""

    writer: int
    """Producer id and epoch of the claim; for one producer id a later owner has a larger one."""

    def follows(self, other: "Owner", n: int) -> bool:
        """Whether this owner, who sent a message of commit ``n``, came after the other one."""
        if self.writer >> _EPOCH_BITS == other.writer >> _EPOCH_BITS:
            return self.writer > other.writer
        # A claim gets another producer id when its epochs are used up, or Kafka has forgotten it.
        if self.base != other.base:
            return self.base > other.base
        return n > other.base


def writer_number(writer: Writer) -> int:
    """Return producer id and epoch as one number."""
    return writer.producer_id << _EPOCH_BITS | writer.epoch


def owner_header(owner: Owner) -> Header:
    """Return the header that messages of this owner carry."""
    text = f"{MESSAGE_FORMAT}/{owner.installation}/{owner.base}/{owner.writer}"
    return OWNER, text.encode()


@lru_cache(maxsize=16_384)
def parse_owner(text: bytes) -> Owner:
    """Read the header's value.

    Raises ``ValueError`` when it is something else, ``NewerFormat`` for one of a newer version.
    """
    version, app, topic_id, *rest = text.decode("ascii").split("/")
    if int(version) > MESSAGE_FORMAT:
        raise newer_format("a message", int(version), MESSAGE_FORMAT)
    base, writer = rest
    return Owner(f"{app}/{topic_id}", int(base), int(writer))
