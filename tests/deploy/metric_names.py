"""Which metrics a Prometheus expression reads, and which families are served."""

import re
from collections.abc import Iterator

from payments.gateway import gateway_metrics
from payments.process.metric_family import Family
from payments.worker import metric_families

# Tests compare both with real scrapes: ``tests/test_metrics.py``, ``tests/gateway/test_metrics.py``
# and, of a worker's process, ``tests/broker/test_metrics_on_broker.py``.
FAMILIES = {each.name: each for each in (*metric_families.FAMILIES, *gateway_metrics.FAMILIES)}
OF_A_SCRAPE = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of a bucket."""

_METRIC = re.compile(r"\b((?:payments|process)_[a-z_]+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def family_of(sample: str) -> Family | None:
    """Return the family of a sample's name in a scrape."""
    for family in FAMILIES.values():
        histogram = {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        if sample in (histogram if family.kind == "histogram" else {family.sample}):
            return family
    return None


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression with the labels that it is asked for."""
    for name, matchers in _METRIC.findall(expression):
        yield name, set(_LABEL.findall(matchers))


def require_served(expression: str) -> None:
    """Fail where an expression reads a metric, or a label, that no process serves."""
    found = list(used(expression))
    assert found, f"it reads no metric of this project: {expression}"
    known = set(OF_A_SCRAPE)
    for name, labels in found:
        family = family_of(name)
        assert family is not None, f"no process serves {name}"
        assert labels <= set(family.labels), f"{name} has the labels {family.labels}"
        known |= set(family.labels)
    for names in _GROUPED.findall(expression):
        assert {name.strip() for name in names.split(",")} <= known, expression
