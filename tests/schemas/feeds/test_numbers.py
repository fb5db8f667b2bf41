"""What is so of every feed with full numbers: what is no number names no card."""

import copy
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

OTHER, MISTYPED = "4916338506082832", "4916338506082823"

each_feed = pytest.mark.parametrize("feed", NUMBERS)


def said(record: Any, path: str) -> str | None:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record if isinstance(record, str) else None


def saying(record: dict[str, Any], path: str, value: str) -> dict[str, Any]:
    """The same record with another `value` there, and nothing else changed."""
    name, _, further = path.partition(".")
    return {**record, name: saying(record.get(name) or {}, further, value) if further else value}


def of_numbers(feed: str) -> list[tuple[dict[str, Any], UpdateType]]:
    """The feed's samples that name a card by its number, each with what it tells."""
    records = [copy.deepcopy(record.get("accountUpdateResponse", record)) for record in samples(FEEDS[feed])]
    named = [record for record in records if said(record, NUMBERS[feed].old)]
    return [(record, update(feed, record, Edge(EDGE.at, EDGE.fingerprints)).type) for record in named]


def replacement(feed: str) -> dict[str, Any]:
    return next(
        record
        for record, type_ in of_numbers(feed)
        if type_ is UpdateType.NUMBER_REPLACED and said(record, NUMBERS[feed].new)
    )


def test_every_feed_with_full_numbers_of_cards_is_here() -> None:
    assert {feed.name for feed in FEEDS.values() if feed.carries_numbers} == {*NUMBERS, "nacha"}


@each_feed
@pytest.mark.parametrize("zeros", ["0" * 13, "0" * 16, "0" * 19, "0000 0000 0000 0000"])
def test_zeros_are_no_new_number(feed: str, zeros: str) -> None:
    filled = saying(replacement(feed), NUMBERS[feed].new, zeros)
    if feed in LEAVE_BLANK:
        assert update(feed, filled).type is UpdateType.EXPIRY_UPDATED
    else:
        assert refusal(feed, filled).startswith(f"{NUMBERS[feed].new}: ")


@each_feed
def test_zeros_are_no_old_number(feed: str) -> None:
    for record, _ in of_numbers(feed):
        assert refusal(feed, saying(record, NUMBERS[feed].old, "0" * 16)).startswith(f"{NUMBERS[feed].old}: ")


@each_feed
def test_a_new_number_with_a_wrong_check_digit_is_refused_and_not_shown(feed: str) -> None:
    told = refusal(feed, saying(replacement(feed), NUMBERS[feed].new, MISTYPED))
    assert told == f"{NUMBERS[feed].new}: expected a card number whose check digit is right"


@each_feed
def test_an_old_number_is_looked_up_whatever_its_check_digit(feed: str) -> None:
    vaulted = saying(replacement(feed), NUMBERS[feed].old, MISTYPED)
    told = update(feed, vaulted)
    assert told.old is not None
    assert (told.type, told.old.key) == (UpdateType.NUMBER_REPLACED, fingerprint(MISTYPED))


@each_feed
def test_a_number_that_stays_is_looked_up_whatever_its_check_digit(feed: str) -> None:
    stays = saying(saying(replacement(feed), NUMBERS[feed].old, MISTYPED), NUMBERS[feed].new, MISTYPED)
    told = update(feed, stays)
    assert told.old == told.new.credential
