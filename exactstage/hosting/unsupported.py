"""Unsupported features of Faust, refused where they are defined or at the start.

The engine reads all inputs and writes all rows; Faust's own consumer and recovery do nothing here.
So an agent or a stream of another topic would never get a record, and another table no row.
"""

from collections.abc import Collection, Iterable
from typing import Any

from faust.types import TopicT

from exactstage.errors import FailStop

PAGE = "see docs/extend.md"


def require_stage(table: str, stages: Collection[str]) -> None:
    """Raise ``FailStop`` for a table that belongs to no stage."""
    if table not in stages:
        raise FailStop(
            f"table {table!r}: tables of this app hold the rows of its stages "
            f"({', '.join(sorted(stages))}) and no others; define it in a Faust app of its own, or "
            f"write a stage: {PAGE}"
        )


def require_channel(what: str, channel: Any, inputs: Iterable[Any]) -> None:
    """Raise ``FailStop`` for a topic that no stage reads; channels in memory are allowed."""
    if isinstance(channel, TopicT) and not any(channel is known for known in inputs):
        raise FailStop(
            f"{what} would never get a record of {channel}: this app reads the inputs of its "
            f"stages only; define it in a Faust app of its own, with a consumer group of its own: "
            f"{PAGE}"
        )


def no_table_route() -> FailStop:
    """Return why ``table_route`` is not supported."""
    return FailStop(
        "table_route: workers of this app do not know each other's web addresses, so a request "
        f"can't be forwarded to the one that has the row; {PAGE} for how to read rows"
    )


def no_page() -> FailStop:
    """Return why ``page`` is not supported."""
    return FailStop(
        "page: Faust's web server is not started in this app, so it would answer no request; serve "
        f"the page from a Faust app of its own, or use the gateway: {PAGE}"
    )
