"""A record of a feed's file, and the refusals that every format shares."""

from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode
from producers.lines import RawLine
from schemas.feeds.feed import Rows
from schemas.feeds.record import Record
from schemas.intake import LONGEST

LINE_TOO_LONG = Refusal(RefusalCode.TOO_LONG, "line", f"{LONGEST:,} bytes at most")
NOT_UTF_8 = Refusal(RefusalCode.NOT_TEXT, "", "UTF-8")


class FileRecord(NamedTuple):
    """A record, the number of its line (from 1) or of its element in the document, and the `end` where the next begins.

    Without a `record`, `refusal` says why. `body` has the record's bytes. `last_line` is the number of the line before
    `end`, if that is not the record's first line.
    """

    number: int
    end: int
    body: bytes
    record: Record | None
    refusal: Refusal | None = None
    last_line: int = 0


def refuse_file(first: RawLine, refusal: Refusal) -> FileRecord:
    """The only record of a file that cannot be read: the refusal, without a body."""
    return FileRecord(first.number, 0, b"", None, refusal.inside("file"))


def refuse_long_line(raw: RawLine) -> FileRecord:
    """The record of a line that is too long: the refusal, without a body."""
    return FileRecord(raw.number, raw.end, b"", None, LINE_TOO_LONG)


def is_ignored(raw: RawLine, rows: Rows) -> bool:
    """Whether the feed's files have such lines beside their rows: a header, a trailer."""
    return rows.ignored_lines is not None and rows.ignored_lines.match(raw.text) is not None
