"""What adapters need where a feed comes in: keys, dates and traces; and which feed a file is of."""

import csv
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from api.body import PostedRow
from domain.refusal import Refused
from loops.giving_way import TimeSlice
from ops.open_file import OpenFile
from ops.settings import Settings
from ops.terminal import Failed
from producers.lines import Chunks, Damaged
from producers.topic import records
from producers.topic.file_record import FileRecord
from schemas.canonical import parse
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Layout
from schemas.fingerprint import Fingerprints, Key

# 8,192 of the shortest lines take a few hundredths of a second.
_PIECE = 16 * 1024

Traces = Mapping[str, Mapping[str, str]]


def of(
    fingerprints: Fingerprints | None,
    at: datetime,
    traces: Traces | None = None,
    digit_ids: DigitIds = NO_DIGIT_IDS,
) -> Edge:
    """The edge with these values. `at` without a zone is UTC."""
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Edge(moment, fingerprints, traces, digit_ids=digit_ids)


def fingerprints(settings: Settings) -> Fingerprints | None:
    """The keyed fingerprints of the settings; None where no key is set: feeds with full numbers are refused then."""
    current, former = settings.fingerprint_key, settings.fingerprint_key_former
    if current is None:
        return None
    return Fingerprints(_key(current.get_secret_value()), None if former is None else _key(former.get_secret_value()))


def _key(written: str) -> Key:
    version, _, secret = written.partition(":")
    return Key(version, bytes.fromhex(secret))


async def rows(feed: Feed, body: bytes) -> AsyncIterator[PostedRow]:
    """The rows of a table that was posted, cut like those of a file; other tasks have their turn in between."""
    time_slice = TimeSlice()
    async for row in records.read_records(feed, Chunks(_pieces(body, time_slice))):
        yield PostedRow(row.body, row.record, row.refusal)
        await time_slice.pause_when_over()


async def _pieces(body: bytes, time_slice: TimeSlice) -> AsyncIterator[bytes]:
    """`body` in pieces, with pauses for other tasks: even lines that are no rows take time."""
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]
        await time_slice.pause_when_over()


def traces(file: Path | None) -> Traces | None:
    """Credentials by the trace number of a payment. Raises Failed for a file that is not such a table."""
    if file is None:
        return None
    # spreadsheets write a byte order mark before the first name
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        try:
            names = set(rows.fieldnames or ())
            if "trace" not in names or not names & {"token", "fingerprint"}:
                raise Failed(f"{file}:1: expected the columns trace, and token or fingerprint")
            return {
                (row["trace"] or "").strip(): {name: row[name] for name in ("token", "fingerprint") if row.get(name)}
                for row in rows
            }
        except UnicodeDecodeError:
            raise Failed(f"{file}: expected UTF-8") from None
        except csv.Error as error:
            raise Failed(f"{file}:{rows.line_num}: expected CSV ({error})") from None


async def detect(source: OpenFile) -> str | None:
    """The feed whose adapter recognises the first record of a file by its names; None if none does, or several do."""
    with suppress(Damaged):
        return await _detect(source)
    return None


async def _detect(source: OpenFile) -> str | None:
    names = set()
    for _, alike in groupby(sorted(FEEDS.values(), key=_how_it_is_cut), key=_how_it_is_cut):
        feeds = list(alike)
        first = await _first(source, feeds[0])
        if first is None or first.record is None:
            continue
        if _is_canonical(first.body):
            return "canonical"
        names |= {feed.name for feed in feeds if feed.recognises(first.record)}
    return names.pop() if len(names) == 1 else None


def _how_it_is_cut(feed: Feed) -> str:
    return f"{feed.layout} {feed.rows}"


async def _first(source: OpenFile, feed: Feed) -> FileRecord | None:
    stream = source.stream()
    # with any names of columns: it may be of every feed that is cut alike
    if feed.layout is Layout.ACH:
        file_records = records.read_records(feed, stream)
    else:
        file_records = records.read_table_or_objects(stream, rows=feed.rows)
    async for record in file_records:
        return record
    return None


def _is_canonical(body: bytes) -> bool:
    try:
        parse(body)
    except Refused:
        return False
    return True
