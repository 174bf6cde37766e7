"""Claims: fencing tokens for partitions, by transactional id and producer epoch.

See docs/design.md 4.3. No data is written in a transaction. An empty, aborted transaction leaves a
control record with the new epoch in each of its partitions; from then on the broker refuses older
epochs there.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
)

from exactstage.errors import FailStop, NotAuthorized
from exactstage.log import TopicPartition, Writer

from .connection import FENCED, RETRIABLE, Connection, RetryPolicy, error_for, fenced
from .hints import TRANSACTION_COORDINATOR, refusal
from .rights import Right, denied, grant_command

_TRANSACTION_TIMEOUT_MS = 60_000
"""The coordinator aborts a transaction after this time if its worker died during a claim."""

_ABORT = False


class Claims:
    """Claims transactional ids and renews the claims."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._coordinators: dict[str, int] = {}
        """Coordinator of each transactional id, as last looked up. A former coordinator answers
        NOT_COORDINATOR, so a look-up before each request is not needed."""

    async def new_writer(self) -> Writer:
        """Return a plain idempotent writer."""
        connection = self._connection
        retry = RetryPolicy("asking for a producer id", connection.delivery_timeout_seconds)
        while True:
            try:
                node = connection.client.get_random_node()
                if node is None:
                    raise errors.NodeNotReadyError
                response = await connection.send(
                    node, InitProducerIdRequest(None, _TRANSACTION_TIMEOUT_MS)
                )
                _raise_error(response.error_code)
            except RETRIABLE as error:
                await retry.after(error)
                await connection.refresh()
            except errors.KafkaError as error:
                raise FailStop(f"a producer id was refused: {refusal(error)}") from error
            else:
                return Writer(response.producer_id, response.producer_epoch)

    async def claim(self, name: str, fenced_at: Sequence[TopicPartition]) -> Writer:
        """Raise the epoch of ``name`` and fence older epochs at these partitions.

        The coordinator answers the end of a transaction before its control records are written, but
        accepts the next transaction only after (CONCURRENT_TRANSACTIONS until then). So a claim
        makes two transactions.
        """
        response = await self._ask(
            name, lambda: InitProducerIdRequest(name, _TRANSACTION_TIMEOUT_MS)
        )
        writer = Writer(response.producer_id, response.producer_epoch)
        await self.renew(name, writer, fenced_at)
        await self.renew(name, writer, fenced_at)
        return writer

    async def renew(self, name: str, writer: Writer, fenced_at: Sequence[TopicPartition]) -> None:
        """Add the partitions to an empty transaction and abort it."""
        topics: dict[str, list[int]] = {}
        for at in fenced_at:
            topics.setdefault(at.topic, []).append(at.partition)
        identity = (name, writer.producer_id, writer.epoch)
        await self._ask(name, lambda: AddPartitionsToTxnRequest(*identity, list(topics.items())))
        await self._ask(name, lambda: EndTxnRequest(*identity, _ABORT))

    async def _ask(self, name: str, make_request: Callable[[], Any]) -> Any:
        """Send a request to the coordinator of ``name`` until it is accepted or refused."""
        retry = RetryPolicy(
            f"claiming {name}", self._connection.delivery_timeout_seconds, TRANSACTION_COORDINATOR
        )
        while True:
            try:
                response = await self._connection.send(
                    await self._coordinator(name), make_request()
                )
                _raise_errors(response)
            except RETRIABLE as error:
                await retry.after(error)
                if not isinstance(error, errors.ConcurrentTransactions):
                    self._coordinators.pop(name, None)
                    await self._connection.refresh()
            except FENCED as error:
                raise fenced(f"the claim of {name} was refused", error) from error
            except errors.TransactionalIdAuthorizationFailed as error:
                command = grant_command(
                    self._connection.arguments, ["Write"], "transactional-id", [name]
                )
                message = (
                    f"not authorized: this user lacks Write on the transactional id {name}. Grant "
                    f"it (better for all names with its prefix: --resource-pattern-type prefixed), "
                    f"then start again: {command}"
                )
                raise NotAuthorized(message) from error
            except errors.KafkaError as error:
                message = f"the claim of {name} was refused: {refusal(error)}"
                topic = str(error.args[0]).rpartition("/")[0] if error.args else ""
                refused = denied(error, self._connection.arguments, topic, Right.WRITE)
                raise (refused or FailStop(message)) from error
            else:
                return response

    async def _coordinator(self, name: str) -> int:
        """Return the coordinator of a transactional id; looked up once."""
        node = self._coordinators.get(name)
        if node is None:
            node = self._coordinators[name] = await self._connection.coordinator(name)
        return node


def _raise_errors(response: Any) -> None:
    if hasattr(response, "error_code"):
        _raise_error(response.error_code)
        return
    for topic, partitions in response.errors:
        for partition, code in partitions:
            _raise_error(code, f"{topic}/{partition}")


def _raise_error(code: int, *what: str) -> None:
    error = error_for(code)
    if error is not None:
        raise error(*what)
