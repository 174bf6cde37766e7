"""What may be a name: the same in the code, in every published schema, and on every Python."""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from payments.domain import names
from payments.domain.account import Opening, Transfer, post
from payments.domain.names import REFUSED, SURROGATES, has_outer_space, is_name
from payments.domain.results import Reason
from payments.gateway.openapi import document as openapi
from payments.schemas.asyncapi import document as asyncapi
from payments.schemas.json_schema import NAME_SCHEMA, SCHEMAS, standalone
from payments.settings import Settings
from payments.testing import PaymentsTestbed

CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
EVERY_CODE_POINT = range(sys.maxunicode + 1)
WHOLE = ["", " ", "   ", "a", "a b", "a\n", "\na", "é" * 255, "é" * 256, "𝄞" * 255, "\u3000"]
MAKE: dict[str, Any] = {"type": "make", "account": "abc", "amount": 100}


def is_new_name(name: str) -> bool:
    return is_name(name) and not has_outer_space(name)


def test_the_table_is_that_of_the_categories() -> None:
    refused = {code for first, last in REFUSED for code in range(first, last + 1)} | {ord(" ")}
    known = {code for code in EVERY_CODE_POINT if unicodedata.category(chr(code)) in CATEGORIES}
    assert known <= refused
    # What an older Python does not know yet is unassigned there.
    assert {unicodedata.category(chr(code)) for code in refused - known} <= {"Cn"}


def test_every_schema_says_the_rule_of_the_code_for_every_code_point() -> None:
    validator = jsonschema_rs.Draft202012Validator(NAME_SCHEMA)
    python = re.compile(NAME_SCHEMA["pattern"])
    surrogates = range(SURROGATES[0], SURROGATES[1] + 1)
    for code in EVERY_CODE_POINT:
        for name in (chr(code), f"a{chr(code)}b"):
            expected = is_name(name)
            if code in surrogates:  # No UTF-8 has one: a validator can't even be given it.
                assert not expected
            else:
                assert validator.is_valid(name) == expected, hex(code)
                if name not in {" ", "\n"}:  # Before a last line break, Python's $ matches too.
                    assert (python.search(name) is not None) == expected, hex(code)


@pytest.mark.parametrize("name", [*WHOLE, *(f"{space}a" for space in " \u00a0"), "a ", "a\u200d"])
def test_the_schema_says_the_rule_of_the_code_for_whole_names(name: str) -> None:
    assert jsonschema_rs.Draft202012Validator(NAME_SCHEMA).is_valid(name) == is_new_name(name)


def test_every_published_document_has_this_one_pattern() -> None:
    published = [
        *(standalone(name) for name in SCHEMAS),
        asyncapi(Settings()),
        json.loads(json.dumps(openapi())),
    ]
    found = [p for document in published for p in patterns(document) if "255" not in p]
    assert found.count(NAME_SCHEMA["pattern"]) >= 10
    # A pattern that refuses characters at all is this one.
    assert {p for p in found if "\\u" in p} == {NAME_SCHEMA["pattern"]}


def patterns(document: object) -> Iterator[str]:
    """Yield every pattern of a JSON document."""
    if isinstance(document, dict):
        if isinstance(pattern := document.get("pattern"), str):
            yield pattern
        for member in document.values():
            yield from patterns(member)
    elif isinstance(document, list):
        for item in document:
            yield from patterns(item)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_gives_the_same_answer(version: str) -> None:
    """The case P7: U+1FAE8 was valid on 3.12 and not on 3.11. ``test_account`` has amounts."""
    program = (
        "import sys, zlib; from importlib.util import module_from_spec, spec_from_file_location\n"
        "spec = spec_from_file_location('names', sys.argv[1])\n"
        "names = module_from_spec(spec); spec.loader.exec_module(names)\n"
        "bits = bytes(names.is_name(f'a{chr(c)}b') for c in range(0x110000))\n"
        "print(zlib.crc32(bits), sum(bits), names.is_name('\\U0001fae8'))"
    )
    try:
        run = subprocess.run(
            [f"python{version}", "-c", program, str(names.__file__)],
            capture_output=True,
            text=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"python{version} does not run here: {type(error).__name__}")
    here = [is_name(f"a{chr(code)}b") for code in EVERY_CODE_POINT]
    assert run.stdout.split()[1:] == [str(sum(here)), "True"]


async def test_a_new_payment_is_refused_a_space_at_an_end() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for payment in (" p", "p "):
            refused = await payments.send(payment, MAKE)
            assert (refused.outcome, refused.reason) == ("rejected", Reason.KEY_NOT_PRINTABLE)
            refused = await payments.send(payment, {"type": "cancel"})
            assert (refused.outcome, refused.reason) == ("rejected", Reason.KEY_NOT_PRINTABLE)
            assert (await payments.send(payment, {"type": "get"})).outcome == "not_found"
        refused = await payments.send("p", {**MAKE, "id": "c "})
        assert (refused.command, refused.reason) == ("c ", Reason.INVALID_ID)
        declined = await payments.send("p", {**MAKE, "account": "abc "})
        assert (declined.outcome, declined.reason) == ("declined", Reason.INVALID_ACCOUNT)
        assert payments.ledger() == []


async def test_a_payment_of_an_earlier_version_is_read_repeated_and_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        with monkeypatch.context() as earlier:
            earlier.setattr("payments.stages.payments.fault_of_new_payment", lambda *_: None)
            assert (await payments.send("p ", MAKE)).outcome == "completed"
        assert (await payments.send("p ", {"type": "get"})).state == "completed"
        assert (await payments.send("p ", MAKE)).replayed is True
        assert (await payments.send("p ", {"type": "cancel"})).reason == Reason.ROLLED_BACK


def test_an_account_of_an_earlier_version_goes_on() -> None:
    opening = Opening(1000, "EUR")
    transfer = Transfer("make", "abc ", -100, "EUR", "sales")
    assert post(None, transfer, opening=opening) is Reason.INVALID_ACCOUNT
    opened = post(None, Transfer("make", "abc", -100, "EUR", "sales"), opening=opening)
    assert not isinstance(opened, Reason)
    assert not isinstance(post(opened.account, transfer, opening=opening), Reason)
