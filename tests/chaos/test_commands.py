"""The commands of the storm: the same for the same seed, of every kind, overlapping."""

import json
from collections import Counter
from itertools import islice

from payments.domain.commands import Authorize
from payments.records.account_commands import parse_account_command
from payments.records.commands import parse_command
from payments.testing import Outcome, PaymentsTestbed
from tools.chaos.commands import OPENING_BALANCE, Commands, Sent
from tools.chaos.report import HOLDS_SHARE, LAPSES_SHARE

COUNT = 4000
BEGIN = {"make", "deposit", "authorize", "repeat"}
KINDS = {*BEGIN, "mismatch", "cancel", "get", "capture", "refund", "void"}


def made(seed: int) -> list[Sent]:
    commands = Commands(seed, run="r")
    return list(islice(iter(commands.next, None), COUNT))


def test_equal_seeds_give_equal_commands_and_others_do_not() -> None:
    assert made(1) == made(1)
    assert made(1) != made(2)


def test_every_kind_is_sent_and_each_is_well_formed() -> None:
    kinds = Counter(sent.kind for sent in made(1))
    assert set(kinds) == KINDS
    assert min(kinds.values()) > COUNT / 50
    for sent in made(1):
        assert parse_command(sent.value, default_currency="EUR").id == sent.id


def test_commands_for_accounts_are_well_formed_and_change_no_other_command() -> None:
    commands, plain = Commands(1, run="r"), Commands(1, run="r")
    rules = [commands.rule() for _ in range(200)]
    assert {sent.kind for sent in rules} == {
        f"account {type_}" for type_ in ("get", "open", "freeze", "unfreeze", "close", "limit")
    }
    for sent in rules:
        assert parse_account_command(sent.value, default_currency="EUR").id == sent.id
    assert commands.next().payment == plain.next().payment


def test_commands_for_one_payment_come_close_together_from_different_producers() -> None:
    places: dict[str, list[int]] = {}
    for place, sent in enumerate(made(1)):
        places.setdefault(sent.payment, []).append(place)
    overlapping = [found for found in places.values() if len(found) > 1]
    assert len(overlapping) > len(places) / 2
    producers = [{place % 4 for place in found} for found in overlapping]
    assert sum(len(used) > 1 for used in producers) > len(producers) / 2


def test_a_mismatch_differs_from_the_request_in_one_field() -> None:
    requests: dict[str, dict[str, object]] = {}
    differing: Counter[str] = Counter()
    for sent in made(1):
        fields = json.loads(sent.value)
        del fields["id"]
        if sent.kind in BEGIN:
            assert requests.setdefault(sent.payment, fields) == fields
        elif sent.kind == "mismatch" and sent.payment in requests:
            request = requests[sent.payment]
            [differs] = [f for f in fields if fields[f] != request.get(f)]
            differing[differs] += 1
    assert set(differing) == {"type", "account", "amount", "currency"}


def test_holds_that_end_together_are_payments_of_their_own() -> None:
    commands = Commands(1, run="r")
    sent = [commands.hold(5) for _ in range(20)]
    assert len({each.payment for each in sent}) == len({each.id for each in sent}) == 20
    for each in sent:
        command = parse_command(each.value, default_currency="EUR")
        assert isinstance(command, Authorize)
        assert (command.hold_seconds, each.kind) == (5, "authorize")


async def test_a_storm_has_its_share_of_holds_and_lapses() -> None:
    """On a machine that keeps up; ``report`` judges what a run has really had."""
    count, holds, lapses = 4000, set[str](), 0
    settings = {"opening_balance": OPENING_BALANCE, "partitions": 1, "window_seconds": 1}
    async with PaymentsTestbed(**settings) as payments:
        for number, sent in enumerate(made(1)[:count]):
            payments.post(sent.payment, json.loads(sent.value))
            if not number % 100:  # A hundred a second.
                await payments.quiet()
                await payments.advance(1)
        await payments.quiet()
        for result in payments.results():
            lapses += result.outcome is Outcome.LAPSED
            if result.outcome is Outcome.AUTHORIZED:
                holds.add(result.payment)
    assert len(holds) > HOLDS_SHARE * 1.1 * count
    assert lapses > LAPSES_SHARE * 1.1 * count


def test_payments_that_have_left_the_pool_are_asked_for_again() -> None:
    last: dict[str, int] = {}
    late = 0
    for place, sent in enumerate(made(1)):
        late += place - last.get(sent.payment, place) > COUNT / 4
        last[sent.payment] = place
    assert late > 0
