"""The address of a record: what the engine writes, the records read, and the reverse."""

import pytest

from exactstage import Record, TopicPartition
from exactstage.record import address_text, parse_address
from payments.records import record_address
from payments.records.record_address import RecordAddress

ADDRESS = RecordAddress("eu/payments.commands", 6, 2**60)
TEXT = "eu/payments.commands/6/1152921504606846976"


def test_an_address_has_one_text_form() -> None:
    record = Record(*ADDRESS, 0, None, None, ())
    at = TopicPartition(ADDRESS.topic, ADDRESS.partition)
    texts = {str(ADDRESS), record.address, at.address(ADDRESS.offset), address_text(*ADDRESS)}
    assert texts == {TEXT}
    assert record_address.address_text(ADDRESS.topic, "6", str(ADDRESS.offset)) == TEXT
    assert RecordAddress.parse(TEXT) == parse_address(TEXT) == ADDRESS


@pytest.mark.parametrize(
    "text", ["", "a", "a/1", "/1/2", "a/1/", "a//2", "a/x/2", "a/-1/2", "a/1/-2", "a/\u0663/2"]
)
def test_what_is_no_address_is_an_error(text: str) -> None:
    for parse in (RecordAddress.parse, parse_address):
        with pytest.raises(ValueError, match="is no address such as"):
            parse(text)
