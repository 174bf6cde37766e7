"""The arithmetic of rolling deploys: which payments count, and how long they waited."""

import pytest

from tools.chaos.deploys import Case, Deploy, deploy_of, table
from tools.chaos.errors import ChaosError
from tools.chaos.pulse import Beat
from tools.chaos.recovery import Stand


def test_only_payments_that_were_sent_in_the_deploy_count() -> None:
    waits = {9.9: 7.0, 10.0: 0.01, 10.5: 0.01, 11.0: 2.0, 12.0: 9.0}
    found = deploy_of([Beat(0, sent, sent + wait) for sent, wait in waits.items()], 10.0, 12.0)
    assert (found.payments, found.seconds) == (3, 2.0)
    assert (round(found.p50, 6), round(found.longest, 6)) == (0.01, 2.0)


def test_a_deploy_in_which_nothing_was_answered_has_no_figures() -> None:
    with pytest.raises(ChaosError, match="no payment was answered"):
        deploy_of([Beat(0, 1.0, 2.0)], 10.0, 12.0)


def test_the_table_has_medians() -> None:
    deploys = [Deploy(seconds, 0.01, 0.2, seconds, 100) for seconds in (3.0, 9.0, 4.0)]
    stand = Stand(1000, 3, static=False, disk=True)
    assert table([Case(stand, deploys)]).splitlines()[-1] == (
        "| 1,000 | disk | 3 | dynamic | 3 | 4.0 | 10 | 200 | 4.00 |"
    )
