"""The auditor stands apart from what it audits: it shares models and codecs, not decisions."""

import subprocess
import sys

import pytest

from exactstage.log import Record
from payments.settings import Settings
from payments.verify.auditor import Auditor
from tests.domain.test_shape import imports, inside, is_in

SHARED = (
    "payments.cli.options",
    "payments.cli.output",
    "payments.domain.account.Account",
    "payments.domain.account.Counter",
    "payments.domain.account.CounterAccount",
    "payments.domain.account.counter_name",
    "payments.domain.account.is_counter_name",
    "payments.domain.account.partition_of_counter",
    "payments.domain.account_commands.AccountCommand",
    "payments.domain.account_commands.Limit",
    "payments.domain.account_commands.Open",
    "payments.domain.money.money_text",
    "payments.domain.payment.Payment",
    "payments.domain.payment_table.State",
    "payments.domain.results.Outcome",
    "payments.domain.results.Reason",
    "exactstage.checkpoint",
    "exactstage.dead_letters",
    "exactstage.errors",
    "exactstage.kafka.KafkaLog",
    "exactstage.log",
    "exactstage.outputs",
    "exactstage.partitioner",
    "exactstage.gc_tuning",
    "payments.records",
    "payments.settings",
    "payments.topics.cluster",
    "payments.cli.user_errors",
    "payments.verify",
)


@pytest.mark.parametrize("module", inside("payments.verify"))
def test_it_imports_models_and_codecs_and_no_decision(module: str) -> None:
    for name in imports(module):
        assert not is_in(name, "payments") or is_in(name, *SHARED), name


def test_it_loads_no_stage() -> None:
    code = "import sys, payments.verify.reading; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "payments.verify.auditor" in loaded.stdout.split()
    assert not {"payments.stages", "payments.app", "faust"} & set(loaded.stdout.split())


def test_it_takes_topics_in_their_order_only() -> None:
    auditor = Auditor(Settings())
    auditor.read([Record("payments.commands", 0, 0, 0, b"p1", b"{}", ())])
    with pytest.raises(ValueError, match=r"payments\.results must come before"):
        auditor.read([Record("payments.results", 0, 0, 0, b"p1", b"{}", ())])
