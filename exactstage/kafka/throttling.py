"""Throttling: pauses that brokers impose on a client above its quota (KIP-13, KIP-219).

The broker answers at once, with the time in which it will read nothing more from the connection.
Without this time, a throttled process would only see a broker that does not answer for seconds.
"""

import asyncio

from exactstage.troubles import Trouble

_REPORTED_MS = 1000
"""Shorter pauses are not reported: they are a quota at work."""

_SAME_TROUBLE_SECONDS = 10.0
"""A pause within this time after the last one belongs to the same trouble."""


class Throttling:
    """Pauses that brokers reported on one connection."""

    def __init__(self) -> None:
        self._since = self._until = 0.0
        self._longest_ms = 0

    def note(self, throttle_ms: int) -> None:
        """Record a pause that a broker has imposed."""
        if throttle_ms < _REPORTED_MS:
            return
        now = asyncio.get_running_loop().time()
        if now > self._until:
            self._since, self._longest_ms = now, 0
        self._longest_ms = max(self._longest_ms, throttle_ms)
        self._until = now + throttle_ms / 1000 + _SAME_TROUBLE_SECONDS

    def troubles(self, servers: str) -> list[Trouble]:
        """Return the quota as a trouble while it slows this process down."""
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
