"""Malformed commands and keys: each is refused for its first fault, in words."""

import gzip
import json
from collections.abc import Callable

import pytest

from payments.domain.commands import Command
from payments.domain.currencies import CURRENCY_RULE
from payments.domain.names import NAME_RULE
from payments.domain.results import Reason
from payments.records import commands
from payments.records.account_commands import parse_account_command
from payments.records.commands import Malformed, parse_command, parse_payment_id
from payments.settings import TOPICS

MAKE = b'{"type":"make","account":"abc","amount":100}'


def parse(value: bytes | None) -> Command:
    return parse_command(value, default_currency="EUR")


def make_with(amount: str) -> bytes:
    return f'{{"type":"make","account":"abc","id":"c1","amount":{amount}}}'.encode()


def account_with(account: str) -> bytes:
    return f'{{"type":"deposit","amount":1,"id":"c1","account":{account}}}'.encode()


def hold_of(seconds: str) -> bytes:
    return f'{{"type":"authorize","account":"abc","amount":1,"hold_seconds":{seconds}}}'.encode()


def noted(metadata: str) -> bytes:
    return f'{{"type":"make","account":"abc","amount":1,"metadata":{metadata}}}'.encode()


BAD: list[tuple[bytes | None, Reason, str]] = [
    (None, Reason.NULL_VALUE, "no value"),
    (b"", Reason.EMPTY_VALUE, "no value"),
    (b'{"type":"get"}' + b" " * (65_537 - 14), Reason.TOO_LARGE, "65537 bytes"),
    (b"\xff", Reason.NOT_UTF8, "position 0"),
    (b'{"type":"get","id":"\xff"}', Reason.NOT_UTF8, "position 20"),
    ('{"type":"get"}'.encode("utf-16"), Reason.NOT_UTF8, "is UTF-16, with its byte order mark"),
    (b"pay me", Reason.NOT_JSON, "column 1"),
    (b" ", Reason.NOT_JSON, "Expecting value"),
    (b'{"type":"get"} x', Reason.NOT_JSON, "Extra data"),
    (b'{"type":"get",}', Reason.NOT_JSON, "line 1"),
    (b"\xef\xbb\xbf" + MAKE, Reason.NOT_JSON, "starts with a byte order mark"),
    (make_with("01"), Reason.NOT_JSON, "delimiter"),
    (b"[" * 60_000, Reason.TOO_DEEP, "nested"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, Reason.TOO_DEEP, "nested"),
    (b"[" * 501 + b"]" * 501, Reason.TOO_DEEP, "nested"),
    (b"[" * 500 + b"]" * 500, Reason.NOT_AN_OBJECT, "an array"),
    (b"[" + b"[]," * 600 + b"[]]", Reason.NOT_AN_OBJECT, "an array"),
    (b'"' + b"[" * 600 + b'\\"' + b"[" * 600 + b'"', Reason.NOT_AN_OBJECT, '"[[['),
    (b'"' + b'\\"' * 30_000 + b"[" * 600, Reason.NOT_JSON, "Unterminated"),
    (b"[]", Reason.NOT_AN_OBJECT, "an array"),
    (b'"make"', Reason.NOT_AN_OBJECT, '"make"'),
    (b"null", Reason.NOT_AN_OBJECT, "null"),
    (b"NaN", Reason.NOT_AN_OBJECT, "NaN"),
    (MAKE[:-1] + b',"amount":100}', Reason.DUPLICATED_FIELD, '"amount" is given 2 times'),
    (MAKE[:-1] + b',"\\u0061mount":100}', Reason.DUPLICATED_FIELD, '"amount"'),
    (MAKE[:-1] + b',"amount":1,"id":null}', Reason.DUPLICATED_FIELD, '"amount"'),
    (b'{"type":"get","type":"get"}', Reason.DUPLICATED_FIELD, '"type"'),
    (b'{"type":"get","x":1,"x":1}', Reason.DUPLICATED_FIELD, '"x"'),
    (b"{}", Reason.MISSING_TYPE, "received nothing"),
    (
        b'{"account":"abc","amount":100}',
        Reason.MISSING_TYPE,
        "make, deposit, authorize, capture, void, refund, cancel or get",
    ),
    (b'{"type":"pay"}', Reason.UNKNOWN_TYPE, '"pay"'),
    (b'{"type":null}', Reason.UNKNOWN_TYPE, "null"),
    (b'{"type":["make"]}', Reason.UNKNOWN_TYPE, "an array"),
    (b'{"type":{"make":1}}', Reason.UNKNOWN_TYPE, "an object"),
    (b'{"type":"\\ud800"}', Reason.UNKNOWN_TYPE, r'"\ud800"'),
    (b'{"type":"Make","account":"abc","amount":100}', Reason.UNKNOWN_TYPE, '"Make"'),
    (MAKE[:-1] + b',"note":"x"}', Reason.UNKNOWN_FIELD, '"note"'),
    (MAKE[:-1] + b',"\\ud800":1}', Reason.UNKNOWN_FIELD, r'"\ud800"'),
    (b'{"type":"cancel","amount":1}', Reason.UNKNOWN_FIELD, '"amount" is not a field of this'),
    (b'{"type":"cancel","account":null}', Reason.UNKNOWN_FIELD, '"account"'),
    (b'{"type":"make","amount":100}', Reason.MISSING_FIELD, '"account" must be given'),
    (b'{"type":"make","account":"abc"}', Reason.MISSING_FIELD, '"amount" must be given'),
    (make_with("0"), Reason.AMOUNT_NOT_POSITIVE, '"amount" must be at least 1, received 0'),
    (make_with("-0"), Reason.AMOUNT_NOT_POSITIVE, "received 0"),
    (make_with("-5"), Reason.AMOUNT_NOT_POSITIVE, "received -5"),
    (make_with("-" + "9" * 60_000), Reason.AMOUNT_NOT_POSITIVE, "received -99999"),
    (make_with("1.5"), Reason.AMOUNT_NOT_INTEGER, "received 1.5"),
    (make_with("100.0"), Reason.AMOUNT_NOT_INTEGER, "received 100.0"),
    (make_with("1e2"), Reason.AMOUNT_NOT_INTEGER, "received 1e2"),
    (make_with("1e400"), Reason.AMOUNT_NOT_INTEGER, "received 1e400"),
    (make_with("1e" + "9" * 30), Reason.AMOUNT_NOT_INTEGER, "received 1e999"),
    (make_with("NaN"), Reason.AMOUNT_NOT_INTEGER, "received NaN"),
    (make_with("Infinity"), Reason.AMOUNT_NOT_INTEGER, "received Infinity"),
    (make_with('"100"'), Reason.AMOUNT_NOT_INTEGER, 'received "100"'),
    (make_with("true"), Reason.AMOUNT_NOT_INTEGER, "received true"),
    (make_with("null"), Reason.AMOUNT_NOT_INTEGER, "received null"),
    (make_with("[100]"), Reason.AMOUNT_NOT_INTEGER, "received an array"),
    (make_with("[" * 300 + "]" * 300), Reason.AMOUNT_NOT_INTEGER, "received an array"),
    (make_with(str(10**15 + 1)), Reason.AMOUNT_TOO_LARGE, "received 1000000000000001"),
    (make_with("9" * 60_000), Reason.AMOUNT_TOO_LARGE, "received 99999"),
    (account_with('""'), Reason.EMPTY_ACCOUNT, 'received ""'),
    (account_with('"  "'), Reason.EMPTY_ACCOUNT, 'received "  "'),
    (account_with("5"), Reason.INVALID_ACCOUNT, "received 5"),
    (account_with("1.5"), Reason.INVALID_ACCOUNT, "received 1.5"),
    (account_with("null"), Reason.INVALID_ACCOUNT, "received null"),
    (account_with('"a\\nb"'), Reason.INVALID_ACCOUNT, r"a\nb"),
    (account_with('"\\u202e"'), Reason.INVALID_ACCOUNT, r"\u202e"),
    (account_with('"\\ud800"'), Reason.INVALID_ACCOUNT, r"\ud800"),
    (account_with(f'"{"a" * 256}"'), Reason.INVALID_ACCOUNT, "1 to 255 characters"),
    (account_with('"world/0"'), Reason.RESERVED_ACCOUNT, "counter-account"),
    (account_with('"sales/12"'), Reason.RESERVED_ACCOUNT, '"sales/12"'),
    (MAKE[:-1] + b',"currency":""}', Reason.UNKNOWN_CURRENCY, 'received ""'),
    (MAKE[:-1] + b',"currency":"EURO"}', Reason.UNKNOWN_CURRENCY, '"EURO"'),
    (MAKE[:-1] + b',"currency":"eur"}', Reason.UNKNOWN_CURRENCY, '"eur"'),
    (MAKE[:-1] + b',"currency":"XXX"}', Reason.UNKNOWN_CURRENCY, '"XXX"'),
    (MAKE[:-1] + b',"currency":978}', Reason.UNKNOWN_CURRENCY, "978"),
    (MAKE[:-1] + b',"currency":["EUR"]}', Reason.UNKNOWN_CURRENCY, "an array"),
    (MAKE[:-1] + b',"id":5}', Reason.INVALID_ID, "received 5"),
    (MAKE[:-1] + b',"id":""}', Reason.INVALID_ID, 'received ""'),
    (MAKE[:-1] + b',"id":" "}', Reason.INVALID_ID, 'received " "'),
    (MAKE[:-1] + b',"id":["c1"]}', Reason.INVALID_ID, "an array"),
    (b'{"type":"get","id":"a\\u0000"}', Reason.INVALID_ID, r"a\u0000"),
    (f'{{"type":"get","id":"{"a" * 256}"}}'.encode(), Reason.INVALID_ID, "1 to 255"),
    (b'{"type":"refund"}', Reason.MISSING_FIELD, '"refund" must be given'),
    (b'{"type":"refund","refund":null}', Reason.INVALID_PART, "received null"),
    (b'{"type":"refund","refund":7}', Reason.INVALID_PART, "received 7"),
    (b'{"type":"refund","refund":" r1"}', Reason.INVALID_PART, '" r1"'),
    (f'{{"type":"refund","refund":"{"r" * 65}"}}'.encode(), Reason.INVALID_PART, "1 to 64"),
    (b'{"type":"refund","refund":"r1","final":true}', Reason.UNKNOWN_FIELD, '"final"'),
    (b'{"type":"refund","refund":"r1","refund":"r1"}', Reason.DUPLICATED_FIELD, '"refund"'),
    (b'{"type":"refund","refund":"r1","amount":0}', Reason.AMOUNT_NOT_POSITIVE, "received 0"),
    (b'{"type":"capture","capture":""}', Reason.INVALID_PART, 'received ""'),
    (b'{"type":"capture","capture":null}', Reason.INVALID_PART, "received null"),
    (b'{"type":"capture","capture":"a\\nb"}', Reason.INVALID_PART, r"a\nb"),
    (b'{"type":"capture","amount":1.5}', Reason.AMOUNT_NOT_INTEGER, "received 1.5"),
    (b'{"type":"capture","amount":5,"amount":5}', Reason.DUPLICATED_FIELD, '"amount"'),
    (b'{"type":"capture","final":true,"final":true}', Reason.DUPLICATED_FIELD, '"final"'),
    (b'{"type":"capture","final":1}', Reason.INVALID_FINAL, "must be true or false, received 1"),
    (b'{"type":"capture","final":null}', Reason.INVALID_FINAL, "received null"),
    (b'{"type":"capture","capture":"c","final":"false"}', Reason.INVALID_FINAL, '"false"'),
    (b'{"type":"capture","final":false}', Reason.MISSING_FIELD, "for a capture that is not final"),
    (b'{"type":"capture","account":"abc"}', Reason.UNKNOWN_FIELD, '"account"'),
    (b'{"type":"void","amount":1}', Reason.UNKNOWN_FIELD, '"amount" is not a field of this'),
    (b'{"type":"authorize","amount":1}', Reason.MISSING_FIELD, '"account" must be given'),
    (MAKE[:-1] + b',"hold_seconds":1}', Reason.UNKNOWN_FIELD, '"hold_seconds"'),
    (hold_of("0"), Reason.INVALID_HOLD_SECONDS, "from 1 to 31536000, received 0"),
    (hold_of("31536001"), Reason.INVALID_HOLD_SECONDS, "received 31536001"),
    (hold_of("1.0"), Reason.INVALID_HOLD_SECONDS, "received 1.0"),
    (hold_of("true"), Reason.INVALID_HOLD_SECONDS, "received true"),
    (hold_of('"60"'), Reason.INVALID_HOLD_SECONDS, 'received "60"'),
    (noted('"x"'), Reason.INVALID_METADATA, "must be an object of texts"),
    (noted("[]"), Reason.INVALID_METADATA, "received an array"),
    (noted('{"a":1}'), Reason.INVALID_METADATA, "must be an object of texts"),
    (noted('{"a":{"b":"c"}}'), Reason.INVALID_METADATA, "must be an object of texts"),
    (noted('{"a":"b","a":"b"}'), Reason.INVALID_METADATA, "each once and none empty"),
    (noted('{"":"b"}'), Reason.INVALID_METADATA, "each once and none empty"),
    (noted('{"a":"\\ud800"}'), Reason.INVALID_METADATA, "can be written as UTF-8"),
    (noted(json.dumps(dict.fromkeys(map(str, range(33)), ""))), Reason.INVALID_METADATA, "32"),
    (noted(json.dumps({"a": "é" * 2048})), Reason.INVALID_METADATA, "has 4097 bytes"),
]


