"""The benchmark's history is one that real workers could have written."""

from exactstage.memory import MemoryLog
from payments.settings import Settings
from payments.verify.auditor import Auditor
from payments.verify.reading import audit
from payments.verify.topics import Topics
from tools.bench.history import CANCELLED_EVERY, DECLINED_EVERY, History

PAYMENTS = 1000


async def test_it_is_clean_and_has_every_payment_with_its_cancels_and_declines() -> None:
    settings = Settings(partitions=2, opening_balance=10**9)
    topics = [topic for phase in Topics.of(settings).phases for topic in phase]
    log = MemoryLog(topics, settings.partitions)
    history = History(log, settings, await log.new_writer())
    await history.write(0, PAYMENTS)
    report = await audit(log, Auditor(settings), show=lambda _: None)
    assert report.violations == []
    assert (report.in_flight, report.pending) == (0, 0)
    cancelled, declined = PAYMENTS // CANCELLED_EVERY, PAYMENTS // DECLINED_EVERY
    assert report.counts["commands"] == report.counts["results"] == PAYMENTS + cancelled
    openings = len({r.key for r in log.records("accounts.ledger")})
    assert report.counts["entries"] == PAYMENTS - declined + cancelled + openings
