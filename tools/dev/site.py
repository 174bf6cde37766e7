"""Hooks of mkdocs: the README is a page of the site, and links out of docs/ break nothing.

Pages link to files of the repository (``../examples/shop.py``), which the site does not have. With
``repo_url`` in mkdocs.yml such a link leads to the file there; without it only its text is left.
"""

import re
from pathlib import Path
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
START = "start.md"
"""The README's page; ``README.md`` would be the folder's index to mkdocs."""

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(
    r"\[(?P<text>(?:`[^`\n]*`|[^\]\n`])+)\]\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)"
)


def linked(markdown: str, folder: str, repo_url: str | None = None) -> str:
    """Return a page with its links as the site needs them.

    ``folder`` is where the page is in the repository: ``docs``, or "" for the README.
    """

    def site_link(link: re.Match[str]) -> str:
        text, anchor = link["text"], link["anchor"] or ""
        path = normpath(f"{folder}/{link['path']}".lstrip("/"))
        if path == "README.md":
            return f"[{text}]({START}{anchor})"
        if path.startswith("docs/"):
            return link[0] if folder else f"[{text}]({path.removeprefix('docs/')}{anchor})"
        return f"[{text}]({repo_url.rstrip('/')}/blob/main/{path}{anchor})" if repo_url else text

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(site_link, part) for part in parts[::2]]
    return "".join(parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README to the pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    content = linked(readme, "", config.repo_url)
    files.append(File.generated(config, START, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page of docs/."""
    del files
    folder = f"docs/{page.file.src_uri}".rpartition("/")[0]
    return markdown if page.file.src_uri == START else linked(markdown, folder, config.repo_url)