@pytest.mark.parametrize(("value", "reason", "words"), BAD)
def test_a_malformed_command_is_refused_for_its_first_fault(
    value: bytes | None, reason: Reason, words: str
) -> None:
    with pytest.raises(Malformed) as caught:
        parse(value)
    assert caught.value.reason is reason
    assert words in caught.value.message
    assert len(caught.value.message) < 250
    assert caught.value.message.isprintable()


ACCOUNTS = " is a command for accounts and belongs on accounts.commands"
PAYMENTS = " is a command for payments and belongs on payments.commands"


def refusal(parse_it: Callable[..., object], value: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        parse_it(value, default_currency="EUR")
    return caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        *(b'{"type":"%s"}' % type_ for type_ in (b"open", b"freeze", b"unfreeze", b"close")),
        b'{"type":"limit","credit_limit":5000}',
        b'{"type":"open","currency":"EUR","credit_limit":5000}',
    ],
)
def test_a_command_for_an_account_among_those_for_payments_is_sent_on(value: bytes) -> None:
    type_ = parse_account_command(value, default_currency="EUR").type
    assert refusal(parse_command, value).startswith(f"{type_}{ACCOUNTS}: ")


@pytest.mark.parametrize(
    "value",
    [
        MAKE,
        b'{"type":"capture"}',
        b'{"type":"cancel"}',
        b'{"type":"refund","refund":"r"}',
    ],
)
def test_a_command_for_a_payment_among_those_for_accounts_is_sent_on(value: bytes) -> None:
    type_ = parse_command(value, default_currency="EUR").type
    assert refusal(parse_account_command, value).startswith(f"{type_}{PAYMENTS}: ")


