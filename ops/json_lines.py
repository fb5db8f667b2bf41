"""Files of one JSON object a line, read with bounds; and the faults of a file, named together.

A gzip file is unpacked as it is read. A file of another kind is refused as a whole, with what it looks like.
"""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import cast

from domain.refusal import Refusal, RefusalCode
from ops import files
from ops.terminal import Failed
from ops.unpacked import Unpacked
from producers.lines import Damaged
from schemas import mistakes

LONGEST_LINE = 16_000_000
"""In bytes. A wallet of as many payment methods as one may have takes six million."""

MOST_FAULTS = 100
"""So many are named. More would not be read, and the next run names the rest."""

# The beginning of a line that is too long, which `on_unreadable` gets.
_SHOWN = 1_000
# The end of a line that is too long is searched for within so many bytes.
_LONGEST_SEARCH = 128 * 1024 * 1024
_CHUNK = 64 * 1024
_MOST_BLANK_LINES = 1_000_000
_BEGINNING = 4096

OnUnreadable = Callable[[int, bytes, Refusal], None]

_TOO_LONG = Refusal(RefusalCode.TOO_LONG, "line", f"{LONGEST_LINE:,} bytes at most")


def read(
    file: Path, on_unreadable: OnUnreadable | None = None, *, expected: str = "one JSON object a line"
) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, each with its number from 1, without a byte order mark.

    For a line that is not UTF-8, or too long, `on_unreadable` is called with its number, its first bytes, and what was
    expected.

    Raises:
        Failed: the file is of another kind, empty, or cannot be read to its end; or, without `on_unreadable`, a line
            cannot be read.
    """
    report = on_unreadable or _raising(file)
    with files.opened(file) as stored:
        stream = cast(BufferedReader, BufferedReader(Unpacked(stored)))
        number = 0
        try:
            _check_kind(file, stream)
            for number, line in enumerate(_lines(stream), 1):
                text = _text(number, line, report)
                if text:
                    yield number, text
        except Damaged as damage:
            raise Failed(f"{files.name(file)}:{number + 1}: {damage}") from None
        if not number or stream_is_blank(stream):
            raise Failed(f"{files.name(file)}: it is empty: expected {expected}")


def stream_is_blank(stream: BufferedReader) -> bool:
    return cast(Unpacked, stream.raw).is_blank


def _raising(file: Path) -> OnUnreadable:
    def report(number: int, _line: bytes, refusal: Refusal) -> None:
        raise files.wrong(file, number, str(refusal))

    return report


def _check_kind(file: Path, stream: BufferedReader) -> None:
    """Raise Failed for a file that cannot be one of JSON objects."""
    beginning = stream.peek(_BEGINNING)[:_BEGINNING]
    if refusal := mistakes.file_refusal(beginning):
        raise Failed(f"{files.name(file)}: {refusal}")
    first = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    if first.startswith(b"["):
        raise Failed(f"{files.name(file)}: it looks like a JSON array: expected one JSON object a line (jq -c '.[]')")
    if first.partition(b"\n")[0].strip() == b"{" and first.count(b"\n") > 1:
        raise Failed(f"{files.name(file)}: it looks like one JSON text: expected one object a line (jq -c .)")


def _lines(stream: BufferedReader) -> Iterator[bytes]:
    """Each line with its end; a line that is too long is cut, without an end."""
    blank = 0
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            _skip(stream)
        blank = blank + 1 if line.isspace() else 0
        if blank > _MOST_BLANK_LINES:
            raise Damaged(f"expected at most {_MOST_BLANK_LINES:,} blank lines after one another")
        yield line


def _skip(stream: BufferedReader) -> None:
    """Skip the remainder of a line, in constant memory."""
    passed = 0
    while piece := stream.readline(_CHUNK):
        passed += len(piece)
        if piece.endswith(b"\n"):
            return
        if passed > _LONGEST_SEARCH:
            raise Damaged(str(_TOO_LONG))


def _text(number: int, line: bytes, report: OnUnreadable) -> str:
    """The line without blanks around it; empty where it cannot be read."""
    if len(line) > LONGEST_LINE:
        report(number, line[:_SHOWN], _TOO_LONG)
        return ""
    try:
        return (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode().strip()
    except UnicodeDecodeError:
        report(number, line, Refusal(RefusalCode.NOT_TEXT, "line", "UTF-8"))
        return ""


@dataclass(slots=True)
class Faults:
    """The faults of a file's lines, the first hundred by line and field."""

    file: Path
    named: list[str] = field(default_factory=list)

    @property
    def are_too_many(self) -> bool:
        return len(self.named) >= MOST_FAULTS

    def add(self, number: int, *faults: Refusal | str) -> None:
        room = MOST_FAULTS - len(self.named)
        self.named += [f"{files.name(self.file)}:{number}: {fault}" for fault in faults[:room]]

    def raise_any(self, *hints: str) -> None:
        """Raise Failed with all faults, their count and `hints`; a single fault without hints stands alone."""
        if not self.named:
            return
        if len(self.named) == 1 and not hints:
            raise Failed(self.named[0])
        or_more = " or more" if self.are_too_many else ""
        count = "1 fault" if len(self.named) == 1 else f"{len(self.named)}{or_more} faults"
        raise Failed("\n".join((*self.named, "; ".join((f"nothing was imported: {count}", *hints)))))
