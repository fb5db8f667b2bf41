"""What docs/feeds.md says that wallets must say is what the updates of the samples look for."""

import json
import re
from pathlib import Path

from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Fetch
from schemas.feeds.reading import read, read_answer
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE
from tests.schemas.feeds.test_every_feed import each_feed, samples

PAGE = Path(__file__).parents[3] / "docs" / "feeds.md"
ADYENS = ("adyen", "adyen-rtau")
KEYED = re.compile(r"v2:[0-9a-f]{64}")


def looked_for(feed: Feed) -> tuple[set[tuple[str, str]], set[str]]:
    """Tokens by their vendor, and fingerprints."""
    tokens, fingerprints = set(), set()
    for record in samples(feed):
        for report in read(feed, record, EDGE):
            reports = [report]
            if isinstance(report, Fetch):
                reports = [*read_answer(feed, report, ANSWERS[feed.name], EDGE)] if report.file_at is None else []
            for message in reports:
                assert not isinstance(message, Fetch)
                for side in ("old", "new"):
                    named = message.get(side, {})
                    tokens |= {(message["vendor"], named["token"])} if "token" in named else set()
                    fingerprints |= {named["fingerprint"]} if "fingerprint" in named else set()
    return tokens, fingerprints


def written(feed: Feed) -> tuple[str, str]:
    """The cells of the feed's row, for credentials and for the fingerprint."""
    table = PAGE.read_text(encoding="utf-8").partition("## What wallets must say")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    (row,) = [row for row in rows if f"`{feed.name}`" in row[0].strip().split(", ")]
    return row[1], row[2]


@each_feed
def test_a_wallet_that_says_what_the_page_says_is_found(feed: Feed) -> None:
    tokens, fingerprints = looked_for(feed)
    credentials, fingerprint = written(feed)
    shown = {(shown["vendor"], shown["token"]) for shown in map(json.loads, re.findall(r"`(\{.*?\})`", credentials))}
    # one row for both, and each has samples of its own
    of_the_row = tokens.union(*(looked_for(FEEDS[name])[0] for name in ADYENS if feed.name in ADYENS))
    assert shown <= of_the_row
    assert bool(shown) is bool(tokens)
    own = {value for value in fingerprints if not KEYED.fullmatch(value)}
    assert set(re.findall(rf"`({feed.name}:[^`]+)`", fingerprint)) <= own
    assert (f"`{feed.name}:`" in fingerprint) is bool(own)
    assert ("`VERSION:HEX`" in fingerprint) is (fingerprints != own)
