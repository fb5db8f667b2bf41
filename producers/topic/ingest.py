"""A feed's file as lines for the topic: canonical updates as they are, a vendor's records through its adapter.

A refused line is sent too: operators look for dead letters in one place. A line that holds a card number is sent with
its digits masked, and with a header that marks it as unreadable: masked, it might pass for an update.
"""

import json
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader
from typing import Any

from domain import pan
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import token_key
from producers.lines import LONGEST_DOCUMENT, FilePosition, Source, chain, read_lines
from producers.topic import records
from producers.topic.documents import read_beginning, read_document
from producers.topic.file_record import LINE_TOO_LONG, FileRecord, refuse_file
from producers.topic.stream import FeedLine
from schemas import intake, mistakes
from schemas.canonical import UNREADABLE_HEADER, update_in
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.feed import Edge, Feed, Irrelevant
from schemas.feeds.reading import parts
from schemas.feeds.record import Record
from schemas.intake import LONGEST, MessageHeaders, TopicMessage
from schemas.masking import mask_message
from schemas.mistakes import RefusedPart

_BEGINNING = FilePosition()


async def read_updates(
    stream: BufferedReader, start: FilePosition = _BEGINNING, digit_ids: DigitIds = NO_DIGIT_IDS
) -> AsyncIterator[FeedLine]:
    """Yield the lines of a feed in canonical form, without blank lines. The feed is never whole in memory.

    A single JSON document is read, too, as in any feed.
    """
    if start.offset:
        stream.seek(start.offset)
        following = read_lines(stream, start)
    else:
        all_lines = read_lines(stream, longest_first=LONGEST_DOCUMENT)
        first = await records.first_line(all_lines)
        if first is None:
            return
        if refusal := mistakes.file_refusal(first.text):
            yield _refuse_file(refuse_file(first, refusal))
            return
        beginning = await read_beginning(first, all_lines)
        if beginning.is_document:
            async for record in read_document(beginning, all_lines):
                yield _read_element(record, digit_ids)
            return
        following = chain(beginning.lines, all_lines)
    async for raw in following:
        if raw.text.strip():
            yield read_update(raw.number, raw.text, digit_ids=digit_ids, end=raw.end)


def _refuse_file(record: FileRecord) -> FeedLine:
    reason = str(record.refusal)
    letter = TopicMessage(None, record.body, [(UNREADABLE_HEADER, reason.encode())])
    return FeedLine(record.number, record.end, (letter,), reason)


def _read_element(record: FileRecord, digit_ids: DigitIds) -> FeedLine:
    """The line of an element of a document. A document that is too long has no body."""
    if record.refusal is None:
        return read_update(record.number, record.body, digit_ids=digit_ids)
    fits = 0 < len(record.body) <= LONGEST
    letters = (_dead_letter(record.body, record.refusal, digit_ids),) if fits else ()
    return FeedLine(record.number, 0, letters, str(record.refusal))


def read_update(
    number: int, text: bytes, headers: MessageHeaders = (), *, digit_ids: DigitIds = NO_DIGIT_IDS, end: int = 0
) -> FeedLine:
    """The line of one canonical update: `text` without its end, `LONGEST` bytes at most; a message has `headers` too.

    In fields that `digit_ids` names, digits are no card number.
    """
    if len(text) > LONGEST:
        return FeedLine(number, end, (), str(LINE_TOO_LONG))
    try:
        update = update_in(text, headers, digit_ids)
    except Refused as refused:
        return FeedLine(number, end, (_dead_letter(text, refused.refusal, digit_ids),), pan.mask(str(refused)))
    return FeedLine(number, end, (intake.update_message(update, text, headers),))


async def read_feed(
    feed: Feed, stream: Source, edge: Edge, start: FilePosition = _BEGINNING
) -> AsyncIterator[FeedLine]:
    """Yield the records of a vendor's file from `start` on, each with the updates that it reports."""
    extra_parts = start.parts
    async for record in records.read_records(feed, stream, start):
        record_lines = adapt(feed, record, edge, extra_parts)
        extra_parts += len(record_lines) - 1
        for line in record_lines:
            yield line._replace(parts=extra_parts) if extra_parts else line


