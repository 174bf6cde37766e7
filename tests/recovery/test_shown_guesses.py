"""``payments rebuild`` names the payments of which no record says everything."""

import json
from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner

from payments.cli import rebuild
from payments.recovery.entries import Guess
from payments.recovery.gathering import Source
from payments.recovery.rebuilding import Plan


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    names = [f"p{number:02}" for number in range(22)]
    made = Plan(
        base=1,
        journals=[],
        installation=None,
        source=Source(),
        commands_before=[],
        commands_are_gone=False,
        account_commands_before=[],
        account_commands_are_gone=False,
        counts=Counter({"payments": 23}),
        guesses={Guess.PARTS: ["paid"], Guess.END: names},
    )

    async def planned(*_: Any, **__: Any) -> Plan:
        return made

    monkeypatch.setattr(rebuild, "_rebuild", planned)
    return made


@pytest.mark.usefixtures("plan")
def test_some_are_named_in_text() -> None:
    lines = CliRunner().invoke(rebuild.rebuild, []).output.splitlines()
    assert lines[0] == "23 payments"
    assert lines[1].startswith("1 payments with a capture or refund whose command is deleted: ")
    assert lines[1].endswith(": paid")
    assert lines[2].startswith("22 payments that hold money until a time that no record has: ")
    assert lines[2].endswith(
        ": " + ", ".join(f"p{number:02}" for number in range(20)) + ", and 2 more"
    )


def test_all_are_named_in_json(plan: Plan) -> None:
    shown = json.loads(CliRunner().invoke(rebuild.rebuild, ["--json"]).stdout)
    assert shown["not_known"] == {str(guess): names for guess, names in plan.guesses.items()}
    assert shown["payments"] == 23
