"""Loyalty points, exactly once: a stage of your own on the engine, which reads the ledger.

A point for each whole euro that a payment took, and back again when it was rolled back. Make its
topics with ``payments topics apply --file points-topics.yaml``, then run any number of
``faust -A points worker --without-web --loglevel info``. ``shop.points.replays`` takes entries that
were dead-lettered once more: only the payments' workers write to the ledger.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from exactstage import Context, Log, Record, Refused, Stage
from exactstage.hosting import EngineApp
from payments.client import LedgerEntry
from payments.settings import Settings
from payments.topics.file import apply_command

TOPICS = Path(__file__).with_name("points-topics.yaml")


class Points:
    """Decides; whatever is killed, each entry counts once. No await, no clock, no I/O in here."""

    def __init__(self, output: str) -> None:
        self._output = output

    def handle(self, record: Record, context: Context) -> None:
        """Take one entry of the ledger: change a row of the journal, and emit an event."""
        try:
            entry = LedgerEntry.model_validate_json(record.value or b"")
        except ValidationError as error:
            raise Refused("not_an_entry", "the record is no ledger entry") from error
        if entry.currency != "EUR" or not entry.counter_account.startswith("sales/"):
            return
        earned = abs(entry.amount) // 100 * (1 if entry.amount < 0 else -1)
        key = entry.account.encode()
        total = int(context.get(key) or b"0") + earned
        context.put(key, b"%d" % total)
        value = json.dumps({"account": entry.account, "points": total}).encode()
        context.emit(self._output, key, value, type="points")


def points_stage(settings: Settings) -> Stage:
    """Return the stage, with the topics of this installation."""
    output = settings.topic("shop.points")
    return Stage(
        name="points",
        logic=Points(output),
        changelog=settings.topic("shop-points-changelog"),
        dead_letters=settings.topic("shop.points.dead-letters"),
        public_inputs=(settings.topics.ledger, settings.topic("shop.points.replays")),
        outputs=(output,),
    )


def create_app(settings: Settings, log: Log | None = None) -> EngineApp:
    """Make the app; its id is its consumer group, and no other installation's."""
    stage = points_stage(settings)
    app = EngineApp(
        f"{settings.topic_prefix}shop-points",
        stages=[stage],
        partitions=settings.partitions,
        connection=settings.connection(),
        log=log,
        apply_command=apply_command(settings, TOPICS),
    )
    app.rows(stage)
    app.run_stage(stage)
    return app


app = create_app(Settings())
