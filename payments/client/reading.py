"""Reads with a deadline, until which they are retried while the brokers are absent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from exactstage import FailStop
from exactstage.kafka import backoff_seconds
from payments.client.errors import (
    AccountsUnavailable,
    BrokersUnavailable,
    CatchingUp,
    DeadlineExceeded,
)
from payments.client.transport import Unavailable

Value = TypeVar("Value")


async def read_within(
    seconds: float, read: Callable[[], Awaitable[Value]], progress: Callable[[], str | None]
) -> Value:
    """Return what ``read`` returns, with retries after ``Unavailable`` until the deadline.

    Raises ``BrokersUnavailable`` when the last attempt found no broker, ``CatchingUp`` when the
    reading needs more time (it continues: ask again) or an open transaction blocks it,
    ``DeadlineExceeded`` when an answer was late, and ``AccountsUnavailable`` when the brokers
    refuse.
    """
    problem: Unavailable | None = None
    try:
        async with asyncio.timeout(seconds):
            tries = 0
            while True:
                try:
                    return await read()
                except Unavailable as error:
                    problem = error
                await asyncio.sleep(backoff_seconds(tries))
                tries += 1
    except TimeoutError:
        if problem is not None:
            message = f"the brokers could not be asked before the deadline: {problem}"
            raise BrokersUnavailable(message) from problem
        if (state := progress()) is not None:
            raise CatchingUp(state) from None
        raise DeadlineExceeded("the brokers did not answer before the deadline") from None
    except FailStop as error:
        message = f"accounts can't be read: {error}"
        raise AccountsUnavailable(message) from error
