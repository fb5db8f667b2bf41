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
    slice_ = TimeSlice()
    batch: list[TopicMessage] = []
    refused, first, is_report = 0, "", False
    async for line in _lines(feed, chunks, edge):
        batch += line.messages
        if line.unusable is None:
            is_report = True
        elif not is_report:
            refused, first = refused + 1, first or line.unusable
            if refused == _REFUSED_AT_FIRST:
                none = f"none of its first {_REFUSED_AT_FIRST:,} lines can be used; the first one: {first}"
                raise Refused(RefusalCode.NOT_USABLE, "file", none)
        if is_report and len(batch) >= MESSAGES_AT_ONCE:
            yield batch
            batch = []
        await slice_.pause_when_over()
    if refused and not is_report:
        raise Refused(RefusalCode.NOT_USABLE, "file", f"no line can be used; the first one: {first}")
    yield batch


async def _lines(feed: Feed, chunks: AsyncIterator[bytes], edge: Edge) -> AsyncIterator[FeedLine]:
    try:
        async for line in ingest.vendors(feed, Chunks(_of_table(chunks)), edge):
            yield line
    except Damaged as damage:
        raise Refused(RefusalCode.INCOMPLETE, "file", str(damage)) from None


async def _of_table(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks` of CSV. JSON is refused: a document must be whole in memory before its first record can be read."""
    has_begun = False
    async for chunk in chunks:
        beginning = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not has_begun and beginning[:1] in (b"{", b"["):
            raise Refused(RefusalCode.NOT_READABLE, "file", "CSV with a line of names")
        has_begun = has_begun or bool(beginning)
        yield chunk
