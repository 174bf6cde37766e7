"""What a stored payment costs: the sizes of rows are those that docs/operations.md shows."""

import re
from pathlib import Path

from payments.domain.payment import Part, Payment
from payments.domain.payment_table import State
from payments.domain.results import Request
from payments.records.internal_codec import encode_payment

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
NOW_MS, ENDS_MS = 1_767_225_600_000, 1_767_830_400_000
MADE = Request("make", "acct-123", 1000, "EUR")
HELD = Request("authorize", "acct-123", 1000, "EUR")
WHOLE = Part("final", 1000, whole=True)
PARCELS = Part("parcel-1", 600, final=False), Part("parcel-2", 400)
ROWS = {
    "a make": Payment(State.COMPLETED, NOW_MS, MADE),
    "authorized, not captured": Payment(
        State.AUTHORIZED, NOW_MS, HELD, hold_expires_ms=ENDS_MS, held=1000
    ),
    "authorized and captured whole": Payment(
        State.COMPLETED, NOW_MS, HELD, hold_expires_ms=ENDS_MS, captured=1000, parts=(WHOLE,)
    ),
    "two captures and a refund": Payment(
        state=State.COMPLETED,
        time_ms=NOW_MS,
        request=HELD,
        hold_expires_ms=ENDS_MS,
        captured=1000,
        refunded=200,
        parts=(*PARCELS, Part("return-1", 200, "refund")),
    ),
}


def test_rows_have_the_sizes_that_the_page_shows() -> None:
    """Of makes too, whose rows are as small as they were before there were holds."""
    shown = dict(re.findall(r"^\| ([\w ,]+) \| (\d+) bytes \|", PAGE.read_text(), re.MULTILINE))
    assert shown == {kind: str(len(encode_payment(row))) for kind, row in ROWS.items()}
