"""Print the account table as a Markdown table.

It is read from ``payments.domain.account_table``, so it can't differ from what the code does:
``python docs/draw_account_states.py > docs/account_states.md``.
"""

from payments.domain.account import Status
from payments.domain.account_table import ACCOUNT_TABLE, TYPES, Cell, Rule, When

CONDITIONS = {
    When.OUTER_SPACE: "a space at an end of the name",
    When.OTHER_CURRENCY: "another currency",
    When.OTHER_LIMIT: "another limit",
    When.SAME_LIMIT: "the same limit",
    When.NOT_ZERO: "balance or held is not 0",
}
DOCUMENT = """\
# Account states

<!-- Made by docs/draw_account_states.py from payments/domain/account_table.py; do not edit. -->

{table}

- `if`: the first condition that is true decides. An arrow is a change: the status after it, and
  one ledger entry.
- `replayed`: it is so already, and nothing changes.
- A frozen account declines new makes and authorizes, a closed one deposits too. What a
  payment has begun goes through.
- A close sets the credit limit to 0, an open of a closed account to its own.
"""


def words(status: Status | None, rule: Rule) -> str:
    """Return what a rule does."""
    arrow = "" if rule.to is None else f"→ {rule.to.value}; "
    if rule.to is not None and rule.to is status:
        arrow = "→ the new limit; "
    reason = "" if rule.reason is None else f" ({rule.reason.value})"
    return f"{arrow}{rule.outcome.value}{reason}{', replayed' if rule.replayed else ''}"


def cell(status: Status | None, content: Cell) -> str:
    """Return what a cell does."""
    if isinstance(content, Rule):
        return words(status, content)
    parts = []
    for rule in content:
        condition = "else" if rule.when is None else f"if {CONDITIONS[rule.when]}"
        parts.append(f"{condition}: {words(status, rule)}")
    return "<br>".join(parts)


def table() -> str:
    """Return the whole table."""
    lines = [f"| status | {' | '.join(TYPES)} |", "| --- " * (len(TYPES) + 1) + "|"]
    for status, row in ACCOUNT_TABLE.items():
        name = "(none)" if status is None else status.value
        cells = (cell(status, row[type_]) for type_ in TYPES)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def document() -> str:
    """Return the page."""
    return DOCUMENT.format(table=table())


if __name__ == "__main__":
    print(document(), end="")
