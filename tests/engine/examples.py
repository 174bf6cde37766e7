"""The examples of stages, loaded from their files as a reader would run them."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def ledger_entry(account: str, sequence: int, amount: int) -> bytes:
    """Return an entry of the ledger that took or gave money."""
    return json.dumps(
        {
            "account": account, "sequence": sequence, "payment": f"{account}-{sequence}",
            "kind": "make", "amount": amount, "balance": 100_000, "currency": "EUR",
            "exponent": 2, "counter_account": "sales/0", "time": "2026-01-01T00:00:00.000Z",
        }
    ).encode()  # fmt: skip


def points_of(value: bytes | None) -> tuple[str, int]:
    """Return account and points of one event of the loyalty points."""
    found = json.loads(value or b"")
    return found["account"], found["points"]
