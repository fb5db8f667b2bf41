"""What is so of every feed with full numbers: what is no number names no card."""

import copy
import re
from typing import Any, NamedTuple

import pytest

from domain.update import UpdateType
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from tests.schemas.feeds.reading import EDGE, fingerprint, refusal, update
from tests.schemas.feeds.test_every_feed import samples


class Numbers(NamedTuple):
    """Where a feed's record has the number that was, and the one that is."""

    old: str
    new: str


NUMBERS = {
    "abu-batch": Numbers("oldAccountNumber", "newAccountNumber"),
    "abu-pull": Numbers("request.accountNumber", "account.accountNumber"),
    "abu-push": Numbers("oldAccountNumber", "newAccountNumber"),
    "bluesnap": Numbers("original-card.card-number", "updated-card.card-number"),
    "cybersource": Numbers("Old Card Number", "New Card Number"),
    "discover": Numbers("originalAccount", "updatedAccount"),
    "paysafe": Numbers("Card Number", "New Card Number"),
    "vau": Numbers("oldCardholderAccountNumber", "newCardholderAccountNumber"),
    "worldpay": Numbers("originalCard.number", "updatedCard.number"),
}
# that tell only what has changed
LEAVE_BLANK = {"abu-batch", "paysafe"}

THIRD, MISTYPED = "4000056655665556", "4000056655665565"

each_feed = pytest.mark.parametrize("feed", NUMBERS)


def value_at(record: Any, path: str) -> str | None:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record if isinstance(record, str) else None


def with_value(record: dict[str, Any], path: str, value: str) -> dict[str, Any]:
    """The same record with another `value` there, and nothing else changed."""
    name, _, further = path.partition(".")
    return {**record, name: with_value(record.get(name) or {}, further, value) if further else value}


def of_numbers(feed: str) -> list[tuple[dict[str, Any], UpdateType]]:
    """The feed's samples that name a card by its number, each with what it tells."""
    records = [copy.deepcopy(record.get("accountUpdateResponse", record)) for record in samples(FEEDS[feed])]
    named = [record for record in records if value_at(record, NUMBERS[feed].old)]
    return [(record, update(feed, record, Edge(EDGE.at, EDGE.fingerprints)).type) for record in named]


def replacement(feed: str) -> dict[str, Any]:
    return next(
        record
        for record, type_ in of_numbers(feed)
        if type_ is UpdateType.NUMBER_REPLACED and value_at(record, NUMBERS[feed].new)
    )


def test_every_feed_with_full_numbers_of_cards_is_here() -> None:
    assert {feed.name for feed in FEEDS.values() if feed.carries_numbers} == {*NUMBERS, "nacha"}


@each_feed
@pytest.mark.parametrize("zeros", ["0" * 13, "0" * 16, "0" * 19, "0000 0000 0000 0000"])
def test_zeros_are_no_new_number(feed: str, zeros: str) -> None:
    filled = with_value(replacement(feed), NUMBERS[feed].new, zeros)
    if feed in LEAVE_BLANK:
        assert update(feed, filled).type is UpdateType.EXPIRY_UPDATED
    else:
        assert refusal(feed, filled).startswith(f"{NUMBERS[feed].new}: ")


@each_feed
def test_zeros_are_no_old_number(feed: str) -> None:
    for record, _ in of_numbers(feed):
        assert refusal(feed, with_value(record, NUMBERS[feed].old, "0" * 16)).startswith(f"{NUMBERS[feed].old}: ")


@each_feed
@pytest.mark.parametrize("of", ["old", "new"])
def test_a_number_is_taken_whatever_its_check_digit(feed: str, of: str) -> None:
    """Networks' test numbers have none, and so has what a generator makes."""
    report = update(feed, with_value(replacement(feed), getattr(NUMBERS[feed], of), MISTYPED))
    assert report.type is UpdateType.NUMBER_REPLACED
    assert fingerprint(MISTYPED) in report.keys


@each_feed
@pytest.mark.parametrize("of", ["old", "new"])
@pytest.mark.parametrize(
    "written", ["400005665566555O", "\N{FULLWIDTH DIGIT FOUR}000056655665556", "4000056655665556²"]
)
def test_what_is_written_with_anything_but_digits_is_no_number_of_a_card(feed: str, of: str, written: str) -> None:
    field = getattr(NUMBERS[feed], of)
    reason = refusal(feed, with_value(replacement(feed), field, written))
    assert reason == f"{field}: expected a card number of 13 to 19 digits"


@each_feed
def test_a_number_that_stays_is_looked_up_whatever_its_check_digit(feed: str) -> None:
    stays = with_value(with_value(replacement(feed), NUMBERS[feed].old, MISTYPED), NUMBERS[feed].new, MISTYPED)
    report = update(feed, stays)
    assert report.old == report.new.credential


def of_no_new_number(feed: str) -> list[tuple[dict[str, Any], UpdateType]]:
    """The samples whose code tells of no new number; UPDATE and A tell of one where there is one."""
    cases: list[tuple[dict[str, Any], UpdateType]] = [
        (record, type_)
        for record, type_ in of_numbers(feed)
        if type_ is not UpdateType.NUMBER_REPLACED and not {"UPDATE", "A"} & set(map(str, record.values()))
    ]
    assert cases
    return cases


@each_feed
def test_a_new_number_beside_a_code_that_tells_of_none_is_refused_and_not_shown(feed: str) -> None:
    old, new = NUMBERS[feed]
    for record, type_ in of_no_new_number(feed):
        reason = refusal(feed, with_value(record, new, THIRD))
        assert reason == f"{new}: expected none, or the same as {old}, for {type_.value}"


@each_feed
@pytest.mark.parametrize("zeros", ["", " " * 16, "0" * 16])
def test_such_a_code_may_stand_beside_the_number_that_was_or_none(feed: str, zeros: str) -> None:
    for record, _ in of_no_new_number(feed):
        number = value_at(record, NUMBERS[feed].old)
        assert number is not None
        alone = update(feed, with_value(record, NUMBERS[feed].new, number))
        for written in (" ".join(re.findall(".{1,4}", number)), zeros):
            report = update(feed, with_value(record, NUMBERS[feed].new, written))
            assert (report.type, report.old, report.new) == (alone.type, alone.old, alone.new)
