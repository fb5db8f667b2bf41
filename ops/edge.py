"""What adapters are given where a feed comes in, and which feed a file is of."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from ops import files
from ops.settings import Settings
from ops.terminal import Failed
from producers import records
from producers.records import Cut
from schemas.canonical import Unreadable, parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Layout
from schemas.fingerprint import Fingerprints, Key

Traces = Mapping[str, Mapping[str, str]]


def of(fingerprints: Fingerprints | None, at: datetime, traces: Traces | None = None) -> Edge:
    """`at` without a zone is UTC."""
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Edge(moment, fingerprints, traces)


def fingerprints(settings: Settings) -> Fingerprints | None:
    """None where no key is set: then feeds with full numbers are refused."""
    current, former = settings.fingerprint_key, settings.fingerprint_key_former
    if current is None:
        return None
    return Fingerprints(_key(current.get_secret_value()), None if former is None else _key(former.get_secret_value()))


def _key(written: str) -> Key:
    version, _, secret = written.partition(":")
    return Key(version, bytes.fromhex(secret))


def traces(file: Path | None) -> Traces | None:
    """Credentials by the trace number of a payment. Raises Failed for a file that is not such a table."""
    if file is None:
        return None
    with file.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        names = set(rows.fieldnames or ())
        if "trace" not in names or not names & {"token", "fingerprint"}:
            raise Failed(f"{file}:1: expected the columns trace, and token or fingerprint")
        found = {}
        for row in rows:
            found[(row["trace"] or "").strip()] = {
                name: row[name] for name in ("token", "fingerprint") if row.get(name)
            }
        return found


async def detect(file: Path) -> str | None:
    """The feed whose adapter knows the first record of `file` by its names; None if none, or several, do."""
    found = set()
    for _, alike in groupby(sorted(FEEDS.values(), key=_how_it_is_cut), key=_how_it_is_cut):
        feeds = list(alike)
        first = await _first(file, feeds[0])
        if first is None or first.record is None:
            continue
        if _is_canonical(first.body):
            return "canonical"
        found |= {feed.name for feed in feeds if feed.recognises(first.record)}
    return found.pop() if len(found) == 1 else None


def _how_it_is_cut(feed: Feed) -> str:
    return f"{feed.layout} {feed.rows}"


async def _first(file: Path, feed: Feed) -> Cut | None:
    with files.opened(file) as stream:
        # whatever the names of its columns are: it may be of any feed that is cut alike
        found = records.cuts(feed, stream) if feed.layout is Layout.ACH else records.records(stream, rows=feed.rows)
        async for cut in found:
            return cut
    return None


def _is_canonical(body: bytes) -> bool:
    try:
        parse(body)
    except Unreadable:
        return False
    return True
