"""Running: what becomes of a suite that fails, passes, hangs or can't run, in a copied tree."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tools.mutation import running
from tools.mutation.catalogue import parse
from tools.mutation.errors import FaultsError, MisfitError
from tools.mutation.report import (
    Finding,
    as_json,
    former_trials,
    found_before,
    noticed_before,
    rates,
    report,
)
from tools.mutation.running import Trial, Verdict, copied_tree, require_soundness, run, try_fault
from tools.mutation.suites import Suite

TESTS = {
    "passes": "def test_it(): pass",
    "fails": "def test_first(): assert 1\ndef test_second(): assert 0",
    "hangs": "import time\ndef test_it(): time.sleep(60)",
    "breaks": "import nothing_of_this_name",
}
HEALTHY = "def test_it(): assert 1 == 1\n"
FAULT = "= a-fault\nIt is wrong.\n@ test_it:test_it\n- 1 == 1\n+ 1 == 2"


def suite(file: str, name: str = "short", **options: float) -> Suite:
    return Suite(name, (file,), ("test_",), **options)  # type: ignore[arg-type]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    (tmp_path / "tools").symlink_to(Path(running.__file__).parents[1])
    for name, text in TESTS.items():
        (tmp_path / f"test_{name}.py").write_text(text + "\n")
    (tmp_path / "test_it.py").write_text(HEALTHY)
    return tmp_path


def test_a_suite_that_passes_has_noticed_nothing(tree: Path) -> None:
    trial = run(suite("test_passes.py"), tree, what="now")
    assert (trial.verdict, trial.test, trial.noticed) == (Verdict.SURVIVED, "", False)


def test_a_suite_that_fails_names_its_first_failure(tree: Path) -> None:
    trial = run(suite("test_fails.py"), tree, what="now")
    assert (trial.verdict, trial.noticed) == (Verdict.KILLED, True)
    assert trial.test == "test_fails.py::test_second"


def test_a_test_that_hangs_has_noticed_the_fault(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_ONE_TEST_SECONDS", 1)
    trial = run(suite("test_hangs.py"), tree, what="now")
    assert (trial.verdict, trial.noticed) == (Verdict.TIMED_OUT, True)
    assert trial.test == "test_hangs.py::test_it"


def test_a_suite_that_takes_too_long_is_ended_with_all_that_it_started(tree: Path) -> None:
    trial = run(suite("test_hangs.py", limit_seconds=0.5), tree, what="now")
    assert trial.verdict is Verdict.TIMED_OUT
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True)
    assert not [line for line in shown.stdout.splitlines() if str(tree) in line]


@pytest.mark.parametrize("file", ["test_breaks.py", "test_none_such.py"])
def test_tests_that_can_not_run_are_no_merit(tree: Path, file: str) -> None:
    with pytest.raises(FaultsError, match="short could not run with a fault"):
        run(suite(file), tree, what="with a fault")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a suite notice a fault by reading its file; return the names of those that ran."""
    names: list[str] = []

    def read(suite: Suite, tree: Path, *, what: str) -> Trial:
        names.append(suite.name)
        sound = (tree / suite.arguments[0]).read_text() == HEALTHY
        return Trial(suite.name, Verdict.SURVIVED if sound else Verdict.KILLED, 0.0, "test_it")

    monkeypatch.setattr(running, "run", read)
    return names


def test_a_fault_is_tried_until_it_is_noticed_and_leaves_the_sound_tree_alone(
    tree: Path, runs: list[str]
) -> None:
    (fault,) = parse(FAULT)
    (tree / "test_other.py").write_text(HEALTHY)
    suites = [
        Suite("sees nothing of it", ("test_it.py",), ("elsewhere/",)),
        suite("test_other.py", "other"),
        suite("test_it.py", "first"),
        suite("test_it.py", "second"),
    ]
    trials = try_fault(fault, suites, tree, everything=False)
    assert [(t.suite, t.noticed) for t in trials] == [("other", False), ("first", True)]
    assert (tree / "test_it.py").read_text() == HEALTHY
    try_fault(fault, suites, tree, everything=True)
    assert runs == ["other", "first", "other", "first", "second"]


@pytest.mark.parametrize(
    ("former", "tried"),
    [
        ("test_it.py::test_it", ["noticed"]),
        ("test_other.py::test_it", ["other", "noticed"]),
        ("test_it.py::test_of_another_name", ["other", "noticed"]),
    ],
    ids=["it notices again", "it notices nothing now", "it is gone"],
)
def test_the_test_that_noticed_a_fault_before_comes_first(
    former: str, tried: list[str], tree: Path
) -> None:
    (fault,) = parse(FAULT)
    (tree / "test_other.py").write_text(HEALTHY)
    suites = [suite("test_other.py", "other"), suite("test_it.py", "noticed")]
    earlier = Trial("noticed", Verdict.KILLED, 1.0, former)
    known = former_trials(as_json([Finding(fault, [SURVIVED, earlier])]))
    assert known == {"a-fault": earlier}
    trials = try_fault(fault, suites, tree, everything=False, former=known["a-fault"])
    assert [trial.suite for trial in trials] == tried
    assert trials[-1].test == "test_it.py::test_it"


