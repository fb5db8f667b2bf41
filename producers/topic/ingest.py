"""A feed's file as lines for the topic: canonical updates as they are, a vendor's records through its adapter.

An unusable line is sent too: operators look for dead letters in one place. A line that holds a card number is sent with
its digits masked, and with a header that marks it as unreadable: masked, it might pass for an update.
"""

import json
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader
from typing import Any

from domain import pan
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import token_key
from producers.lines import LONGEST_DOCUMENT, FilePosition, Source, lines
from producers.topic import records
from producers.topic.records import FileRecord
from producers.topic.stream import FeedLine
from schemas import intake, mistakes
from schemas.canonical import UNREADABLE_HEADER, masked, update_in
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.feed import Edge, Feed, Irrelevant
from schemas.feeds.reading import parts
from schemas.feeds.record import Record
from schemas.intake import LONGEST, Headers, TopicMessage
from schemas.mistakes import RefusedPart

_BEGINNING = FilePosition()


async def canonical(
    stream: BufferedReader, begin: FilePosition = _BEGINNING, digit_ids: DigitIds = NO_DIGIT_IDS
) -> AsyncIterator[FeedLine]:
    """The lines of a feed in canonical form (design.md §4), without blank lines. The feed is never whole in memory.

    A single JSON document is read, too, as in any feed.
    """
    if begin.offset:
        stream.seek(begin.offset)
        following = lines(stream, begin)
    else:
        whole = lines(stream, longest_first=LONGEST_DOCUMENT)
        first = await records.first_line(whole)
        if first is None:
            return
        if refusal := mistakes.file_refusal(first.text):
            yield _unreadable_file(records.unreadable_file(first, refusal))
            return
        beginning = await records.read_beginning(first, whole)
        if beginning.of_document:
            async for record in records.document(beginning, whole):
                yield _canonical(record, digit_ids)
            return
        following = records.after(beginning.lines, whole)
    async for raw in following:
        if raw.text.strip():
            yield read(raw.number, raw.text, digit_ids=digit_ids, end=raw.end)


def _unreadable_file(record: FileRecord) -> FeedLine:
    reason = str(record.refusal)
    letter = TopicMessage(None, record.body, [(UNREADABLE_HEADER, reason.encode())])
    return FeedLine(record.number, record.end, (letter,), reason)


def _canonical(record: FileRecord, digit_ids: DigitIds) -> FeedLine:
    """The line of an element of a document. A document that is too long has no body."""
    if record.refusal is None:
        return read(record.number, record.body, digit_ids=digit_ids)
    fits = 0 < len(record.body) <= LONGEST
    letters = (_unusable(record.body, record.refusal, digit_ids),) if fits else ()
    return FeedLine(record.number, 0, letters, str(record.refusal))


def read(
    number: int, text: bytes, headers: Headers = (), *, digit_ids: DigitIds = NO_DIGIT_IDS, end: int = 0
) -> FeedLine:
    """The line of one canonical update: `text` without its end, `LONGEST` bytes at most; a message has `headers` too.

    In fields that `digit_ids` names, digits are no card number.
    """
    if len(text) > LONGEST:
        return FeedLine(number, end, (), str(records.LINE_TOO_LONG))
    try:
        update = update_in(text, headers, digit_ids)
    except Refused as refused:
        return FeedLine(number, end, (_unusable(text, refused.refusal, digit_ids),), pan.mask(str(refused)))
    return FeedLine(
        number, end, (TopicMessage(None if update.old is None else update.old.key.encode(), text, headers),)
    )


async def vendors(feed: Feed, stream: Source, edge: Edge, begin: FilePosition = _BEGINNING) -> AsyncIterator[FeedLine]:
    """The records of a vendor's file from `begin` on, each with the updates that it reports."""
    before = begin.parts
    async for record in records.file_records(feed, stream, begin):
        record_lines = adapted(feed, record, edge, before)
        before += len(record_lines) - 1
        for line in record_lines:
            yield line._replace(parts=before) if before else line


