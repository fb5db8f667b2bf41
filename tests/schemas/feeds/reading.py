"""How the tests of adapters read: one record in, updates as the domain has them out, or the reason why not."""

import json
from datetime import UTC, datetime
from typing import Any

from domain.update import Update
from schemas.canonical import parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Fetch, Refused, answered, read
from schemas.fingerprint import Fingerprints, Key

FINGERPRINTS = Fingerprints(Key("v2", b"current key, 16+"))
EDGE = Edge(
    at=datetime(2026, 11, 20, tzinfo=UTC),
    fingerprints=FINGERPRINTS,
    traces={"121042880000020": {"token": "tok_international"}},
)


def updates(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> list[Update]:
    """What `record` tells, as the worker will read it from the topic."""
    told = read(FEEDS[feed], record, edge)
    assert not any(isinstance(each, Fetch) for each in told)
    return [parse(json.dumps(each).encode()).update for each in told]


def update(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> Update:
    (only,) = updates(feed, record, edge)
    return only


def asked(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> Fetch:
    """What a thin event leaves to be fetched."""
    (only,) = read(FEEDS[feed], record, edge)
    assert isinstance(only, Fetch)
    return only


def answers(feed: str, record: dict[str, Any], answer: dict[str, Any], edge: Edge = EDGE) -> list[Update]:
    """What the answer to a thin event tells."""
    told = answered(FEEDS[feed], asked(feed, record, edge), answer, edge)
    return [parse(json.dumps(each).encode()).update for each in told]


def refusal(feed: str, record: dict[str, Any], edge: Edge = EDGE) -> str:
    """Why `record` is refused."""
    try:
        told = read(FEEDS[feed], record, edge)
    except Refused as reason:
        return str(reason)
    raise AssertionError(f"not refused, but read as {told}")


def fingerprint(number: str) -> str:
    """The credential's key that a card number has."""
    return f":{FINGERPRINTS.current.fingerprint(number)}"
