"""``python -m tools.mutation``: tries the catalogue's faults on the suites; prints a report.

``--check`` runs nothing and only warns of faults that no longer fit the source: as annotations of
a pull request where the environment is that of GitHub Actions.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tools.dev.errors import ToolError
from tools.dev.markdown import with_figures
from tools.mutation.catalogue import Fault, chosen, load
from tools.mutation.errors import FaultsError, MisfitError
from tools.mutation.fitting import SourceTree
from tools.mutation.report import (
    Finding,
    as_json,
    former_trials,
    found_before,
    noticed_before,
    report,
)
from tools.mutation.running import REPOSITORY, copied_tree, end_all, require_soundness, try_fault
from tools.mutation.suites import SUITES, Suite

INTERRUPTED = 130


def main() -> int:
    """Try the faults that the command line asks for; return 1 if one survived unexplained."""
    # SIGTERM ends it like Ctrl-C: the suites in flight are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _parser().parse_args()
    suites = [suite for suite in SUITES.values() if _is_wanted(suite, given.suite)]
    faults = chosen(load(), given.only)
    if given.check:
        return _check(faults)
    if given.write is not None:
        with_figures(given.write.read_text(), "")
    names = [suite.name for suite in suites]
    if given.report is not None:
        findings = found_before(faults, json.loads(given.report.read_text()))
        known = {finding.fault.name for finding in findings}
        untried = [fault.name for fault in faults if fault.name not in known]
        return _reported(
            findings, report(findings, names, everything=False, untried=untried), given
        )
    done = _noticed_before(faults, given.resume)
    left = [fault for fault in faults if fault.name not in done]
    former = {} if given.former is None else former_trials(json.loads(given.former.read_text()))
    with copied_tree() as sound:
        require_soundness(suites, sound)

        def try_one(fault: Fault) -> Finding:
            try:
                trials = try_fault(
                    fault,
                    suites,
                    sound,
                    everything=given.matrix,
                    former=former.get(fault.name),
                )
                return Finding(fault, trials)
            except MisfitError as error:
                return Finding(fault, [], misfit=str(error))

        for finding in _tried(left, try_one, jobs=given.jobs):
            done[finding.fault.name] = finding
            if given.json is not None:  # Each time: a run of an hour may be interrupted.
                given.json.write_text(json.dumps(as_json(list(done.values())), indent=2) + "\n")
    findings = [done[fault.name] for fault in faults]
    return _reported(findings, report(findings, names, everything=given.matrix), given)


def _reported(findings: Sequence[Finding], text: str, given: argparse.Namespace) -> int:
    """Print the report and put it into the document; return the exit code."""
    print(text)
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text))
    return 1 if any(finding.is_open for finding in findings) else 0


def _check(faults: Sequence[Fault]) -> int:
    """Warn of the faults that do not fit: whoever changes the source need not rewrite them."""
    tree, misfits = SourceTree(REPOSITORY), 0
    for fault in faults:
        try:
            tree.mutant(fault)
        except MisfitError as error:
            misfits += 1
            file, _, line = fault.written_at.rpartition(":")
            shown = Path(file).relative_to(REPOSITORY)
            if os.environ.get("GITHUB_ACTIONS") == "true":
                print(f"::warning file={shown},line={line}::{error}")
            else:
                print(f"warning: {shown}:{line}: {error}")
    print(f"{len(faults) - misfits} of {len(faults)} faults fit the source")
    return 0


def _tried(
    faults: Sequence[Fault], try_one: Callable[[Fault], Finding], *, jobs: int
) -> Iterator[Finding]:
    """Yield what becomes of each fault, as soon as it is known."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for done in as_completed([pool.submit(try_one, fault) for fault in faults]):
            finding = done.result()
            told = ", ".join(f"{t.suite} {t.verdict} ({t.seconds:.0f} s)" for t in finding.trials)
            told = told or finding.misfit or "no suite sees it"
            print(f"{finding.fault.name}: {told}", file=sys.stderr, flush=True)
            yield finding
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        end_all()


def _noticed_before(faults: Sequence[Fault], file: Path | None) -> dict[str, Finding]:
    if file is None:
        return {}
    return {f.fault.name: f for f in noticed_before(faults, json.loads(file.read_text()))}


def _is_wanted(suite: Suite, names: Sequence[str]) -> bool:
    return suite.name in names if names else suite.is_usual


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutation",
        description="Puts each deliberate fault into a copy of the source and runs the suites "
        "there until one notices it. Prints Markdown tables; progress goes to standard error.",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="faults to try")
    parser.add_argument("--suite", nargs="+", default=[], choices=SUITES, help="suites to run")
    parser.add_argument(
        "--matrix", action="store_true", help="run every suite on every fault that it can see"
    )
    parser.add_argument(
        "--check", action="store_true", help="only warn of faults that do not fit the source"
    )
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every trial too")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="try only what FILE (of --json) did not notice"
    )
    parser.add_argument(
        "--former", type=Path, metavar="FILE", help="try the test first that noticed it in FILE"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="print what is in FILE (of --json), try nothing"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into a document")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (FaultsError, ToolError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
