"""The id of a record that has none: of its content, so that two records which differ in anything have two ids."""

import copy
import json
from dataclasses import replace
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import pytest

from domain.refusal import Refused
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Fetch
from schemas.feeds.reading import complete, read, read_answer
from schemas.feeds.record import Record, UpdateFields
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, update
from tests.schemas.feeds.test_every_feed import each_feed, fetches, places, samples, thin_feed

AT = "2026-11-20T09:14:13Z"
FIRST, SECOND = "4111111111111111", "4012888888881881"


def test_two_cards_that_are_closed_at_one_moment_are_two_updates() -> None:
    closed = {"reasonIdentifier": "C", "oldExpirationDate": "0000", "newAccountNumber": None, "eventDateTime": AT}
    stamps = [update("abu-push", closed | {"oldAccountNumber": number}).stamp for number in (FIRST, SECOND)]
    assert stamps[0].occurred_at == stamps[1].occurred_at
    assert stamps[0].update_id != stamps[1].update_id


def test_two_tokens_that_are_closed_at_one_moment_are_two_updates() -> None:
    closed = {"response": "501", "responseTime": AT}
    stamps = [update("worldpay", closed | {"originalToken": {"cnpToken": token}}).stamp for token in ("a", "b")]
    assert stamps[0].occurred_at == stamps[1].occurred_at
    assert stamps[0].update_id != stamps[1].update_id


WHOLE: UpdateFields = {
    "type": "NUMBER_REPLACED",
    "occurredAt": AT,
    "old": {"token": "a", "fingerprint": "f", "formerFingerprint": "g", "methodType": "CARD"},
    "new": {"token": "b", "fingerprint": "h", "last4": "1881", "brand": "VISA", "expiryMonth": 1, "expiryYear": 2030},
    "reason": "EXPIRED",
    "customer": {"enterpriseId": "e1"},
}


@pytest.mark.parametrize(("place", "key"), [(place, key) for place, key in places(WHOLE)], ids=str)
def test_every_part_of_an_update_counts(place: dict[str, Any], key: str) -> None:
    whole = complete(FEEDS["vau"], copy.deepcopy(WHOLE), EDGE)
    was = place.pop(key)
    try:
        assert complete(FEEDS["vau"], copy.deepcopy(WHOLE), EDGE)["id"] != whole["id"]
        place[key] = "another"
        assert complete(FEEDS["vau"], copy.deepcopy(WHOLE), EDGE)["id"] != whole["id"]
    finally:
        place[key] = was


def test_the_feed_counts_and_the_order_of_keys_does_not_matter_to_readers() -> None:
    assert complete(FEEDS["vau"], dict(WHOLE), EDGE)["id"] != complete(FEEDS["discover"], dict(WHOLE), EDGE)["id"]
    undated = {name: value for name, value in WHOLE.items() if name != "occurredAt"}
    ids = {complete(FEEDS["vau"], dict(undated), EDGE.at_row(row))["id"] for row in (1, 2, 3)}
    assert len(ids) == 3


def test_an_id_is_the_digest_of_the_update_as_it_is_written() -> None:
    """It must stay what it is: a file that is sent again after an upgrade is recognised by it."""
    written = (
        b'{"vendor":"vau","type":"CLOSED","occurredAt":"2026-11-20T09:14:13Z","old":{"token":"t","methodType":"CARD"}}'
    )
    message = {"id": None, "type": "CLOSED", "occurredAt": AT, "old": {"token": "t", "methodType": "CARD"}}
    assert complete(FEEDS["vau"], message, EDGE)["id"] == f"vau-{blake2b(written, digest_size=16).hexdigest()}"


def has_digest_as_id(feed: Feed, message: UpdateFields) -> bool:
    """Whether the id is the digest of the content, and not the vendor's."""
    return str(message["id"]).startswith(f"{feed.name}-") and len(str(message["id"])) == len(feed.name) + 33


def content(message: UpdateFields) -> str:
    return json.dumps({name: value for name, value in message.items() if name != "id"}, sort_keys=True)


def updates(feed: Feed, record: Record, edge: Edge = EDGE) -> list[UpdateFields]:
    """The updates that the record reports; none of one that is refused."""
    try:
        return [report for report in read(feed, record, edge) if not isinstance(report, Fetch)]
    except Refused:
        return []


VALUES = (FIRST, SECOND, "another", "1231", "2031", 7, "C", "V")


@each_feed
def test_records_that_differ_in_one_field_and_say_something_else_have_another_id(feed: Feed) -> None:
    by_content: dict[str, str] = {}
    for sample in samples(feed):
        record = copy.deepcopy(sample)
        for place, key in [(record, next(iter(record))), *places(record)]:
            was = place[key]
            for value in (was, *VALUES):
                place[key] = value
                for message in updates(feed, record):
                    if has_digest_as_id(feed, message):
                        by_content[content(message)] = str(message["id"])
            place[key] = was
    assert len(set(by_content.values())) == len(by_content)


@each_feed
def test_a_record_without_a_date_has_another_id_when_it_comes_again(feed: Feed) -> None:
    """Its update is dated by its arrival, so under the same id it would look like another update."""
    later = replace(EDGE, at=EDGE.at + timedelta(days=1))
    for sample in samples(feed):
        record = copy.deepcopy(sample)
        for place, key in places(record):
            was, place[key] = place[key], None
            for first, again in zip(updates(feed, record), updates(feed, record, later), strict=True):
                is_dated = first["occurredAt"] == again["occurredAt"]
                assert (first["id"] == again["id"]) == is_dated, key
            place[key] = was


@thin_feed
def test_so_have_answers(feed: Feed) -> None:
    by_content: dict[str, str] = {}
    for fetch in fetches(feed):
        answer = copy.deepcopy(ANSWERS[feed.name])
        for place, key in list(places(answer)):
            was = place[key]
            for value in (was, *VALUES):
                place[key] = value
                try:
                    messages = read_answer(feed, fetch, answer, EDGE)
                except Refused:
                    messages = []
                digested = [message for message in messages if has_digest_as_id(feed, message)]
                by_content |= {content(message): str(message["id"]) for message in digested}
            place[key] = was
    assert len(set(by_content.values())) == len(by_content)
