"""The file that notifications of change come in: its lines, whatever stands around them, and what they make."""

import pytest

from schemas.feeds import nacha_file, nacha_lines
from tests.schemas.feeds.test_nacha import ABROAD, BATCH, SAMPLE, cut, international, notice

OF_THE_PAYMENT = [f"{kind}{'':84}0000001" for kind in ("710", "711", "712", "713", "715", "716", "717", "718")]


def test_what_repeats_an_international_payment_is_passed_over_but_for_its_bank() -> None:
    record = international("C01", "12345")
    receiving, austrian = record["receiving"], record["receiving"].replace("DE ", "AT ")
    lines = [ABROAD, record["entry"], *OF_THE_PAYMENT[:4], receiving, *OF_THE_PAYMENT[4:], record["addenda"]]
    following = [record["entry"], record["addenda"], record["entry"], austrian, record["addenda"]]
    control = "8" + ABROAD[1:]
    pieces = list(nacha_file.records([*lines, *following, control]))
    assert [(piece.number, piece.refusal) for piece in pieces] == [(2, None), (13, None), (15, None)]
    assert [dict(piece.record or {}).get("receiving") for piece in pieces] == [receiving, None, austrian]
    # the addenda of the payment say nothing where none of the notification follows
    alone = [ABROAD, record["entry"], receiving, control]
    assert cut(alone) == [(2, "line 2: expected an addenda record after the entry")]
    without_entry = [ABROAD, OF_THE_PAYMENT[0], control]
    assert cut(without_entry) == [(2, "line 2: expected an entry before an addenda record")]
    without_batch = [record["entry"], OF_THE_PAYMENT[0]]
    assert [line for line, _ in cut(without_batch)] == [1, 2]


@pytest.mark.parametrize("entry_class", ["PPD", "CCD", "WEB", "   "])
def test_a_notification_in_a_batch_of_another_class_is_refused_and_payments_are_passed_over(entry_class: str) -> None:
    record = notice("C01", "12345", batch=BATCH.replace("COR", entry_class))
    returned = record["addenda"].replace("798C01", "799R01")
    lines = [record["batch"], record["entry"], returned, record["entry"], record["addenda"], "8" + BATCH[1:]]
    assert cut(lines) == [(5, "line 5: expected an addenda 98 in a batch of class COR alone")]


# --- its lines ----------------------------------------------------------------------------------------------------

CONTENT = SAMPLE.read_bytes()
RECORDS = CONTENT.split(b"\n")[:-1]
FORMS = {
    "LF": CONTENT,
    "CRLF": b"\r\n".join(RECORDS) + b"\r\n",
    "CR": b"\r".join(RECORDS) + b"\r",
    "no end at the end": b"\n".join(RECORDS),
    "one line": b"".join(RECORDS),
    "one line with an end": b"".join(RECORDS) + b"\r\n",
    "blocks of ten": b"\n".join(b"".join(RECORDS[at : at + 10]) for at in range(0, len(RECORDS), 10)) + b"\n",
    "blanks behind each": b"\n".join(record + b" " * at for at, record in enumerate(RECORDS)) + b"\n",
    "blanks behind each, CRLF": b"   \r\n".join(RECORDS) + b"   \r\n",
    "last blanks taken off": b"\n".join(record.rstrip() for record in RECORDS) + b"\n",
    "end of file of DOS": b"\r\n".join(RECORDS) + b"\r\n\x1a",
    "end of file of DOS behind the last record": b"\n".join(RECORDS) + b"\x1a",
    "one line with an end of file of DOS": b"".join(RECORDS) + b"\x1a",
    "filled up": b"\n".join(RECORDS) + b"\n" + b"\x00" * 500,
    "byte order mark": b"\xef\xbb\xbf" + CONTENT,
    "byte order mark, one line": b"\xef\xbb\xbf" + b"".join(RECORDS),
}


def lines_of(content: bytes, chunk: int) -> list[nacha_lines.SplitLine]:
    splitter = nacha_lines.LineSplitter()
    complete = [line for at in range(0, len(content), chunk) for line in splitter.add(content[at : at + chunk])]
    return [*complete, *splitter.end()]


@pytest.mark.parametrize("chunk", [1, 7, 94, 95, 1000, 1_000_000])
@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_the_lines_are_the_same_whatever_stands_around_them(content: bytes, chunk: int) -> None:
    lines = lines_of(content, chunk)
    assert [line.text for line in lines if line.text.strip()] == RECORDS
    assert sum(line.size for line in lines) == len(content)


@pytest.mark.parametrize("chunk", [1, 7, 95, 1000])
@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_lines_are_counted_alike_however_their_bytes_arrive(content: bytes, chunk: int) -> None:
    """Empty ones as well, for a refused record is named by the number of its line."""
    assert lines_of(content, chunk) == lines_of(content, len(content))


def test_a_file_in_one_line_needs_not_be_held_whole() -> None:
    splitter, content = nacha_lines.LineSplitter(), b"".join(RECORDS * 100)
    complete = [line for at in range(0, len(content), 1000) for line in splitter.add(content[at : at + 1000])]
    assert len(complete) * 94 >= len(content) - 70_000
    assert [line.text for line in (*complete, *splitter.end())] == RECORDS * 100


def test_a_line_that_is_no_multiple_of_a_record_is_left_as_it_is() -> None:
    for line in (b"6" * 93, b"6" * 95, RECORDS[2] + b"x", RECORDS[2] + RECORDS[3][:90], RECORDS[2] + b"x" * 94):
        assert [part.text for part in lines_of(line + b"\n" + RECORDS[0] + b"\n", 50)] == [line, RECORDS[0]]


def test_of_a_line_without_an_end_that_has_no_records_only_the_beginning_is_held() -> None:
    splitter = nacha_lines.LineSplitter()
    for _ in range(50):
        assert list(splitter.add(b"x" * 100_000)) == []
    first, second = splitter.add(b"\n" + RECORDS[0] + b"\n")
    assert (first.size, len(first.text), second.text) == (5_000_001, 64 * 1024, RECORDS[0])
