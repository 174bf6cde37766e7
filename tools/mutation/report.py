"""The report: which fault was noticed by what, and the kill rate of each suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.dev.markdown import markdown_table
from tools.mutation.catalogue import Fault
from tools.mutation.running import Trial, Verdict


@dataclass
class Finding:
    """A fault and its trials."""

    fault: Fault
    trials: Sequence[Trial]
    misfit: str = ""
    """Why the fault does not fit the source: it was not tried, so it proves nothing."""

    @property
    def noticed(self) -> bool:
        """Whether any suite noticed the fault."""
        return any(trial.noticed for trial in self.trials)

    @property
    def is_open(self) -> bool:
        """Whether nothing noticed the fault, and nobody has said why that is no harm.

        One that does not fit was not noticed either.
        """
        return bool(self.misfit) or not (self.noticed or self.fault.harmless)


def report(
    findings: Sequence[Finding],
    suites: Sequence[str],
    *,
    everything: bool,
    untried: Sequence[str] = (),
) -> str:
    """Return all tables as Markdown; ``everything`` says that no suite was spared.

    ``untried`` are the names of faults of which nothing is known.
    """
    how = "Every suite ran on every fault that it can see."
    if not everything:
        how = (
            "The test that had noticed a fault before ran first, alone, where one is known; then "
            "the suites in the order of the table, until one had noticed the fault."
        )
    parts = [f"{summary(findings)} {how}", rates(findings, suites, everything=everything)]
    survivors = [finding for finding in findings if not finding.noticed]
    if survivors:
        rows = [
            [f.fault.name, f.fault.why, f.misfit or f.fault.harmless or "**open**"]
            for f in survivors
        ]
        parts += [
            "Survivors, and faults that do not fit the source:",
            markdown_table(
                ["fault", "what it does", "why that is harmless, or why it was not tried"], rows
            ),
        ]
    if untried:
        names = ", ".join(f"`{name}`" for name in untried)
        parts.append(f"Not tried in this run ({len(untried)}): {names}.")
    parts += ["All faults that were tried:", details(findings, suites)]
    return "\n\n".join(parts)


def summary(findings: Sequence[Finding]) -> str:
    """Return one sentence of counts."""
    killed = sum(finding.noticed for finding in findings)
    argued = sum(not f.noticed and not f.is_open for f in findings)
    misfits = sum(bool(finding.misfit) for finding in findings)
    left = sum(finding.is_open for finding in findings) - misfits
    counts = (
        f"{len(findings)} faults: {killed} killed, {argued} survived and are argued to be "
        f"harmless, {left} survived"
    )
    return (
        f"{counts}, {misfits} do not fit the source and were not tried."
        if misfits
        else f"{counts}."
    )


def rates(findings: Sequence[Finding], suites: Sequence[str], *, everything: bool) -> str:
    """Return the kill rate of each suite, of the faults that it was tried on."""
    headings = ["suite", "faults tried", "killed", "rate", "seconds"]
    headings += ["killed by it alone"] if everything else []
    rows = []
    for suite in suites:
        trials = [trial for f in findings for trial in f.trials if trial.suite == suite]
        killed = sum(trial.noticed for trial in trials)
        alone = sum(f.noticed and _noticed_by(f) == [suite] for f in findings)
        rate = f"{killed / len(trials):.0%}" if trials else "-"
        seconds = sum(trial.seconds for trial in trials)
        row = [suite, str(len(trials)), str(killed), rate, f"{seconds:,.0f}"]
        rows.append([*row, str(alone)] if everything else row)
    return markdown_table(headings, rows)


def details(findings: Sequence[Finding], suites: Sequence[str]) -> str:
    """Return each fault with what each suite made of it."""
    rows = []
    for finding in findings:
        by_suite = {trial.suite: trial for trial in finding.trials}
        first = next((trial.test for trial in finding.trials if trial.test), "")
        row = [f"`{finding.fault.name}`", f"`{finding.fault.place}`"]
        row += [_word(by_suite.get(suite)) for suite in suites]
        rows.append([*row, f"`{first.partition('::')[2]}`" if first else ""])
    return markdown_table(["fault", "in", *suites, "first test that failed or hung"], rows)


def as_json(findings: Sequence[Finding]) -> Mapping[str, object]:
    """Return all that was found."""
    return {
        "open": [finding.fault.name for finding in findings if finding.is_open],
        "faults": [
            {
                "name": finding.fault.name,
                "why": finding.fault.why,
                "harmless": finding.fault.harmless,
                "symbol": finding.fault.place,
                "old": finding.fault.old,
                "new": finding.fault.new,
                "misfit": finding.misfit,
                "trials": [trial._asdict() for trial in finding.trials],
            }
            for finding in findings
        ],
    }


def found_before(faults: Sequence[Fault], earlier: Mapping[str, Any]) -> list[Finding]:
    """Return what an earlier trial (``as_json``) found, of faults that are still the same."""
    found = {entry["name"]: entry for entry in earlier["faults"]}
    findings = []
    for fault in faults:
        entry = found.get(fault.name)
        same = entry and (entry["old"], entry["new"]) == (fault.old, fault.new)
        if entry and same:
            trials = [Trial(**{**t, "verdict": Verdict(t["verdict"])}) for t in entry["trials"]]
            findings.append(Finding(fault, trials, entry["misfit"]))
    return findings


def noticed_before(faults: Sequence[Fault], earlier: Mapping[str, Any]) -> list[Finding]:
    """Return those of ``found_before`` that something noticed."""
    return [finding for finding in found_before(faults, earlier) if finding.noticed]


def former_trials(earlier: Mapping[str, Any]) -> dict[str, Trial]:
    """Return the trial that noticed each fault in an earlier run (``as_json``), by its name."""
    return {
        entry["name"]: Trial(**{**trial, "verdict": Verdict(trial["verdict"])})
        for entry in earlier["faults"]
        for trial in entry["trials"]
        if trial["test"]
    }


def _noticed_by(finding: Finding) -> list[str]:
    return [trial.suite for trial in finding.trials if trial.noticed]


def _word(trial: Trial | None) -> str:
    return "-" if trial is None else trial.verdict.value
