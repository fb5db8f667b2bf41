"""A feed's file as lines for the topic: canonical updates as they are, a vendor's records through its adapter.

A line that no update can be made of is sent too, so that it is kept as a dead letter, in the one place where people
look. One that holds a card number goes out with its digits masked, and marked, for masked it might pass for an update.
"""

import json
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader
from typing import Any

from domain import pan
from domain.wallet import token_key
from producers.lines import LONGEST_DOCUMENT, FilePosition, Source, lines
from producers.topic import records
from producers.topic.records import FileRecord
from producers.topic.stream import FeedLine
from schemas import intake, mistakes
from schemas.canonical import UNREADABLE_HEADER, Unreadable, masked, update_in
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.feed import Edge, Feed, Irrelevant
from schemas.feeds.reading import parts
from schemas.feeds.record import Record, Refused
from schemas.intake import LONGEST, Headers, TopicMessage
from schemas.mistakes import RefusedPart

_BEGINNING = FilePosition()


async def canonical(
    stream: BufferedReader, begin: FilePosition = _BEGINNING, digit_ids: DigitIds = NO_DIGIT_IDS
) -> AsyncIterator[FeedLine]:
    """The lines of a feed in canonical form (design.md §4), empty ones left out; never the whole feed in memory.

    One document is read, too, as of any feed.
    """
    if begin.offset:
        stream.seek(begin.offset)
        following = lines(stream, begin)
    else:
        whole = lines(stream, longest_first=LONGEST_DOCUMENT)
        first = await records.first_line(whole)
        if first is None:
            return
        if problem := mistakes.file_problem(first.text):
            yield _as_a_whole(records.as_a_whole(first, problem))
            return
        beginning = await records.begun(first, whole)
        if beginning.of_document:
            async for cut in records.document(beginning, whole):
                yield _canonical(cut, digit_ids)
            return
        following = records.after(beginning.lines, whole)
    async for raw in following:
        if raw.text.strip():
            yield read(raw.number, raw.text, digit_ids=digit_ids, end=raw.end)


def _as_a_whole(cut: FileRecord) -> FeedLine:
    assert cut.problem is not None
    letter = TopicMessage(None, cut.body, [(UNREADABLE_HEADER, cut.problem.encode())])
    return FeedLine(cut.number, cut.end, (letter,), cut.problem)


def _canonical(cut: FileRecord, digit_ids: DigitIds) -> FeedLine:
    """Of a document, which has no body where it is too long."""
    if cut.problem is None:
        return read(cut.number, cut.body, digit_ids=digit_ids)
    fits = 0 < len(cut.body) <= LONGEST
    return FeedLine(cut.number, 0, (_unusable(cut.body, cut.problem, digit_ids),) if fits else (), cut.problem)


def read(
    number: int, text: bytes, headers: Headers = (), *, digit_ids: DigitIds = NO_DIGIT_IDS, end: int = 0
) -> FeedLine:
    """One line, of at most `LONGEST` bytes, without its end; or a message that has `headers` too.

    In fields that `digit_ids` names, digits are no card number.
    """
    if len(text) > LONGEST:
        return FeedLine(number, end, (), f"line: expected {LONGEST:,} bytes at most")
    try:
        update = update_in(text, headers, digit_ids)
    except Unreadable as error:
        return FeedLine(number, end, (_unusable(text, str(error), digit_ids),), pan.mask(str(error)))
    return FeedLine(
        number, end, (TopicMessage(None if update.old is None else update.old.key.encode(), text, headers),)
    )


async def vendors(feed: Feed, stream: Source, edge: Edge, begin: FilePosition = _BEGINNING) -> AsyncIterator[FeedLine]:
    """The records of a vendor's file, each with the updates that it tells."""
    before = begin.parts
    async for cut in records.file_records(feed, stream, begin):
        found = adapted(feed, cut, edge, before)
        before += len(found) - 1
        for line in found:
            yield line._replace(parts=before) if before else line