def adapted(feed: Feed, record: FileRecord, edge: Edge, before: int = 0) -> list[FeedLine]:
    """A record as lines for the topic, one for each of its parts. An unusable part is refused by name, alone.

    `before` counts the parts before this record in the file that have no number of their own.
    """
    if record.record is None:
        assert record.refusal is not None
        return [_refused(feed, record, record.body, record.refusal)]
    try:
        record_parts = parts(feed, record.record)
    except Refused as refused_whole:
        return [_refused(feed, record, record.body, refused_whole.refusal)]
    if not record_parts:
        return [FeedLine(record.number, record.end, (), last=record.last)]
    row = record.number + before
    if len(record_parts) == 1:
        result = _adapt_part(feed, record.record, record_parts[0], edge.at_row(row))
        if isinstance(result, Refusal):
            return [_refused(feed, record, record.body, result)]
        return [_usable(record, result)]
    results = [_adapt_part(feed, record.record, part, edge.at_row(row + at)) for at, part in enumerate(record_parts)]
    refused = [
        RefusedPart(number, part, result)
        for number, (part, result) in enumerate(zip(record_parts, results, strict=True), 1)
        if isinstance(result, Refusal)
    ]
    letters = iter(mistakes.dead_letters(record.body, refused, len(record_parts)))
    # reading can begin again only after the record's last part
    ends = [*[0] * (len(record_parts) - 1), record.end]
    return [_part(feed, record._replace(end=end), part, letters) for end, part in zip(ends, results, strict=True)]


def _usable(record: FileRecord, result: list[TopicMessage] | Irrelevant) -> FeedLine:
    if isinstance(result, Irrelevant):
        return FeedLine(record.number, record.end, (), last=record.last, irrelevant=result.kind)
    return FeedLine(record.number, record.end, result, last=record.last)


def _adapt_part(feed: Feed, record: Record, part: Record, edge: Edge) -> list[TopicMessage] | Irrelevant | Refusal:
    """The messages of a part of `record`, or why it cannot be used."""
    try:
        return intake.to_messages(feed, part, edge)
    except Refused as refused:
        return mistakes.explain(feed, record, refused.refusal)


def _part(
    feed: Feed,
    record: FileRecord,
    result: list[TopicMessage] | Irrelevant | Refusal,
    letters: Iterator[tuple[bytes, Refusal]],
) -> FeedLine:
    if not isinstance(result, Refusal):
        return _usable(record, result)
    letter = next(letters, None)
    reason = pan.mask(str(result))
    if letter is None:
        return FeedLine(record.number, record.end, (), reason, record.last, is_kept=len(record.body) <= LONGEST)
    body, refusal = letter
    return _refused(feed, record, body, refusal)._replace(unusable=reason)


def _refused(feed: Feed, record: FileRecord, body: bytes, refusal: Refusal) -> FeedLine:
    letters = (intake.refused(feed, body, refusal),) if len(body) <= LONGEST else ()
    return FeedLine(record.number, record.end, letters, pan.mask(str(refusal)), record.last)


def _unusable(text: bytes, refusal: Refusal, digit_ids: DigitIds) -> TopicMessage:
    plain = text.decode(errors="backslashreplace")
    shown = masked(text, digit_ids)
    if shown == plain and not _still_shows_a_card_number(text, digit_ids):
        return TopicMessage(_key(text), text)
    if _still_shows_a_card_number(shown.encode(), digit_ids):
        # the number is encoded in a way that masking cannot reach
        shown = ""
    # each byte that is no UTF-8 became an escape of four characters
    value = shown.encode()[:LONGEST]
    return TopicMessage(_key(value), value, [(UNREADABLE_HEADER, pan.mask(str(refusal)).encode())])


def _still_shows_a_card_number(text: bytes, digit_ids: DigitIds) -> bool:
    try:
        update_in(text, digit_ids=digit_ids)
    except Refused as refused:
        return refused.refusal.code is RefusalCode.CARD_NUMBER_REFUSED
    return False


def _key(text: bytes) -> bytes | None:
    """The key of the old credential, if it can be read: the line then stays in order with that credential's updates."""
    try:
        message: Any = json.loads(text)
        vendor, token = message["vendor"], message["old"]["token"]
        return token_key(vendor, token).encode() if isinstance(vendor, str) and isinstance(token, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):  # an unpaired surrogate is a ValueError
        return None
