"""The alerts: each is tested, names a section of the runbook, and reads metrics that are there."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from payments.worker import metric_families
from payments.worker.ends import REASONS

from .metric_names import family_of, require_served, used

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook.md"
LINK = "docs/runbook.md#"


def rules() -> list[Mapping[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules()}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_metric_and_label_of_an_alert_is_in_a_scrape(alert: str) -> None:
    require_served(ALERTS[alert]["expr"])


@pytest.mark.parametrize("alert", ALERTS)
def test_each_value_of_a_label_is_one_that_is_served(alert: str) -> None:
    reasons = re.findall(r'reason[=!~]+"([^"]*)"', ALERTS[alert]["expr"])
    known = {*metric_families.DEFECTS, *metric_families.NOT_READY.values(), *REASONS}
    assert {one for reason in reasons for one in reason.split("|")} <= known


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
