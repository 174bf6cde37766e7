"""Print the payment's states as a Mermaid diagram and a Markdown table.

Both are read from ``payments.domain.payment.TABLE``, so they can't differ from what the code does:
``python docs/draw_states.py > docs/states.md``.
"""

from collections.abc import Iterator

from payments.domain.payment import IMPOSSIBLE, NOTHING, TABLE, Event, Rule, State

COLUMNS = {
    Event.MAKE_OR_DEPOSIT: "make, deposit",
    Event.CANCEL: "cancel",
    Event.GET: "get",
    Event.SETTLED_OK: "settled ok",
    Event.SETTLED_DECLINED: "settled declined",
    Event.WINDOW_CLOSES: "window closes",
}
SETTLEMENTS = (Event.SETTLED_OK, Event.SETTLED_DECLINED)
DOCUMENT = """\
# Payment states

<!-- Made by docs/draw_states.py from TABLE in payments/domain/payment.py; do not edit. -->

```mermaid
{diagram}
```

Only messages that change the state are drawn. The table has all:

{table}

- `waits`: the command is answered when the payment settles. `answers`: it is answered immediately.
- `all`: the answer of every command that waits. A cancel that waits is rejected when the payment
  completes after all. `all wait on`: no answer yet.
- `transfer`: money is moved. `transfer back`: the same money is moved back.
- `if pinned`: with `decline_policy` pin; with retry the payment is forgotten.
- `!`: can't happen. `-`: nothing happens.

In every state a make or deposit that differs from the stored request is rejected, and so is a
command that would wait when `max_waiters` wait already.
"""


def name(state: State | None) -> str:
    """Return a state as the table shows it."""
    return "(none)" if state is None else state.value


def cell(state: State | None, event: Event, rule: Rule) -> str:
    """Return what a rule does, in a few words."""
    if rule is IMPOSSIBLE or rule is NOTHING:
        return "!" if rule is IMPOSSIBLE else "-"
    parts = []
    if rule.to is not state:
        parts.append(f"→ {name(rule.to)}" + (" if pinned, else (none)" if rule.forgets else ""))
    if rule.transfer is not None:
        parts.append("transfer" if rule.transfer == "forward" else "transfer back")
    if rule.outcome is None:
        parts.append("all wait on" if event in SETTLEMENTS else "waits")
    else:
        who = {Event.WINDOW_CLOSES: "notice"} | dict.fromkeys(SETTLEMENTS, "all")
        reason = "" if rule.reason is None else f" ({rule.reason.value})"
        parts.append(f"{who.get(event, 'answers')} {rule.outcome.value}{reason}")
    return "; ".join(parts)


def table() -> str:
    """Return the Markdown table: a row for each state, a column for each event."""
    rows = [["state", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 1)]
    for state, rules in TABLE.items():
        rows.append([name(state), *(cell(state, event, rules[event]) for event in COLUMNS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def arrows() -> Iterator[tuple[State | None, State | None, str]]:
    """Yield each change of state: from, to, label."""
    for state, rules in TABLE.items():
        for event, rule in rules.items():
            label = COLUMNS[event]
            if rule is IMPOSSIBLE or rule is NOTHING or rule.to is state:
                continue
            yield state, rule.to, f"{label} (pin)" if rule.forgets else label
            if rule.forgets:
                yield state, None, f"{label} (retry)"


def diagram() -> str:
    """Return the Mermaid state diagram; no payment is its start and its end."""
    lines = ["stateDiagram-v2"]
    for before, after, label in arrows():
        ends = ["[*]" if state is None else state.value for state in (before, after)]
        lines.append(f"    {ends[0]} --> {ends[1]}: {label}")
    return "\n".join(lines)


def document() -> str:
    """Return the whole of ``docs/states.md``."""
    return DOCUMENT.format(diagram=diagram(), table=table())


if __name__ == "__main__":
    print(document(), end="")
