"""The resources of accounts: balances, and ledgers in pages."""

from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from payments.gateway.exchange import HttpRequest, json_answer, path_segment
from payments.gateway.parsing import account_id, query_of, whole_number
from payments.gateway.problems import Problem, RefusedRequest
from payments.gateway.service import Service
from payments.records.record_models import entry_members, members

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_SEQUENCE = 2**63 - 1

_Found = TypeVar("_Found")


@dataclass(slots=True)
class AccountsApi:
    """Handlers under ``/v1/accounts``."""

    service: Service
    deadline_seconds: float

    async def balance(self, request: HttpRequest) -> Response:
        """Return an account's balance."""
        account = account_id(request.path_params["account"])
        answer = await self.service.account(account, deadline_seconds=self.deadline_seconds)
        return json_answer(members(_existing(answer)))

    async def entries(self, request: HttpRequest) -> Response:
        """Return a page of an account's ledger, in the order of its sequence numbers."""
        account = account_id(request.path_params["account"])
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
