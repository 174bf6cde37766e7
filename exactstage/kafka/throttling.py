"""Throttling: that the broker holds a client back which is over its quota (KIP-13, KIP-219).

It answers at once, says for how long it will read nothing more of this connection, and keeps to it.
Who does not look at that sees a broker that is silent for seconds, again and again.
"""

import asyncio

from exactstage.troubles import Trouble

_WORTH_TELLING_MS = 1000
"""What is shorter is a quota at work."""

_GOES_ON_SECONDS = 10.0
"""A pause that follows so soon after the last one belongs to the same trouble."""


class Throttling:
    """What brokers said of quotas on one connection's answers."""

    def __init__(self) -> None:
        self._since = self._until = 0.0
        self._longest_ms = 0

    def heard(self, throttle_ms: int) -> None:
        """Note for how long a broker holds this client back."""
        if throttle_ms < _WORTH_TELLING_MS:
            return
        now = asyncio.get_running_loop().time()
        if now > self._until:
            self._since, self._longest_ms = now, 0
        self._longest_ms = max(self._longest_ms, throttle_ms)
        self._until = now + throttle_ms / 1000 + _GOES_ON_SECONDS

    def troubles(self, servers: str) -> list[Trouble]:
        """Return the quota as what keeps this process from its work, while it does."""
        if not self._longest_ms or asyncio.get_running_loop().time() > self._until:
            return []
        return [
            Trouble(
                "Kafka throttles this process",
                "a client quota",
                self._since,
                detail=f"pauses of up to {self._longest_ms / 1000:.1f} s",
                advice=(
                    f"it is lower than the load (producer_byte_rate, consumer_byte_rate, "
                    f"request_percentage); see kafka-configs.sh --bootstrap-server {servers} "
                    f"--describe --entity-type users --entity-type clients; nothing is lost"
                ),
            )
        ]