def test_the_fault_itself_follows_the_topic_where_a_command_belongs() -> None:
    accounts = "make is a command for payments and belongs on payments.commands: "
    assert refusal(parse_account_command, MAKE) == (
        f'{accounts}"account" is not a field of any command for accounts'
    )
    twice = b'{"type":"make","account":"a","account":"b"}'
    assert refusal(parse_account_command, twice) == f'{accounts}"account" is given 2 times'
    twice = b'{"type":"limit","credit_limit":5,"credit_limit":6}'
    assert refusal(parse_command, twice) == (
        "limit is a command for accounts and belongs on accounts.commands: "
        '"credit_limit" is given 2 times'
    )


@pytest.mark.parametrize("value", [b'{"type":"seize"}', b'{"type":"get","x":1}', b'{"type":[]}'])
def test_any_other_fault_names_no_other_topic(value: bytes) -> None:
    assert " belongs on " not in refusal(parse_command, value)
    assert " belongs on " not in refusal(parse_account_command, value)


def test_the_topics_that_are_named_are_those_of_the_settings() -> None:
    assert ACCOUNTS.endswith(f" {TOPICS.account_commands}")
    assert PAYMENTS.endswith(f" {TOPICS.commands}")


TEXT = MAKE.decode()


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (
            TEXT.encode("utf-8-sig"),
            Reason.NOT_JSON,
            "starts with a byte order mark: produce it as UTF-8 without a byte order mark",
        ),
        (TEXT.encode("utf-16"), Reason.NOT_UTF8, "is UTF-16, with its byte order mark"),
        (("\ufeff" + TEXT).encode("utf-16-be"), Reason.NOT_UTF8, "is UTF-16, with its byte"),
        (TEXT.encode("utf-16-le"), Reason.NOT_JSON, "is UTF-16, not UTF-8"),
        (TEXT.encode("utf-16-be"), Reason.NOT_JSON, "is UTF-16, not UTF-8"),
        (TEXT.encode("utf-32"), Reason.NOT_UTF8, "is UTF-32, with its byte order mark"),
        (TEXT.encode("utf-32-be"), Reason.NOT_JSON, "is UTF-32, not UTF-8"),
        (MAKE + b"\0", Reason.NOT_JSON, "ends with a zero byte, as a string of C does"),
        (b"\0\0\0\0\x07" + MAKE, Reason.NOT_JSON, "as a schema registry's serializer writes"),
        (gzip.compress(MAKE, mtime=0), Reason.NOT_UTF8, "is compressed with gzip"),
        (b"\x28\xb5\x2f\xfd\x20" + MAKE, Reason.NOT_UTF8, "is compressed with zstd"),
        (b"'" + MAKE + b"'", Reason.NOT_JSON, "starts with a single quote"),
        (MAKE.replace(b'"', b"'"), Reason.NOT_JSON, "has single quotes"),
        (MAKE.replace(b'"', b'\\"'), Reason.NOT_JSON, "has backslashes before its quotes"),
        (TEXT.replace('"', "\u201c").encode(), Reason.NOT_JSON, "has typographic quotes"),
        (json.dumps(TEXT).encode(), Reason.NOT_AN_OBJECT, "so it was encoded twice"),
    ],
)
def test_what_a_program_put_around_a_command_is_named_with_the_way_to_leave_it_out(
    value: bytes, reason: Reason, message: str
) -> None:
    """A byte order mark on a topic was once refused as "Expecting value: line 1 column 1".

    The reason codes are as before: RFC 8259 (8.1) lets a reader ignore the mark, but a worker of
    another version would decide otherwise. Keys have the same marks (below); a request over HTTP
    and a file of the command line are read without the mark, else refused in the same words.
    """
    with pytest.raises(Malformed) as caught:
        parse(value)
    assert caught.value.reason is reason
    assert message in caught.value.message
    assert len(caught.value.message) < 250
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("key", "reason", "message"),
    [
        (b"\xef\xbb\xbfp1", Reason.KEY_NOT_PRINTABLE, "starts with a byte order mark"),
        ("p1".encode("utf-16"), Reason.KEY_NOT_UTF8, "is UTF-16, with its byte order mark"),
        ("p1".encode("utf-16-be"), Reason.KEY_NOT_PRINTABLE, "is UTF-16, not UTF-8"),
        (b"p1\0", Reason.KEY_NOT_PRINTABLE, "ends with a zero byte"),
        (b'\0\0\0\0\x07"p1"', Reason.KEY_NOT_PRINTABLE, "a schema registry's serializer"),
        (b"\0fence", Reason.KEY_NOT_PRINTABLE, NAME_RULE),
        (b"\xff", Reason.KEY_NOT_UTF8, "is not UTF-8: "),
    ],
)
def test_what_a_program_put_around_a_key_is_named_too(
    key: bytes, reason: Reason, message: str
) -> None:
    with pytest.raises(Malformed) as caught:
        parse_payment_id(key)
    assert caught.value.reason is reason
    assert message in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"type":"pay","note":1}', Reason.UNKNOWN_FIELD),
        (b'{"note":1}', Reason.UNKNOWN_FIELD),
        (b'{"type":"pay","amount":0}', Reason.UNKNOWN_TYPE),
        (b'{"type":"cancel","amount":0,"id":5}', Reason.UNKNOWN_FIELD),
        (b'{"type":"make","amount":0}', Reason.MISSING_FIELD),
        (b'{"type":"make","account":"","amount":0,"currency":"x","id":5}', Reason.INVALID_ID),
        (b'{"type":"make","account":"","amount":0,"currency":"x"}', Reason.EMPTY_ACCOUNT),
        (b'{"type":"make","account":"a","amount":0,"currency":"x"}', Reason.AMOUNT_NOT_POSITIVE),
    ],
)
def test_of_several_faults_the_first_in_the_documented_order_is_told(
    value: bytes, reason: Reason
) -> None:
    with pytest.raises(Malformed) as caught:
        parse(value)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            account_with('"sales/1"'),
            '"account" must not be a counter-account\'s, received "sales/1"',
        ),
        (account_with("7"), f'"account" {NAME_RULE}, received 7'),
        (
            MAKE[:-1] + b',"currency":"XYZ"}',
            f'"currency" {CURRENCY_RULE}, received "XYZ"',
        ),
        (make_with("1.5"), '"amount" must be a whole number of minor units, received 1.5'),
        (b'{"type":"make","account":"a"}', '"amount" must be given, received nothing'),
    ],
)
def test_a_refusal_names_the_field_its_rule_and_what_was_received(
    value: bytes, message: str
) -> None:
    with pytest.raises(Malformed) as caught:
        parse(value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "command", "type_"),
    [
        (b'{"id":"c1","type":"make"}', "c1", "make"),
        (b'{"id":"c1","type":"pay"}', "c1", None),
        (b'{"id":"c1"}', "c1", None),
        (b'{"id":5,"type":"cancel"}', None, "cancel"),
        (b'{"id":"","type":["get"]}', None, None),
        (b'{"id":"c1","id":"c1","type":"get"}', None, "get"),
        (b'{"id":"c1","type":"get","type":"get"}', "c1", None),
        (b'{"id":"c1","type":"get"', None, None),
        (b'["id","c1"]', None, None),
        (b"", None, None),
    ],
)
def test_a_refusal_echoes_the_id_and_type_that_can_be_read_reliably(
    value: bytes, command: str | None, type_: str | None
) -> None:
    with pytest.raises(Malformed) as caught:
        parse(value)
    assert (caught.value.command, caught.value.type) == (command, type_)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, Reason.NULL_KEY),
        (b"", Reason.EMPTY_KEY),
        (b"\xff", Reason.KEY_NOT_UTF8),
        (b"\xed\xa0\x80", Reason.KEY_NOT_UTF8),
        (b"x" * 256, Reason.KEY_TOO_LONG),
        (b"x" * 1_000_000, Reason.KEY_TOO_LONG),
        (b" ", Reason.KEY_NOT_PRINTABLE),
        (b"p\x00", Reason.KEY_NOT_PRINTABLE),
        (b"\x00fence", Reason.KEY_NOT_PRINTABLE),
        (b"p\n1", Reason.KEY_NOT_PRINTABLE),
        ("\u202e1".encode(), Reason.KEY_NOT_PRINTABLE),
    ],
)
def test_a_malformed_key_is_refused(key: bytes | None, reason: Reason) -> None:
    with pytest.raises(Malformed) as caught:
        parse_payment_id(key)
    assert caught.value.reason is reason
    assert (caught.value.command, caught.value.type) == (None, None)
    assert len(caught.value.message) < 250
    assert caught.value.message.isprintable()


def test_accounts_that_are_too_long_are_not_kept_in_memory() -> None:
    kept = commands._account_fault.cache_info().currsize
    for number in range(10):
        with pytest.raises(Malformed):
            parse(account_with(f'"{number}{"a" * 60_000}"'))
    assert commands._account_fault.cache_info().currsize == kept
