"""What docs/http.md says of statuses, scopes, paths without a token, and unknown query parameters.

Its table of operations is generated (``tests/dev/test_readme.py``); that the page's requests are
answered with their statuses is in ``test_http_doc.py``.
"""

import re
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from payments.gateway.app import Gateway
from payments.gateway.operations import OPERATIONS
from payments.gateway.problems import Problem
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens_file import SCOPES
from tests.gateway.fake_service import FakeService

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
TOKEN = "a-token-for-the-tests-1"  # noqa: S105 - of no use anywhere


def first_column(heading: str) -> list[str]:
    """Return the first column of the page's table with this heading in it, without code marks."""
    [rows] = re.findall(rf"^\| {heading} \|.*\n\| -.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [row.split("|")[1].strip().strip("`") for row in rows.splitlines()]


def free_paths() -> list[str]:
    """Return the paths of operations without scopes, with a file and a type in them."""
    paths = [one.path for one in OPERATIONS if not one.scopes]
    return [path.format(file="start.js", problem="declined") for path in paths]


def test_the_page_lists_the_paths_without_a_token() -> None:
    [listed] = re.findall(r"`X-API-Key: TOKEN`, except\n(.*?)\. The file", PAGE, re.DOTALL)
    paths = re.findall(r"`(/[^`]*)`", listed)
    named = {path.replace("FILE", "{file}").replace("TYPE", "{problem}") for path in paths}
    assert named == {one.path for one in OPERATIONS if not one.scopes}


def test_the_page_lists_every_status_that_an_answer_has() -> None:
    listed = {int(status) for row in first_column("status") for status in row.split(", ")}
    assert listed == {200, 202, *(problem.value.status for problem in Problem)}


def test_the_page_lists_every_scope() -> None:
    assert tuple(first_column("scope")) == SCOPES


@pytest.mark.parametrize("path", free_paths())
async def test_a_path_that_the_page_lists_needs_no_token(fake: FakeService, path: str) -> None:
    async with _client(fake, GatewaySettings(tokens=(SecretStr(TOKEN),))) as http:
        response = await http.get(path)
    assert response.status_code in {200, 302}, response.text


@pytest.mark.parametrize("path", ["/problems", "/health"])
async def test_what_the_page_does_not_list_is_no_page(fake: FakeService, path: str) -> None:
    assert path not in free_paths()
    async with _client(fake, GatewaySettings()) as http:
        assert (await http.get(path)).status_code == 404


async def test_a_query_parameter_is_ignored_but_by_entries_and_locations(fake: FakeService) -> None:
    fake.release.set()
    async with _client(fake, GatewaySettings()) as http:
        assert (await http.get("/v1/payments/p1?verbose=1")).status_code == 200
        entries = await http.get("/v1/accounts/abc/entries?verbose=1")
        location = await http.get("/v1/payments/p1/commands/c1?verbose=1")
    assert (entries.status_code, location.status_code) == (422, 422)


def _client(fake: FakeService, settings: GatewaySettings) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Gateway(fake, settings))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")
