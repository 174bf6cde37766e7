"""The shell blocks of the README and of docs/, and what they promise.

- ``sh``: commands. Each ends with exit code 0, or with the one that a comment at the end of its
  line names (``# exit code 3``). A request of curl names its status so: ``# 200``.
- ``console``: commands behind ``$ ``, each with what it prints; ``...`` stands for any lines.
- ``# until Ctrl-C`` at the end: the command goes on until it is interrupted.
- ``<!-- not run: REASON -->`` on the line above a block leaves it out; ``REASONS`` has all reasons.
  What stands behind a semicolon in it is the file that tries the block instead.

What differs from run to run is left out of the comparison (``masked``): times, the partition and
offset of a record, and how long something took.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = {"sh", "console"}
LANGUAGES = SHELL | {"python", "json", "toml", "nginx", "mermaid", "text", "fish"}
REASONS = {
    "has a test of its own": 7,
    "installs": 1,
    "needs Kubernetes": 2,
    "measures or tests for minutes": 24,
}
"""Why blocks are not run, and how many there are for each reason: a new one is a decision."""

_FENCE = re.compile(r"^```(.*)$")
_MARK = re.compile(r"^<!-- not run: ([^;]+?)(?:; (\S+))? -->$")
_PROMISE = re.compile(
    r"\s#.*?\b(?:exit code (?P<code>\d+)|(?P<status>[1-5]\d\d))?(?P<stays>, until Ctrl-C)?$"
)
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "TIME"),
    (re.compile(r"(?<=[a-z])/\d+/\d+\b"), "/POSITION"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:s|ms)\b"), "DURATION"),
)
_IDS = re.compile(
    r"""payments\ (?:make|deposit|authorize|capture|void|refund|cancel|get|watch)\s
      (?!PAYMENT)(?P<a>[\w.-]+)
    | /v1/(?:payments|deposits)/(?P<b>[\w.-]+)
    | idempotency-key:\ "(?P<c>[^"]+)"
    | /payments/(?!makeP|cancelP)(?P<d>[\w.-]+)/\w
    | "(?:payment|key)":\ ?"(?P<e>[^"{]+)"
    | \b(?P<f>[\w-]+(?:\$n)?):\{
    | \.(?:make|send|deposit|authorize|capture|void|refund|cancel|get|submit|watch)
      \(\s*"(?P<g>[^"]+)"
    | portal\.call\([\w.]+,\ "(?P<h>[^"]+)"
    | --account\ (?P<i>[\w.-]+)
    | payments\ account\ (?!ACCOUNT)(?P<j>[\w.-]+)
    | /v1/accounts/(?P<k>[\w.-]+)
    | \\?"account\\?":\ ?\\?"(?P<l>\w+)
    | \baccount="(?P<m>\w+)"
    """,
    re.VERBOSE,
)
"""Where a payment's or an account's id stands. The known examples' ``accountId`` is theirs."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``left_out`` is why it is not run, ``instead`` the file that tries it."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    left_out: str | None
    instead: str | None

    @property
    def place(self) -> str:
        """Where it is, for a message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its promises: exit code, status of a request, what is printed (or None)."""

    place: str
    text: str
    exit_code: int
    status: int | None
    stays: bool
    output: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    begin: int | None = None
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if found is None:
            continue
        if begin is None:
            begin, language = number, found[1]
            continue
        mark = _MARK.match(lines[begin - 1])
        inside = tuple(lines[begin + 1 : number])
        why, instead = (mark[1], mark[2]) if mark else (None, None)
        yield Block(page, begin + 1, language, inside, why, instead)
        begin = None
    assert begin is None, f"{page}: a block without an end"


def ids(block: Block) -> set[str]:
    """Return the ids of payments and accounts in a block."""
    text = "\n".join(block.lines)
    return {next(filter(None, found.groups())) for found in _IDS.finditer(text)}


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a shell block."""
    shows = block.language == "console"
    for number, text, output in _split(block, shows=shows):
        place = f"{block.page.relative_to(ROOT)}:{number}"
        promise = _PROMISE.search(text)
        code, status, stays = promise.groups() if promise else (None, None, None)
        yield Command(
            place=place,
            text=text,
            exit_code=int(code or 0),
            status=int(status) if status else None,
            stays=stays is not None,
            output=output if shows else None,
        )


def _split(block: Block, *, shows: bool) -> Iterator[tuple[int, str, str]]:
    """Yield line number, command and output of each command."""
    command, begin, output = "", 0, list[str]()
    for number, line in enumerate(block.lines, block.line + 1):
        if command.endswith("\\"):
            command += f"\n{line}"
            continue
        if shows and not line.startswith("$ "):
            assert command, f"{block.place}: output without a command"
            output.append(line)
            continue
        if command:
            yield begin, command, "\n".join(output)
        command, begin, output = "" if line.startswith("#") else line, number, []
        command = command.removeprefix("$ ") if shows else command
    if command:
        yield begin, command, "\n".join(output)


def masked(text: str) -> str:
    """Return what is printed without what differs from run to run."""
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return text.strip()


def is_as_shown(shown: str, printed: str) -> bool:
    """Return whether a page shows what was printed."""
    parts = (re.escape(part) for part in re.split(r"^\.\.\.$", masked(shown), flags=re.MULTILINE))
    return re.fullmatch(".*".join(parts), masked(printed), re.DOTALL) is not None