def adapted(feed: Feed, cut: FileRecord, edge: Edge, before: int = 0) -> list[FeedLine]:
    """A record as it goes onto the topic, what tells of several cards in parts: the bad ones are refused by name.

    Each part is in order after those `before` it in the file that have no number of their own.
    """
    if cut.record is None:
        assert cut.problem is not None
        return [_refused(feed, cut, cut.body, cut.problem)]
    try:
        found = parts(feed, cut.record)
    except Refused as reason:
        return [_refused(feed, cut, cut.body, str(reason))]
    if not found:
        return [FeedLine(cut.number, cut.end, (), last=cut.last)]
    row = cut.number + before
    if len(found) == 1:
        only = _told(feed, cut.record, found[0], edge.at_row(row))
        if isinstance(only, str):
            return [_refused(feed, cut, cut.body, only)]
        return [_taken(cut, only)]
    told = [_told(feed, cut.record, part, edge.at_row(row + at)) for at, part in enumerate(found)]
    refused = [
        RefusedPart(number, part, reason)
        for number, (part, reason) in enumerate(zip(found, told, strict=True), 1)
        if isinstance(reason, str)
    ]
    letters = iter(mistakes.dead_letters(cut.body, refused, len(found)))
    # reading can go on after the last of them alone
    ends = [*[0] * (len(found) - 1), cut.end]
    return [_part(feed, cut._replace(end=end), each, letters) for end, each in zip(ends, told, strict=True)]


def _taken(cut: FileRecord, taken: list[TopicMessage] | Irrelevant) -> FeedLine:
    if isinstance(taken, Irrelevant):
        return FeedLine(cut.number, cut.end, (), last=cut.last, irrelevant=taken.kind)
    return FeedLine(cut.number, cut.end, taken, last=cut.last)


def _told(feed: Feed, record: Record, part: Record, edge: Edge) -> list[TopicMessage] | Irrelevant | str:
    """What a part of `record` tells, or why it cannot be used."""
    try:
        return intake.take(feed, part, edge)
    except Refused as reason:
        return mistakes.explain(feed, record, str(reason))


def _part(
    feed: Feed, cut: FileRecord, told: list[TopicMessage] | Irrelevant | str, letters: Iterator[tuple[bytes, str]]
) -> FeedLine:
    if not isinstance(told, str):
        return _taken(cut, told)
    kept = next(letters, None)
    if kept is None:
        return FeedLine(cut.number, cut.end, (), pan.mask(told), cut.last, is_kept=len(cut.body) <= LONGEST)
    body, problem = kept
    return _refused(feed, cut, body, problem)._replace(unusable=pan.mask(told))


def _refused(feed: Feed, cut: FileRecord, body: bytes, problem: str) -> FeedLine:
    message = intake.refused(feed, body, problem)
    return FeedLine(cut.number, cut.end, (message,) if len(body) <= LONGEST else (), pan.mask(problem), cut.last)


def _unusable(text: bytes, reason: str, digit_ids: DigitIds) -> TopicMessage:
    plain = text.decode(errors="backslashreplace")
    shown = masked(text, digit_ids)
    if shown == plain and not _still_shows_a_card_number(text, digit_ids):
        return TopicMessage(_key(text), text)
    if _still_shows_a_card_number(shown.encode(), digit_ids):
        # encoded in a way that masking cannot reach
        shown = ""
    # bytes that are no UTF-8 are four times as many now
    value = shown.encode()[:LONGEST]
    return TopicMessage(_key(value), value, [(UNREADABLE_HEADER, pan.mask(reason).encode())])


def _still_shows_a_card_number(text: bytes, digit_ids: DigitIds) -> bool:
    try:
        update_in(text, digit_ids=digit_ids)
    except Unreadable as error:
        return str(error).endswith("expected no card number")
    return False


def _key(text: bytes) -> bytes | None:
    """The old credential, if it can be made out, so that the line stays in order with its kind."""
    try:
        message: Any = json.loads(text)
        vendor, token = message["vendor"], message["old"]["token"]
        return token_key(vendor, token).encode() if isinstance(vendor, str) and isinstance(token, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):  # half a character is a ValueError, too
        return None
