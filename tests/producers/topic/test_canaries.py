"""A card number planted in any field of any feed, in any form, does not get to the topic."""

from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from typing import cast

import pytest

from producers.topic import ingest
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed
from schemas.fingerprint import Fingerprints, Key
from tests.parts.thorough import sampled
from tests.producers import canaries

EDGE = Edge(datetime(2026, 11, 20, tzinfo=UTC), Fingerprints(Key("v1", bytes(16)), Key("v0", bytes(17))))


@pytest.mark.parametrize("feed", sampled([*FEEDS.values()], 5), ids=lambda feed: feed.name)
async def test_no_number_of_a_file_gets_to_the_topic(feed: Feed) -> None:
    content = canaries.file(feed)
    assert content.count(canaries.CANARY.encode()) > 10
    accepted = refused = 0
    async for line in ingest.read_feed(feed, cast(BufferedReader, BytesIO(content)), EDGE):
        accepted += line.refusal_text is None
        refused += line.refusal_text is not None
        assert not canaries.is_in(line.refusal_text or ""), line.number
        for key, value, headers, *_ in line.messages:
            shown = [key or b"", value, *(each for _, each in headers if each is not None)]
            for each in shown:
                assert not canaries.is_in(each.decode()), (line.number, each)
    assert accepted or feed.fetched
    assert refused


@pytest.mark.parametrize("form", canaries.FORMS.values(), ids=canaries.FORMS)
def test_what_is_planted_would_be_seen(form: str) -> None:
    assert canaries.is_in(f"a {form} b")
