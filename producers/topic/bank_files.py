"""Files of banks: lines of 94 characters, several a record."""

from collections.abc import AsyncIterator

from producers.lines import LONGEST_DOCUMENT, Damaged, FilePosition, RawLine, Source, read_piece, seek
from producers.topic.file_record import FileRecord, refuse_file
from schemas import mistakes
from schemas.feeds import nacha_file, nacha_lines
from schemas.intake import LONGEST

# A file's last block is filled up by nine lines at most.
_MOST_BLANK_LINES = 100_000


async def read_entries(stream: Source, start: FilePosition) -> AsyncIterator[FileRecord]:
    """Yield entries with their addenda. Only the last record of a batch has an `end`: reading can begin after it."""
    if start.offset:
        seek(stream, start)
    cutter, entry = nacha_file.RecordReader(), RawLine(0, 0, b"")
    pending: FileRecord | None = None
    async for raw in _read_lines(stream, start):
        if raw.number == 1 and (refusal := mistakes.file_refusal(raw.text)):
            yield refuse_file(raw, refusal)
            return
        if raw.text[:1] == b"6":
            entry = raw
        for piece in cutter.add(raw.number, nacha_lines.characters(raw.text)[0]):
            if pending is not None:
                yield pending
            first = raw if piece.number == raw.number else entry
            body = first.text if piece.record is None else first.text + b"\n" + raw.text
            pending = FileRecord(piece.number, 0, body[: LONGEST + 1], piece.record, piece.refusal)
        if pending is not None and cutter.between_batches:
            yield pending._replace(end=raw.end, last_line=raw.number)
            pending = None
    if pending is not None:
        yield pending
    for piece in cutter.end():
        body = entry.text if piece.number == entry.number else b""
        yield FileRecord(piece.number, 0, body, piece.record, piece.refusal)


async def _read_lines(stream: Source, start: FilePosition) -> AsyncIterator[RawLine]:
    """Yield the lines of a bank's file, for every line end, also where many records stand in one line."""
    cutter, number, end = nacha_lines.LineSplitter(at_start=not start.offset), start.lines, start.offset
    size, blank = start.offset, 0
    while chunk := await read_piece(stream):
        if not size and mistakes.file_refusal(chunk[: nacha_lines.LENGTH]):
            yield RawLine(1, 0, chunk[: nacha_lines.LENGTH])
            return
        size += len(chunk)
        for line in cutter.add(chunk):
            number, end = number + 1, end + line.size
            blank += not line.text
            yield RawLine(number, end, line.text)
        if size - end > LONGEST_DOCUMENT:
            raise Damaged(f"line {number + 1:,} is longer than {LONGEST_DOCUMENT // 1024**2} MiB")
        if blank > max(_MOST_BLANK_LINES, number - blank):
            raise Damaged(f"it has more than {_MOST_BLANK_LINES:,} blank lines")
    last_lines = list(cutter.end())
    for index, line in enumerate(last_lines, 1):
        number, end = number + 1, end + line.size
        yield RawLine(number, end if index < len(last_lines) else 0, line.text)
