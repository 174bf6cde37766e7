"""The engine speaks of no application: its errors name commands and settings as one asks it to."""

import re
from pathlib import Path

import pytest

import exactstage
from exactstage import advice

PACKAGE = Path(exactstage.__file__).parent


def test_no_file_of_the_engine_speaks_of_payments() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.md")]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"payment", line, re.IGNORECASE)
    ]
    assert found == []


def test_commands_and_settings_are_named_as_the_application_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert advice.command("journal inspect") == "payments journal inspect"
    assert advice.setting("APP_ID") == "PAYMENTS_APP_ID"
    monkeypatch.setattr(advice, "_NAMES", dict(advice._NAMES))
    advice.name_program(program="shop", prefix="SHOP_")
    assert advice.command("journal inspect") == "shop journal inspect"
    assert advice.setting("APP_ID") == "SHOP_APP_ID"
