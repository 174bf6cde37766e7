"""The dashboard for Grafana: each panel reads metrics that a process serves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .metric_names import require_served, used

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "payments.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = {each["title"]: each for each in DASHBOARD["panels"] if each["type"] != "row"}


@pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))
def test_each_metric_and_label_of_a_panel_is_in_a_scrape(panel: Mapping[str, Any]) -> None:
    for target in panel["targets"]:
        require_served(target["expr"])
        assert target["datasource"]["uid"] == "${datasource}", "each installation has its own"


def test_each_panel_has_a_title_and_a_place_of_its_own() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    assert len(set(places)) == len(places)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in DASHBOARD["panels"])


def test_what_an_alert_reads_is_on_the_dashboard() -> None:
    shown = {name for panel in PANELS.values() for each in panel["targets"]
             for name, _ in used(each["expr"])}  # fmt: skip
    for name in (
        "payments_ready", "payments_lag_seconds", "payments_waiting_oldest_seconds",
        "payments_timer_overdue_seconds", "payments_dead_letters_total", "payments_setting_info",
        "payments_settings_differ", "payments_account_results_total",
        "payments_recent_worker_ends", "payments_gateway_requests_total",
    ):  # fmt: skip
        assert name in shown
