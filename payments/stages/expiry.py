"""Expiry: when a payment's timer is due, as its hold ends, or to forget it.

Both wait for the end of a window, so that many payments share one time.
"""

from payments.domain.payment import HoldEnds, HoldEndsSoon, Payment, WindowCloses, is_refundable
from payments.domain.payment_table import IN_FLIGHT, State
from payments.records.internal_codec import decode_payment

_PENDING, _COMPLETED = b'{"state":"pending",', b'{"state":"completed","time_ms":'
_AT_TIME = len(_COMPLETED)
_MAKE, _DEPOSIT = b',"request":{"type":"make",', b',"request":{"type":"deposit",'
_REFUNDED = b'"refunded":'


class Expiry:
    """The timers of payments, from their rows."""

    def __init__(self, *, width_ms: int, retention_ms: int, refundable_ms: int) -> None:
        """Forget a payment ``retention_ms`` after its window, ``refundable_ms`` if money is left.

        That is money that a refund could give back.
        """
        self._width_ms = width_ms
        self._retention_ms, self._refundable_ms = retention_ms, refundable_ms
        self._is_uniform = retention_ms == refundable_ms

    def timers(self, key: bytes, row: bytes) -> tuple[int, ...]:
        """Return when ``tick`` wants a payment. Raises ``ValueError`` for what is no payment's row.

        While a transfer is in flight it does not: what settles it writes the row again.
        """
        del key
        if row.startswith(_COMPLETED):
            # Nearly all rows: ``time_ms`` without decoding the rest. Not found is -1, the brace.
            end = row.find(b",", _AT_TIME)
            kept_ms = self._retention_ms if self._is_uniform else self._kept_ms(row, end)
            time_ms = int(row[_AT_TIME:end])
            return ((time_ms // self._width_ms + 1) * self._width_ms + kept_ms,)
        if row.startswith(_PENDING):
            return ()
        return self._timers_of(decode_payment(row))

    def _timers_of(self, payment: Payment) -> tuple[int, ...]:
        if payment.state in IN_FLIGHT:
            return ()
        if payment.state is State.AUTHORIZED:
            assert payment.hold_expires_ms is not None, "a hold has an end"
            ends_ms = self._window_end(payment.hold_expires_ms)
            if payment.notice_ms is None:
                return (ends_ms,)
            return (self._window_end(payment.notice_ms), ends_ms)
        return (self._window_end(payment.time_ms) + self._kept_ms_of(payment),)

    def _kept_ms(self, row: bytes, at_request: int) -> int:
        """Return how long after its window a completed payment is kept that never held money.

        A make is decoded only where some of it may have been refunded.
        """
        if row.startswith(_MAKE, at_request) and _REFUNDED not in row:
            return self._refundable_ms
        if row.startswith(_DEPOSIT, at_request):
            return self._retention_ms
        return self._kept_ms_of(decode_payment(row))

    def _kept_ms_of(self, payment: Payment) -> int:
        return self._refundable_ms if is_refundable(payment) else self._retention_ms

    def message_of(
        self, payment: Payment, until_ms: int
    ) -> HoldEnds | HoldEndsSoon | WindowCloses | None:
        """Return what a timer that is due at ``until_ms`` says to its payment.

        None: it would say that a hold ends soon that has ended; its lapse says so.
        """
        if payment.state is not State.AUTHORIZED:
            return WindowCloses()
        assert payment.hold_expires_ms is not None, "a hold has an end"
        if self._window_end(payment.hold_expires_ms) <= until_ms:
            return HoldEnds()
        return HoldEndsSoon() if until_ms < payment.hold_expires_ms else None

    def _window_end(self, time_ms: int) -> int:
        """Return the end of the window in which a time lies."""
        return (time_ms // self._width_ms + 1) * self._width_ms
