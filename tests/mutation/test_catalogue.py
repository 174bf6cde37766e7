"""The catalogue of faults: how it is read, and that each fault is distinguished from no fault.

A fault that no longer fits the source is a warning here, since whoever changes the source need not
know how the fault is to be rewritten. ``make mutation`` counts it as not noticed.
"""

import ast
import warnings
from pathlib import Path

import pytest

from tools.mutation.catalogue import Fault, chosen, load, parse
from tools.mutation.errors import FaultsError, MisfitError
from tools.mutation.fitting import SourceTree
from tools.mutation.running import REPOSITORY
from tools.mutation.suites import SUITES

FAULTS = load()
TREE = SourceTree(REPOSITORY)
ONE = """= a-name
What it would do
to a client.
harmless: because of that.
@ some.module:Class.function
- old
  kept
+ if new:
+     newer
"""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_fits_leaves_another_program_that_a_usual_suite_sees(fault: Fault) -> None:
    try:
        mutant = TREE.mutant(fault)
    except MisfitError as error:
        warnings.warn(f"{fault.written_at}: {error}", stacklevel=1)
        return
    source = (REPOSITORY / mutant.file).read_text()
    assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source))
    assert any(suite.is_usual and suite.sees(mutant.file) for suite in SUITES.values())


def test_a_fault_is_read_with_its_words_its_symbol_and_its_lines() -> None:
    (fault,) = parse(ONE)
    assert (fault.name, fault.place) == ("a-name", "some.module:Class.function")
    assert (fault.why, fault.harmless) == ("What it would do to a client.", "because of that.")
    assert (fault.old, fault.new) == (["old", "kept"], ["kept", "if new:", "    newer"])


def test_a_fault_of_a_file_knows_where_it_is_written() -> None:
    fault = FAULTS[0]
    file, _, line = fault.written_at.rpartition(":")
    assert Path(file).read_text().splitlines()[int(line) - 1] == f"= {fault.name}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it would do\nto a client.\nharmless: because of that.\n", ""),
        ("@ some.module:Class.function", "@ some.module"),
        ("- old\n  kept\n+ if new:\n+     newer", "- old\n+ old"),
    ],
)
def test_a_fault_that_says_or_does_nothing_is_an_error(old: str, new: str) -> None:
    with pytest.raises(FaultsError, match="a-name: needs words"):
        list(parse(ONE.replace(old, new)))


def test_a_line_without_its_mark_is_an_error() -> None:
    with pytest.raises(FaultsError, match="a-name: what does 'kept' mean"):
        list(parse(ONE.replace("  kept", "kept")))


def test_faults_are_chosen_by_name() -> None:
    (fault,) = parse(ONE)
    assert chosen([fault], ["a-name"]) == chosen([fault], []) == [fault]
    with pytest.raises(FaultsError, match="there is no fault other"):
        chosen([fault], ["other"])
