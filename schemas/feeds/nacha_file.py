"""A Nacha file: lines of 94 characters, of which a batch header, an entry and its addenda make a record.

1 file header
5 batch header       51-53 entry class, `COR` of notifications of change
6   entry detail
7   addenda          2-3 type: 98 of a notification, 10 to 18 of an international payment
8 batch control
9 file control, and lines of nines
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode
from schemas.feeds.nacha_lines import LENGTH
from schemas.feeds.record import Record


class Piece(NamedTuple):
    """A record for `adapt`, or a refusal instead; `number` is the line of the entry, or of the refusal."""

    number: int
    record: Record | None
    refusal: Refusal | None = None


class RecordReader:
    """Makes records of a file's lines, added one after another; it holds one batch header and one entry.

    Entries of other batches than notifications of change are passed over. An addenda 98 in such a batch is a
    notification, and refused by name. Another reader can begin between batches.
    """

    def __init__(self) -> None:
        self._batch: str | None = None
        self._entry: tuple[int, str] | None = None
        self._receiving: str | None = None
        self._number = 0

    @property
    def between_batches(self) -> bool:
        return self._batch is None

    def add(self, number: int, line: str) -> Iterator[Piece]:
        """The records and refusals that a line completes, given without its end. `number` counts lines from 1."""
        self._number = number
        if not line.strip():
            return
        if len(line) != LENGTH:
            yield from self._close()
            if line[0] == "5":
                self._batch = None  # its entries are refused separately: their batch is not known
            yield _refused(number, RefusalCode.WRONG_FORMAT, f"{LENGTH} characters")
        elif line[0] == "6":
            yield from self._add_entry(number, line)
        elif line[0] == "7":
            yield from self._add_addenda(number, line)
        elif line[0] in "1589":
            yield from self._close()
            yield from self._enter_batch(number, line)
        else:
            yield _refused(number, RefusalCode.UNEXPECTED_VALUE, "a record type of 1, 5, 6, 7, 8 or 9")

    def end(self) -> Iterator[Piece]:
        """The refusals of an unfinished batch, after the last line."""
        yield from self._close()
        if self._batch is not None:
            yield _refused(self._number, RefusalCode.INCOMPLETE, "the file ends inside a batch")
            self._batch = None

    def _enter_batch(self, number: int, line: str) -> Iterator[Piece]:
        if (line[0] == "8") is (self._batch is None):
            expected = "a batch header before its control" if line[0] == "8" else "the control of the batch before"
            yield _refused(number, RefusalCode.MISPLACED, expected)
        self._batch = line if line[0] == "5" else None

    def _add_entry(self, number: int, line: str) -> Iterator[Piece]:
        yield from self._close()
        if self._batch is None:
            yield _refused(number, RefusalCode.MISPLACED, "a batch header before an entry")
        else:
            self._entry, self._receiving = (number, line), None

    def _add_addenda(self, number: int, line: str) -> Iterator[Piece]:
        if self._repeats_payment(line):
            self._receiving = line if line[1:3] == _RECEIVING_BANK else self._receiving
            return
        entry, self._entry = self._entry, None
        if self._batch is not None and not _has_notifications(self._batch):
            if line[1:3] == _NOTIFICATION:
                yield _refused(number, RefusalCode.MISPLACED, "an addenda 98 in a batch of class COR alone")
            return
        if self._batch is None or entry is None:
            yield _refused(number, RefusalCode.MISPLACED, "an entry before an addenda record")
            return
        record = {"batch": self._batch, "entry": entry[1], "addenda": line}
        yield Piece(entry[0], record if self._receiving is None else {**record, "receiving": self._receiving})

    def _repeats_payment(self, line: str) -> bool:
        """Whether the addenda repeats the international payment that the entry's notification is about."""
        if self._entry is None or self._batch is None:
            return False
        return self._batch.startswith("IAT", 4) and line[1:3] in _OF_PAYMENT

    def _close(self) -> Iterator[Piece]:
        """The refusal of a notification's entry without an addenda record."""
        entry, self._entry = self._entry, None
        if entry is not None and self._batch is not None and _has_notifications(self._batch):
            yield _refused(entry[0], RefusalCode.MISPLACED, "an addenda record after the entry")


def _refused(number: int, code: RefusalCode, expected: str) -> Piece:
    return Piece(number, None, Refusal(code, f"line {number}", expected))


_NOTIFICATION, _RECEIVING_BANK = "98", "14"
_OF_PAYMENT = tuple(str(number) for number in range(10, 19))


def _has_notifications(batch: str) -> bool:
    return batch[50:53] == "COR"


def begins(line: str) -> bool:
    """Whether a file with this first line, without its end, is one of ACH records: a file header of priority 01."""
    return len(line) == LENGTH and line.startswith("101")


def records(lines: Iterable[str]) -> Iterator[Piece]:
    """The records and refusals of a whole file."""
    reader = RecordReader()
    for number, line in enumerate(lines, 1):
        yield from reader.add(number, line.rstrip("\r\n"))
    yield from reader.end()