def adapt(feed: Feed, record: FileRecord, edge: Edge, extra_parts: int = 0) -> list[FeedLine]:
    """Make the lines of a record, one for each of its parts. A part that cannot be used is refused alone.

    `extra_parts` counts the parts before this record in the file, without the first part of each record.
    """
    if record.record is None:
        assert record.refusal is not None
        return [_refuse(feed, record, record.body, record.refusal)]
    try:
        record_parts = parts(feed, record.record)
    except Refused as refused_record:
        return [_refuse(feed, record, record.body, refused_record.refusal)]
    if not record_parts:
        return [FeedLine(record.number, record.end, (), last_line=record.last_line)]
    row = record.number + extra_parts
    if len(record_parts) == 1:
        result = _adapt_part(feed, record.record, record_parts[0], edge.at_row(row))
        if isinstance(result, Refusal):
            return [_refuse(feed, record, record.body, result)]
        return [_accept(record, result)]
    results = [
        _adapt_part(feed, record.record, part, edge.at_row(row + index)) for index, part in enumerate(record_parts)
    ]
    refused = [
        RefusedPart(number, part, result)
        for number, (part, result) in enumerate(zip(record_parts, results, strict=True), 1)
        if isinstance(result, Refusal)
    ]
    letters = iter(mistakes.dead_letters(record.body, refused, len(record_parts)))
    # reading can begin again only after the record's last part
    ends = [*[0] * (len(record_parts) - 1), record.end]
    return [
        _finish_part(feed, record._replace(end=end), part, letters) for end, part in zip(ends, results, strict=True)
    ]


def _accept(record: FileRecord, result: list[TopicMessage] | Irrelevant) -> FeedLine:
    if isinstance(result, Irrelevant):
        return FeedLine(record.number, record.end, (), last_line=record.last_line, irrelevant=result.kind)
    return FeedLine(record.number, record.end, result, last_line=record.last_line)


def _adapt_part(feed: Feed, record: Record, part: Record, edge: Edge) -> list[TopicMessage] | Irrelevant | Refusal:
    """The messages of a part of `record`, or why it cannot be used."""
    try:
        return intake.to_messages(feed, part, edge)
    except Refused as refused:
        return mistakes.explain(feed, record, refused.refusal)


def _finish_part(
    feed: Feed,
    record: FileRecord,
    result: list[TopicMessage] | Irrelevant | Refusal,
    letters: Iterator[tuple[bytes, Refusal]],
) -> FeedLine:
    if not isinstance(result, Refusal):
        return _accept(record, result)
    letter = next(letters, None)
    reason = pan.mask(str(result))
    if letter is None:
        return FeedLine(record.number, record.end, (), reason, record.last_line, is_kept=len(record.body) <= LONGEST)
    body, refusal = letter
    return _refuse(feed, record, body, refusal)._replace(refusal_text=reason)


def _refuse(feed: Feed, record: FileRecord, body: bytes, refusal: Refusal) -> FeedLine:
    letters = (intake.refused(feed, body, refusal),) if len(body) <= LONGEST else ()
    return FeedLine(record.number, record.end, letters, pan.mask(str(refusal)), record.last_line)


def _dead_letter(text: bytes, refusal: Refusal, digit_ids: DigitIds) -> TopicMessage:
    plain = text.decode(errors="backslashreplace")
    masked_text = mask_message(text, digit_ids)
    if masked_text == plain and not _shows_card_number(text, digit_ids):
        return TopicMessage(_key(text), text)
    if _shows_card_number(masked_text.encode(), digit_ids):
        # the number is encoded in a way that masking cannot reach
        masked_text = ""
    # each byte that is no UTF-8 became an escape of four characters
    value = masked_text.encode()[:LONGEST]
    return TopicMessage(_key(value), value, [(UNREADABLE_HEADER, pan.mask(str(refusal)).encode())])


def _shows_card_number(text: bytes, digit_ids: DigitIds) -> bool:
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
