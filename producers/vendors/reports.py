"""A report that a vendor's event links to, as messages for the topic: read as it arrives, of any length.

Only a few chunks and one batch of messages are in memory.
"""

from collections.abc import AsyncIterator, Sequence

from domain.refusal import RefusalCode, Refused
from loops.giving_way import TimeSlice
from producers.lines import Chunks, Damaged
from producers.topic import ingest
from producers.topic.stream import FeedLine
from schemas.feeds.feed import Edge, Feed
from schemas.intake import TopicMessage

# Messages that are acknowledged together.
MESSAGES_AT_ONCE = 500
# Refused lines at the beginning after which the file is no report. An HTML page that asks to retry has fewer.
_REFUSED_AT_FIRST = 1_000


async def batches(feed: Feed, chunks: AsyncIterator[bytes], edge: Edge) -> AsyncIterator[Sequence[TopicMessage]]:
    """Batches of messages of the report's lines, in order; refused lines are messages for the dead letters.

    Raises:
        Refused: no line can be used, or none of the first thousand. Then the file is no report, and none of its lines
            may become a dead letter.
    """
    time_slice = TimeSlice()
    batch: list[TopicMessage] = []
    refused, first_refusal, is_report = 0, "", False
    async for line in _lines(feed, chunks, edge):
        batch += line.messages
        if line.refusal_text is None:
            is_report = True
        elif not is_report:
            refused, first_refusal = refused + 1, first_refusal or line.refusal_text
            if refused == _REFUSED_AT_FIRST:
                expected = f"none of its first {_REFUSED_AT_FIRST:,} lines can be used; the first one: {first_refusal}"
                raise Refused(RefusalCode.NOT_USABLE, "file", expected)
        if is_report and len(batch) >= MESSAGES_AT_ONCE:
            yield batch
            batch = []
        await time_slice.pause_when_over()
    if refused and not is_report:
        raise Refused(RefusalCode.NOT_USABLE, "file", f"no line can be used; the first one: {first_refusal}")
    yield batch


async def _lines(feed: Feed, chunks: AsyncIterator[bytes], edge: Edge) -> AsyncIterator[FeedLine]:
    try:
        async for line in ingest.read_feed(feed, Chunks(_check_table(chunks)), edge):
            yield line
    except Damaged as damage:
        raise Refused(RefusalCode.INCOMPLETE, "file", str(damage)) from None


async def _check_table(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks` of CSV. JSON is refused: it must be whole in memory before its first record can be read."""
    has_begun = False
    async for chunk in chunks:
        beginning = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not has_begun and beginning[:1] in (b"{", b"["):
            raise Refused(RefusalCode.NOT_READABLE, "file", "CSV with a line of names")
        has_begun = has_begun or bool(beginning)
        yield chunk
