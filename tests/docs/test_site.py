"""The documentation as a site: links that leave docs/, and an index of all pages.

``make docs``, which is strict, proves that every link and page of the site itself is right.
"""

import re
from pathlib import Path

import pytest

from tools.dev.site import linked

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("written", "folder", "shown"),
    [
        ("[a](docs/money.md#the-exponent)", "", "[a](money.md#the-exponent)"),
        ("[a](money.md)", "docs", "[a](money.md)"),
        ("[a](../money.md)", "docs/reference", "[a](../money.md)"),
        ("[a](../README.md#settings)", "docs", "[a](start.md#settings)"),
        ("[`shop.py`](../examples/shop.py)", "docs", "`shop.py`"),
        ("[a](https://example.com/x.md)", "docs", "[a](https://example.com/x.md)"),
        ("[a](#here)", "docs", "[a](#here)"),
        ("```python\na[0](x)\n```", "docs", "```python\na[0](x)\n```"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_is_text(
    written: str, folder: str, shown: str
) -> None:
    assert linked(written, folder) == shown


def test_a_file_of_the_repository_is_linked_where_the_repository_has_an_address() -> None:
    shown = "[a](https://forge.example/p/blob/main/examples/shop.py)"
    assert linked("[a](../examples/shop.py)", "docs", "https://forge.example/p/") == shown


def test_the_index_names_every_page_once() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[[^\]]+\]\(([\w/-]+\.md)\) \|", index, re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert sorted(named) == sorted(pages)
