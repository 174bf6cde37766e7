"""The resources of accounts: balances, ledgers in pages, and the commands for accounts."""

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from starlette.responses import Response

from payments.client.commands import CheckedId
from payments.domain.account import is_counter_name
from payments.domain.account_commands import (
    AccountCommand,
    Close,
    Freeze,
    Limit,
    Open,
    Unfreeze,
)
from payments.gateway.async_commands import AsyncCommands
from payments.gateway.exchange import HttpRequest, json_answer, path_segment
from payments.gateway.outcomes import answer_of_account
from payments.gateway.parsing import (
    account_command_with,
    account_id,
    invalid,
    no_members,
    optional_members,
    query_of,
    wait_seconds,
    whole_number,
)
from payments.gateway.preferences import seconds_until_async
from payments.gateway.problems import Problem, RefusedRequest
from payments.gateway.service import Service
from payments.records.record_models import AccountResult, entry_members, members

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_SEQUENCE = 2**63 - 1

OF_ACCOUNT = "a"
"""The form of answers to commands for accounts."""

_Found = TypeVar("_Found")


@dataclass(slots=True)
class AccountsApi:
    """Handlers under ``/v1/accounts``."""

    service: Service
    later: AsyncCommands[AccountCommand, AccountResult]
    deadline_seconds: float

    async def open(self, request: HttpRequest) -> Response:
        """Open an account."""
        return await self._command(request, Open, "currency", "credit_limit")

    async def freeze(self, request: HttpRequest) -> Response:
        """Freeze an account."""
        return await self._command(request, Freeze)

    async def unfreeze(self, request: HttpRequest) -> Response:
        """End the freeze of an account."""
        return await self._command(request, Unfreeze)

    async def close(self, request: HttpRequest) -> Response:
        """Close an account."""
        return await self._command(request, Close)

    async def limit(self, request: HttpRequest) -> Response:
        """Set the credit limit of an account."""
        return await self._command(request, Limit, "credit_limit")

    async def command(self, request: HttpRequest) -> Response:
        """Return the result of a command that was answered 202."""
        account, own = _checked(request), unquote(request.path_params["command"])
        request.reads = False  # A problem concerns the command, not this request.
        wait = wait_seconds(query_of(request, "wait").get("wait", "0"))
        request.command = own
        return await self.later.answer(request, account, own, wait)

    async def _command(
        self, request: HttpRequest, type_: type[AccountCommand], *fields: str
    ) -> Response:
        """Send a command; answer with its result or, if ``Prefer`` asks for it, before."""
        account = _checked(request)
        if fields:
            command = account_command_with(await optional_members(request), type_, fields)
        else:
            await no_members(request)
            command = account_command_with((), type_, ())
        wait = None
        if b"prefer" in request.fields:
            wait = seconds_until_async(request.listed("prefer"))
        if wait is not None:
            return await self.later.start(request, account, command, OF_ACCOUNT, wait_seconds=wait)
        result = await self.service.account_commands.send(
            account,
            command,
            deadline_seconds=self.deadline_seconds,
            headers=request.record_headers(),
        )
        request.command = result.command
        return account_answer(request, result)

    async def balance(self, request: HttpRequest) -> Response:
        """Return an account's balance."""
        account = request.account = account_id(request.path_params["account"])
        answer = await self.service.account(account, deadline_seconds=self.deadline_seconds)
        return json_answer(members(_existing(answer)))

    async def entries(self, request: HttpRequest) -> Response:
        """Return a page of an account's ledger, in the order of its sequence numbers."""
        account = request.account = account_id(request.path_params["account"])
        query = query_of(request, "after", "limit")
        after = whole_number(query, "after", 0, least=0, most=MAX_SEQUENCE)
        limit = whole_number(query, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        answer = await self.service.entries(
            account, after=after, limit=limit, deadline_seconds=self.deadline_seconds
        )
        found = _existing(answer)
        path = f"{request.prefix}/v1/accounts/{path_segment(account)}/entries"
        following = None
        if len(found) == limit:
            following = f"{path}?after={found[-1].sequence}&limit={limit}"
        body = {"entries": [entry_members(entry) for entry in found], "next": following}
        link = None if following is None else {"link": f'<{following}>; rel="next"'}
        return json_answer(body, link)


def _existing(found: _Found | None) -> _Found:
    """Return ``found``. Raises ``RefusedRequest`` when the account does not exist."""
    if found is None:
        raise RefusedRequest(Problem.ACCOUNT_NOT_FOUND)
    return found


def _checked(request: HttpRequest) -> CheckedId:
    """Return the account of a command's path; raises ``RefusedRequest``."""
    account = account_id(request.path_params["account"])
    if is_counter_name(account):
        raise invalid("account", "must not be a counter-account's: no command is for these")
    request.account = account
    return CheckedId(account, account.encode())


def account_answer(request: HttpRequest, result: AccountResult) -> Response:
    """Return the result of a command for an account as the answer."""
    del request
    return answer_of_account(result)
