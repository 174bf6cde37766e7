"""Print the payment's states as a Mermaid diagram and a Markdown table.

Both are read from ``payments.domain.payment_table``, so they can't differ from what the code does:
``python docs/draw_states.py > docs/states.md``.
"""

from collections import defaultdict

from payments.domain.payment_table import (
    IMPOSSIBLE,
    NOTHING,
    TABLE,
    Cell,
    Event,
    Rule,
    State,
    When,
)

COLUMNS = {
    Event.MAKE_OR_DEPOSIT: "make, deposit",
    Event.AUTHORIZE: "authorize",
    Event.CAPTURE: "capture",
    Event.VOID: "void",
    Event.CANCEL: "cancel",
    Event.REFUND: "refund",
    Event.GET: "get",
    Event.SETTLED_OK: "settled ok",
    Event.SETTLED_DECLINED: "settled declined",
    Event.HOLD_ENDS: "hold ends",
    Event.WINDOW_CLOSES: "window closes",
}
SETTLEMENTS = (Event.SETTLED_OK, Event.SETTLED_DECLINED)
SYSTEM = (*SETTLEMENTS, Event.HOLD_ENDS, Event.WINDOW_CLOSES)
TRANSFERS = {"forward": "transfer", "back": "transfer back"}
CONDITIONS = {
    When.OF_MAKE: "a make or deposit",
    When.HOLD_OVER: "after hold_expires",
    When.OVER_CAPTURE: "amount > held",
    When.NOTHING_CAPTURED: "captured = 0",
    When.OVER_REFUND: "amount > captured - refunded",
    When.ALL_REFUNDED: "captured = refunded",
    When.STILL_HELD: "held > 0",
    When.VOIDED: "voided",
    When.VOIDED_WHOLE: "voided and captured = 0",
}
DOCUMENT = """\
# Payment states

<!-- Made by docs/draw_states.py from TABLE in payments/domain/payment_table.py; do not edit. -->

```mermaid
{diagram}
```

Only messages that change the state are drawn; `ok` and `declined` are how a transfer has settled.
The table has all:

{table}

- `answers`: the command is answered immediately. `waits`: it starts a transfer, or overtakes one,
  and is answered when that settles. `joins`: it asks for what is in flight, and is answered as that
  settles. `queues`: it is kept whole. When the transfer in flight has settled, the queued commands
  are decided in their order, until one of them starts the next transfer.
- `if`: the first condition that is true decides. `voided`: the hold is released because a client
  asked for it, not because its time was over. A settlement's conditions are those after it.
- `all`: the answer of every command that has joined. A cancel is rejected when its money can't be
  moved back, an authorize is answered `authorized` where the
  payment ends completed or authorized. `all wait on`: no
  answer yet.
- `transfer`: money is moved. `transfer back`: what was taken and not refunded is moved back, and
  what is held is released, in one ledger entry. `hold`, `capture`, `release`, `refund`: the same,
  of that kind. A final capture releases the rest in the same entry.
- `if pinned`: with `decline_policy` pin; with retry the payment is forgotten.
- `!`: can't happen. `-`: nothing happens.

Some rules hold in every state:

- A make, deposit or authorize that differs from the stored request is rejected.
- A capture or refund whose id the payment has seen is answered as it was the first time, joins if
  it is in flight, or is rejected if it differs: the same id never moves money twice.
- A command that would join, queue or start a transfer is rejected when `max_waiters` wait already,
  joined and queued together; so is a capture or refund beyond 100 of one payment.
- When a hold's time is over while a transfer is in flight, the hold ends after that has settled.
"""


def name(state: State | None) -> str:
    """Return a state as the table shows it."""
    return "(none)" if state is None else state.value


def cell(state: State | None, event: Event, content: Cell) -> str:
    """Return what a cell does, in a few words."""
    if content is IMPOSSIBLE or content is NOTHING:
        return "!" if content is IMPOSSIBLE else "-"
    if isinstance(content, Rule):
        return rule_in_words(state, event, content)
    parts = []
    for rule in content:
        words = rule_in_words(state, event, rule)
        condition = "else" if rule.when is None else f"if {CONDITIONS[rule.when]}"
        parts.append(f"{condition}: {words}")
    return "<br>".join(parts)


def rule_in_words(state: State | None, event: Event, rule: Rule) -> str:
    """Return what a rule does."""
    parts = []
    if rule.to is not state:
        parts.append(f"→ {name(rule.to)}" + (" if pinned, else (none)" if rule.forgets else ""))
    reason = "" if rule.reason is None else f" ({rule.reason.value})"
    if rule.transfer is not None:
        parts.append(TRANSFERS.get(rule.transfer, rule.transfer))
    if rule.outcome is None:
        if reason:
            parts[0] += reason
        waits = waiting(state, event, rule)
        parts += [waits] if waits else []
    else:
        who = {Event.WINDOW_CLOSES: "notice"} | dict.fromkeys(SETTLEMENTS, "all")
        parts.append(f"{who.get(event, 'answers')} {rule.outcome.value}{reason}")
    return "; ".join(parts)


def waiting(state: State | None, event: Event, rule: Rule) -> str:
    """Return how a command waits that is not answered, or those that have joined."""
    if event in SYSTEM:
        return "all wait on" if event in SETTLEMENTS else ""
    if rule.queues:
        return "queues"
    return "joins" if rule.to is state else "waits"


def table() -> str:
    """Return the Markdown table: a row for each state, a column for each event."""
    rows = [["state", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 1)]
    for state, rules in TABLE.items():
        rows.append([name(state), *(cell(state, event, rules[event]) for event in COLUMNS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def arrows() -> dict[tuple[State | None, State | None], list[str]]:
    """Return each change of state: from and to, and the messages that cause it."""
    found: dict[tuple[State | None, State | None], list[str]] = defaultdict(list)
    for state, cells in TABLE.items():
        for event, content in cells.items():
            if content is IMPOSSIBLE or content is NOTHING:
                continue
            label = COLUMNS[event].removeprefix("settled ")
            for rule in [content] if isinstance(content, Rule) else content:
                if rule.to is state:
                    continue
                labels = found[state, rule.to]
                labels.append(f"{label} (pin)" if rule.forgets else label)
                if rule.forgets:
                    found[state, None].append(f"{label} (retry)")
    return found


def diagram() -> str:
    """Return the Mermaid state diagram; no payment is its start and its end."""
    lines = ["stateDiagram-v2"]
    for (before, after), labels in arrows().items():
        ends = ["[*]" if state is None else state.value for state in (before, after)]
        lines.append(f"    {ends[0]} --> {ends[1]}: {', '.join(dict.fromkeys(labels))}")
    return "\n".join(lines)


def document() -> str:
    """Return the whole of ``docs/states.md``."""
    return DOCUMENT.format(diagram=diagram(), table=table())


if __name__ == "__main__":
    print(document(), end="")