@pytest.mark.usefixtures("runs")
def test_suites_have_to_pass_without_a_fault(tree: Path) -> None:
    require_soundness([suite("test_it.py")], tree)
    with pytest.raises(FaultsError, match="short fails without a fault: test_it"):
        require_soundness([suite("test_it.py"), suite("test_fails.py")], tree)


def test_the_copy_is_of_the_files_that_git_knows() -> None:
    with copied_tree() as tree:
        copied = tree / "tools" / "mutation" / "running.py"
        assert copied.read_text() == Path(running.__file__).read_text()
        assert not (tree / ".git").exists()


def finding(harmless: str, *trials: Trial) -> Finding:
    (fault,) = parse(FAULT.replace("wrong.", f"wrong.{harmless}"))
    return Finding(fault, list(trials))


KILLED = Trial("a", Verdict.KILLED, 1.0, "tests/x.py::test_it")
HUNG, SURVIVED = Trial("b", Verdict.TIMED_OUT, 2.0), Trial("b", Verdict.SURVIVED, 3.0)


def test_a_fault_is_open_when_nothing_noticed_it_and_nobody_says_why() -> None:
    assert finding("", SURVIVED).is_open
    assert not finding("\nharmless: so it is.", SURVIVED).is_open
    assert not finding("", KILLED, SURVIVED).is_open
    assert as_json([finding("", SURVIVED), finding("", HUNG)])["open"] == ["a-fault"]


def test_a_fault_that_does_not_fit_is_not_tried_and_not_noticed(tree: Path) -> None:
    (fault,) = parse(FAULT.replace("1 == 1", "1 == 3"))
    with pytest.raises(MisfitError, match="a-fault: its old lines are 0 times"):
        try_fault(fault, [suite("test_it.py")], tree, everything=False)
    found = Finding(fault, [], misfit="it does not fit")
    assert found.is_open
    assert noticed_before([fault], as_json([found])) == []
    text = report([found, finding("", KILLED)], ["a"], everything=False)
    assert (
        "2 faults: 1 killed, 0 survived and are argued to be harmless, 0 survived, 1 do not" in text
    )
    assert "| a-fault | It is wrong. | it does not fit |" in text


def test_what_was_noticed_once_is_taken_from_there_unless_the_fault_has_changed() -> None:
    noticed, left = finding("", KILLED, HUNG), finding("", SURVIVED)
    assert noticed_before([noticed.fault], as_json([noticed])) == [noticed]
    assert noticed_before([left.fault], as_json([left])) == []
    noticed.fault.new = ["another"]
    assert noticed_before([left.fault], as_json([noticed])) == []


def test_the_kill_rate_is_of_the_faults_that_a_suite_was_tried_on() -> None:
    found = [finding("", KILLED, HUNG), finding("", SURVIVED), finding("", HUNG)]
    assert rates(found, ["a", "b", "c"], everything=True).splitlines()[2:] == [
        "| a | 1 | 1 | 100% | 1 | 0 |",
        "| b | 3 | 2 | 67% | 7 | 1 |",
        "| c | 0 | 0 | - | 0 | 0 |",
    ]
    assert "alone" not in rates(found, ["a"], everything=False)


def test_survivors_stand_in_a_table_of_their_own() -> None:
    found = [finding("", KILLED), finding("\nharmless: so it is.", SURVIVED)]
    text = report(found, ["a", "b"], everything=True)
    assert "Every suite ran" in text
    assert "Every suite ran" not in report(found, ["a", "b"], everything=False)
    assert "2 faults: 1 killed, 1 survived and are argued to be harmless, 0 survived." in text
    assert "| a-fault | It is wrong. | so it is. |" in text
    assert "| `a-fault` | `test_it:test_it` | killed | - | `test_it` |" in text


def test_a_report_of_an_earlier_run_has_survivors_too_and_names_what_was_not_tried() -> None:
    survivor = finding("", SURVIVED)
    earlier = as_json([survivor])
    assert found_before([survivor.fault], earlier) == [survivor]
    changed = replace(survivor.fault, new=["1 == 4"])
    assert found_before([changed], earlier) == []
    text = report([survivor], ["b"], everything=False, untried=["another"])
    assert "1 faults: 0 killed" in text
    assert "Not tried in this run (1): `another`." in text
