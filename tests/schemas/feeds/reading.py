"""Read records as the worker does: a record in, its updates as the domain has them out, or the reason for a refusal."""

import json
from datetime import UTC, datetime
from typing import Any

from domain.refusal import Refused
from domain.update import Update
from schemas import intake
from schemas.canonical import parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Fetch, Irrelevant
from schemas.feeds.reading import read, read_answer, reports
from schemas.feeds.record import Record
from schemas.fingerprint import Fingerprints, Key

FINGERPRINTS = Fingerprints(Key("v2", b"current key, 16+"))
EDGE = Edge(
    at=datetime(2026, 11, 20, tzinfo=UTC),
    fingerprints=FINGERPRINTS,
    traces={"121042880000020": {"token": "tok_international"}},
)


def updates(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> list[Update]:
    """The updates that `record` reports, as the worker reads them from the topic."""
    reports = read(FEEDS[feed], record, edge)
    assert not any(isinstance(report, Fetch) for report in reports)
    return [parse(json.dumps(report).encode()).update for report in reports]


def update(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> Update:
    (only,) = updates(feed, record, edge)
    return only


def asked(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> Fetch:
    """The fetch that a thin event leaves."""
    (only,) = read(FEEDS[feed], record, edge)
    assert isinstance(only, Fetch)
    return only


def answers(feed: str, record: dict[str, Any], answer: dict[str, Any], edge: Edge = EDGE) -> list[Update]:
    """The updates that the answer to a thin event reports."""
    reports = read_answer(FEEDS[feed], asked(feed, record, edge), answer, edge)
    return [parse(json.dumps(report).encode()).update for report in reports]


def messages(feed: Feed, record: Record, edge: Edge = EDGE) -> list[intake.TopicMessage]:
    """The messages of `record` on the topics; it must not be irrelevant."""
    messages_ = intake.to_messages(feed, record, edge)
    assert not isinstance(messages_, Irrelevant)
    return messages_


def irrelevance(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> str:
    """The kind of an irrelevant `record`."""
    result = reports(FEEDS[feed], record, edge)
    assert isinstance(result, Irrelevant), result
    return result.kind


def refusal(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> str:
    """The reason why `record` is refused."""
    try:
        reports = read(FEEDS[feed], record, edge)
    except Refused as reason:
        return str(reason)
    raise AssertionError(f"not refused, but read as {reports}")


def fingerprint(number: str) -> str:
    """The credential's key that a card number has."""
    return f":{FINGERPRINTS.current.fingerprint(number)}"
