"""Rows kept decoded: never anything but what the journal has."""

import pytest

from payments.records import row_cache
from payments.records.row_cache import RowCache


def rows() -> RowCache[str]:
    return RowCache(bytes.decode)


def test_a_row_is_found_as_it_was_stored_while_the_journal_has_that_very_row() -> None:
    held, row = rows(), b"row"
    held.put(b"k", row, "kept")
    assert held.get(b"k", row) == "kept"


def test_another_row_is_decoded_although_one_is_kept() -> None:
    held = rows()
    held.put(b"k", b"discarded", "kept")
    assert held.get(b"k", b"row") == "row"
    assert held.get(b"other", b"row") == "row"


def test_a_row_that_is_gone_is_gone_although_one_is_kept() -> None:
    held = rows()
    held.put(b"k", b"row", "kept")
    assert held.get(b"k", None) is None


def test_so_many_rows_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "MAX_ROWS", 3)
    held = rows()
    for number in range(10):
        held.put(b"%d" % number, b"row", "kept")
        assert len(held._held) <= 3


def test_a_row_that_is_forgotten_is_decoded() -> None:
    held, row = rows(), b"row"
    held.put(b"k", row, "kept")
    held.forget(b"k")
    held.forget(b"never-kept")
    assert held.get(b"k", row) == "row"
