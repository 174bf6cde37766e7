"""The README's tables: drawn from the code, and current."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from payments.settings import Settings
from tools.dev.readme import DOCUMENTS, filled, settings


class Shop(BaseSettings):
    """Settings of another program."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", use_attribute_docstrings=True)

    open_seconds: float = 90_000.0
    """How long it is open,
    in seconds (a|b)."""

    quiet: bool = True
    password: SecretStr | None = SecretStr("hunter2")
    """Of the safe."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_document_is_current(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text == DOCUMENTS[document](text), "run: python -m tools.dev.readme"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_meaning_with_its_unit(name: str) -> None:
    meaning = Settings.model_fields[name].description or ""
    assert len(meaning) > 10
    assert meaning.endswith(".")
    assert "second" in meaning or not name.endswith("_seconds")


def test_the_table_shows_variable_default_and_meaning_but_no_secret() -> None:
    assert settings(Shop).splitlines()[2:] == [
        r"| `SHOP_OPEN_SECONDS` | `90000` | How long it is open, in seconds (a\|b). |",
        "| `SHOP_QUIET` | `true` |  |",
        "| `SHOP_PASSWORD` |  | Of the safe. |",
    ]


def test_the_environment_does_not_change_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    monkeypatch.setenv("PAYMENTS_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("PAYMENTS_PARTITIONS", "3")
    assert settings() == before


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert filled(text, "x", "new") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"


@pytest.mark.parametrize(
    "text", ["", "<!-- x -->", "<!-- /x --><!-- x -->", "<!-- x --><!-- /x --><!-- x -->"]
)
def test_a_missing_mark_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="<!-- /x -->"):
        filled(text, "x", "new")
