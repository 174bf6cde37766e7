"""The catalogue of faults: each still fits the source, and each is told apart from no fault."""

import ast

import pytest

from tools.mutation.catalogue import Fault, chosen, load, parse
from tools.mutation.errors import FaultsError
from tools.mutation.running import REPOSITORY
from tools.mutation.suites import SUITES

FAULTS = load()
ONE = """= a-name
What it would do
to a client.
harmless: because of that.
@ some/file.py
-old
 kept
+new
"""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_source_once_and_leaves_a_program(fault: Fault) -> None:
    source = (REPOSITORY / fault.file).read_text()
    changed = ast.parse(fault.apply(source))
    assert ast.dump(changed) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_seen_by_a_suite_that_runs_usually(fault: Fault) -> None:
    assert any(suite.is_usual and suite.sees(fault.file) for suite in SUITES.values())


def test_a_fault_is_read_with_its_words_and_lines() -> None:
    (fault,) = parse(ONE)
    assert (fault.name, fault.file) == ("a-name", "some/file.py")
    assert (fault.why, fault.harmless) == ("What it would do to a client.", "because of that.")
    assert fault.apply("a\nold\nkept\nb\n") == "a\nkept\nnew\nb\n"


@pytest.mark.parametrize("source", ["", "old\n", "x = old\nkept\n", "old\nkept\n" * 2])
def test_lines_that_are_not_there_exactly_once_are_an_error(source: str) -> None:
    (fault,) = parse(ONE)
    with pytest.raises(FaultsError, match=r"a-name: its old lines are [02] times in some/file.py"):
        fault.apply(source)


@pytest.mark.parametrize(
    ("old", "new"),
    [("What it would do\nto a client.\nharmless: because of that.\n", ""), ("+new", "+old")],
)
def test_a_fault_that_says_or_does_nothing_is_an_error(old: str, new: str) -> None:
    text = ONE.replace(old, new).replace("-old\n kept\n+old", "-old\n+old")
    with pytest.raises(FaultsError, match="a-name: needs words"):
        list(parse(text))


def test_a_line_without_its_mark_is_an_error() -> None:
    with pytest.raises(FaultsError, match="a-name: what does 'kept' mean"):
        list(parse(ONE.replace(" kept", "kept")))


def test_faults_are_chosen_by_name() -> None:
    (fault,) = parse(ONE)
    assert chosen([fault], ["a-name"]) == chosen([fault], []) == [fault]
    with pytest.raises(FaultsError, match="there is no fault other"):
        chosen([fault], ["other"])
