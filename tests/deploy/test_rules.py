"""The alerts: each is tested, names a section of the runbook, and reads metrics that are there."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from payments.gateway import gateway_metrics
from payments.process.metric_family import Family
from payments.worker import metric_families

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook.md"
LINK = "docs/runbook.md#"

# ``tests/test_metrics.py`` and ``tests/gateway/test_metrics.py`` compare both with a real scrape.
FAMILIES = {each.name: each for each in (*metric_families.FAMILIES, *gateway_metrics.FAMILIES)}
OF_A_SCRAPE = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of a bucket."""

METRIC = re.compile(r"\b((?:payments|process)_[a-z_]+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def rules() -> list[Mapping[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules()}


def family_of(sample: str) -> Family | None:
    """Return the family of a sample's name in a scrape."""
    for family in FAMILIES.values():
        histogram = {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        if sample in (histogram if family.kind == "histogram" else {family.sample}):
            return family
    return None


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression with the labels that it is asked for."""
    for name, matchers in METRIC.findall(expression):
        yield name, set(LABEL.findall(matchers))


@pytest.mark.parametrize("alert", ALERTS)
def test_each_metric_and_label_of_an_alert_is_in_a_scrape(alert: str) -> None:
    found = list(used(ALERTS[alert]["expr"]))
    assert found, "an alert reads a metric of this project"
    known = set(OF_A_SCRAPE)
    for name, labels in found:
        family = family_of(name)
        assert family is not None, f"no process serves {name}"
        assert labels <= set(family.labels), f"{name} has the labels {family.labels}"
        known |= set(family.labels)
    for names in GROUPED.findall(ALERTS[alert]["expr"]):
        assert {name.strip() for name in names.split(",")} <= known


@pytest.mark.parametrize("alert", ALERTS)
def test_each_value_of_a_label_is_one_that_is_served(alert: str) -> None:
    reasons = re.findall(r'reason[=!~]+"([^"]*)"', ALERTS[alert]["expr"])
    known = {*metric_families.DEFECTS, *metric_families.NOT_READY.values(), *ends_reasons()}
    assert {one for reason in reasons for one in reason.split("|")} <= known


def ends_reasons() -> set[str]:
    from payments.worker.ends import REASONS  # noqa: PLC0415 - of one test

    return set(REASONS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_names_a_section_of_the_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"].endswith(".")
    link = rule["annotations"]["runbook_url"]
    assert link.startswith(LINK)
    anchors = set(sections())
    assert link.removeprefix(LINK) in anchors, "the runbook has no such section"


def sections() -> Iterator[str]:
    """Yield the anchors of the alerts' sections, as the site makes them."""
    text = RUNBOOK.read_text(encoding="utf-8").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    for title in re.findall(r"^### (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_each_section_of_the_alerts_belongs_to_one() -> None:
    linked = [rule["annotations"]["runbook_url"].removeprefix(LINK) for rule in ALERTS.values()]
    assert sorted(sections()) == sorted(linked)


def test_each_alert_is_tested_where_it_fires_and_where_it_must_not() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    fires, quiet = set[str](), set[str]()
    for test in tests:
        for each in test["alert_rule_test"]:
            (fires if each["exp_alerts"] else quiet).add(each["alertname"])
            names = [found for series in test["input_series"] for found in used(series["series"])]
            assert all(family_of(name) is not None for name, _ in names)
    assert fires == quiet == set(ALERTS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")]
)
def test_promtool_accepts_the_rules_and_their_tests(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
