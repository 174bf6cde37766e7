"""Running: a fault goes into a fresh copy of the tree, and the suites run there."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from tools.mutation.catalogue import Fault
from tools.mutation.errors import FaultsError
from tools.mutation.fitting import SourceTree
from tools.mutation.suites import Suite

REPOSITORY = Path(__file__).parents[2]
_ONE_TEST_SECONDS = 45
_HANGING = re.compile(r"^(?:(\S+::.+?) )?\++ Timeout \++$", re.MULTILINE)
_under_way: set[subprocess.Popen[str]] = set()
_PASSED, _FAILED = 0, 1
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(StrEnum):
    """What a suite made of a fault."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class Trial(NamedTuple):
    """One suite run on one fault."""

    suite: str
    verdict: Verdict
    seconds: float
    test: str = ""
    """The first test that failed, or hung."""

    @property
    def noticed(self) -> bool:
        """Whether the fault was noticed; a suite that hangs does that too."""
        return self.verdict is not Verdict.SURVIVED


def try_fault(
    fault: Fault,
    suites: Sequence[Suite],
    sound: Path,
    *,
    everything: bool,
    former: Trial | None = None,
) -> list[Trial]:
    """Run the suites that see the fault's file: until one notices it, or all of them.

    ``sound`` is a copy of the tree without a fault, which stays as it is. The test of ``former``
    noticed the fault in an earlier trial: it is run alone before the suites. Raises ``MisfitError``
    when the fault does not fit the tree.
    """
    mutant = SourceTree(sound).mutant(fault)
    seeing = [suite for suite in suites if suite.sees(mutant.file)]
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="payments-fault-") as folder:
        # With the times of the files, so that what was compiled without the fault counts here too.
        tree = shutil.copytree(sound, Path(folder) / "tree")
        (tree / mutant.file).write_text(mutant.source)
        if former is not None and not everything:
            trials = _noticed_again(former, seeing, tree)
        for suite in seeing:
            if trials and trials[-1].noticed and not everything:
                break
            trials.append(run(suite, tree, what=f"with {fault.name}"))
    return trials


def _noticed_again(former: Trial, suites: Sequence[Suite], tree: Path) -> list[Trial]:
    """Return the trial of one test, if it notices the fault once more."""
    for suite in suites:
        if suite.name == former.suite and former.test:
            try:
                trial = run(suite._replace(arguments=(former.test,)), tree, what="as before")
            except FaultsError:  # The test has another name now, or is gone.
                return []
            return [trial] if trial.noticed else []
    return []


def require_soundness(suites: Sequence[Suite], sound: Path) -> None:
    """Check that the suites pass without a fault. Raises ``FaultsError``."""
    for suite in suites:
        trial = run(suite, sound, what="without a fault")
        if trial.noticed:
            why = trial.test or f"it {trial.verdict} after {trial.seconds:.0f} s"
            raise FaultsError(f"{suite.name} fails without a fault: {why}")


@contextmanager
def copied_tree() -> Iterator[Path]:
    """Yield a copy of the files that git knows, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory(prefix="payments-faults-") as folder:
        tree = Path(folder)
        for name in filter(None, listed.stdout.split("\0")):
            source, target = REPOSITORY / name, tree / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        yield tree


def run(suite: Suite, tree: Path, *, what: str) -> Trial:
    """Run one suite in the copy until its first failure.

    Raises ``FaultsError`` when its tests could not run at all: that is no test's merit.
    """
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-x", "-v", "--tb=no"]
    command.append(f"--timeout={_ONE_TEST_SECONDS}")
    if _draws_examples(suite, tree):
        command += ["--hypothesis-seed=0", "-p", "tools.mutation.no_shrinking"]
    # No suite tests a schema, and loading the plugin takes longer than many of them run.
    command += ["-p", "no:schemathesis"]
    # The thread method ends the run at once: a loop that hangs can't be asked to end itself.
    command += ["--timeout-method=thread", *suite.arguments]
    process = subprocess.Popen(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},  # Never the source that is being worked on.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _under_way.add(process)
    try:
        output, _ = process.communicate(timeout=suite.limit_seconds)
    except subprocess.TimeoutExpired:
        return Trial(suite.name, Verdict.TIMED_OUT, time.monotonic() - begun)
    finally:
        _under_way.discard(process)
        _end(process)
    seconds = time.monotonic() - begun
    if process.returncode == _PASSED:
        return Trial(suite.name, Verdict.SURVIVED, seconds)
    if hanging := _HANGING.search(output):
        return Trial(suite.name, Verdict.TIMED_OUT, seconds, hanging.group(1) or "")
    first = _FIRST_FAILURE.search(output)
    if process.returncode != _FAILED or first is None:
        raise FaultsError(f"{suite.name} could not run {what}:\n{output[-2000:]}")
    return Trial(suite.name, Verdict.KILLED, seconds, first.group(1))


def _draws_examples(suite: Suite, tree: Path) -> bool:
    """Whether any of these tests uses hypothesis: loading it takes longer than many tests run."""
    named = [tree / argument.partition("::")[0] for argument in suite.arguments]
    files = [file for at in named for file in ([at] if at.is_file() else at.rglob("*.py"))]
    return any("hypothesis" in file.read_text() for file in files)


def _end(process: subprocess.Popen[str]) -> None:
    """End the run with all that it started, if it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def end_all() -> None:
    """End the runs of all threads: the trial is over, or was interrupted."""
    for process in list(_under_way):
        _end(process)
