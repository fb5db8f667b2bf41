"""How files are cut: every record once, with where the next one begins, and no bad row in the way of others."""

import json
from collections.abc import Sequence
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.lines import LONGEST_DOCUMENT, Damaged, FilePosition
from producers.topic.file_record import FileRecord
from producers.topic.records import read_records, read_table_or_objects
from schemas.feeds import FEEDS
from schemas.intake import LONGEST
from tests.parts.refusals import refusal_text
from tests.schemas.feeds.test_nacha import BATCH, notice
from tests.schemas.feeds.test_nacha_file import FORMS


def opened(content: bytes) -> BufferedReader:
    return cast(BufferedReader, BytesIO(content))


async def cut(content: bytes, begin: FilePosition = FilePosition()) -> list[FileRecord]:  # noqa: B008  it is a value
    return [each async for each in read_table_or_objects(opened(content), begin)]


ROWS = b'a,b\r\n1,2\r\n\r\n"x,y","say ""hi"""\r\n3,4'
LINES = b'{"a": 1}\n\n{"a": 2}\n{"a": 3}'
DOCUMENT = json.dumps([{"a": 1}, {"a": 2}], indent=1).encode()


async def test_rows_are_read_by_the_names_of_their_columns() -> None:
    found = await cut(ROWS)
    assert [(each.number, each.record) for each in found] == [
        (2, {"a": "1", "b": "2"}),
        (4, {"a": "x,y", "b": 'say "hi"'}),
        (5, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize("end", [",", ", ,", ",,,,,,", ',""'])
@pytest.mark.parametrize("rows", ["1,2\n3,4", "1,2,\n3,4,,", '1,2, \n3,4,"",,,,,,,'])
async def test_delimiters_behind_the_last_name_are_no_columns(end: str, rows: str) -> None:
    found = await cut(f"a,b{end}\n{rows}\n5,6,7\n8\n".encode())
    assert [each.record for each in found[:2]] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert [refusal_text(each) for each in found[2:]] == [f"line: expected 2 columns, not {count}" for count in (3, 1)]


EXAMPLES = Path(__file__).parents[3] / "examples" / "feeds"
CSV = [path for path in sorted(EXAMPLES.glob("*.csv")) if path.stem in FEEDS]


@pytest.mark.parametrize("sample", CSV, ids=lambda path: path.stem)
async def test_delimiters_at_the_end_of_every_line_change_no_sample(sample: Path) -> None:
    feed, content = FEEDS[sample.stem], sample.read_bytes()
    longer = b"\n".join(line + b",,," if line.strip() else line for line in content.splitlines())
    plain, ended = [
        [
            {name: cell for name, cell in (each.record or {}).items() if cell}
            async for each in read_records(feed, opened(text))
        ]
        for text in (content, longer)
    ]
    assert ended == plain
    assert len([record for record in plain if record]) > 1


@pytest.mark.parametrize("names", ["a,,b,", ",a,b", ",,,"])
async def test_a_column_without_a_name_between_others_is_still_refused(names: str) -> None:
    (found,) = await cut(f"{names}\n1,2,3,4\n".encode())
    assert refusal_text(found) == "line of names: expected a name for each column, and each one once"


async def test_rows_with_a_cell_too_many_are_still_refused_where_all_columns_have_names() -> None:
    (found,) = await cut(b"a,b\n1,2,\n")
    assert refusal_text(found) == "line: expected 2 columns, not 3"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
async def test_columns_may_be_parted_otherwise(delimiter: str) -> None:
    (found,) = await cut(ROWS[:10].replace(b",", delimiter.encode()))
    assert found.record == {"a": "1", "b": "2"}


async def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert (await cut(b"\xef\xbb\xbf" + ROWS))[0].record == {"a": "1", "b": "2"}
    assert (await cut(b"\xef\xbb\xbf" + LINES))[0].record == {"a": 1}
    assert (await cut(b"\xef\xbb\xbf\n" + ROWS))[0].record == {"a": "1", "b": "2"}
    assert await cut(b"\xef\xbb\xbf") == await cut(b"\xef\xbb\xbf\n") == []


async def test_objects_come_one_a_line_or_in_one_document() -> None:
    assert [each.record for each in await cut(LINES)] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [each.record for each in await cut(DOCUMENT)] == [{"a": 1}, {"a": 2}]
    assert [each.record for each in await cut(b'{\n"a": 1\n}')] == [{"a": 1}]
    assert [each.record for each in await cut(b'[{"a": 1}, {"a": 2}]')] == [{"a": 1}, {"a": 2}]


SEVERAL = [{"a": 1, "b": {"c": [{"d": 1}, {"d": 2}]}}, {"a": 2}, {"a": 3, "e": []}]


@pytest.mark.parametrize("indent", [0, 1, 4, "\t"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
@pytest.mark.parametrize("first", ["alone", "with what comes next"])
@pytest.mark.parametrize("before", [b"", b"\n  \n", b"\xef\xbb\xbf"])
async def test_a_document_is_one_however_it_is_printed(
    indent: int | str, end: bytes, first: str, before: bytes
) -> None:
    for document in (SEVERAL, SEVERAL[:1], SEVERAL[0], {"all": SEVERAL}, {"all": [{"a": 1}]}, {"all": {"a": 1}}):
        text = json.dumps(document, indent=indent).encode()
        if first != "alone":
            text = text.replace(b"\n", b" ", 1)
        found = await cut(before + text.replace(b"\n", end))
        assert [each.record for each in found] == (document if isinstance(document, list) else [document])


@pytest.mark.parametrize(
    "content", [b'{"all": [\n{"a": 1}\n]}', b'{"all":\n{"a": 1}\n}', b'{"all": [\n{"a": 1},\n{}]}']
)
async def test_what_is_in_a_document_is_no_line(content: bytes) -> None:
    assert [each.record for each in await cut(content)] == [json.loads(content)]


@pytest.mark.parametrize("cut_off", ["{", '{"a":', '{"a": 1,', '{"a": [', '{"a": 1', '{"a": "b', "["])
@pytest.mark.parametrize("count", [1, 2, 300])
async def test_a_first_object_that_is_cut_off_holds_up_no_other(cut_off: str, count: int) -> None:
    if cut_off.endswith((":", "[")) and count == 1:
        return  # two objects show that they are no part of it
    found = await cut(f"{cut_off}\n".encode() + b'{"a": 2}\n' * count)
    assert [each.record for each in found] == [None] + [{"a": 2}] * count
    assert [each.number for each in found] == list(range(1, count + 2))
    assert all(each.end for each in found)


async def test_half_a_document_is_refused_once() -> None:
    whole = json.dumps({"all": SEVERAL}, indent=1)
    for half in (whole[:-2], whole.replace("\n", "", 1)[:-2], json.dumps(SEVERAL, indent=1)[:-2]):
        assert [refusal_text(each) for each in await cut(half.encode())] == ["document: expected JSON"]


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        LINES,
        LINES + b"\n",
        b"a,b\n1,2\n" + b"x" * (3 * LONGEST) + b"\n3,4\n5,6",
        b'{"a": 1}\n' + b"x" * (3 * LONGEST) + b'\n{"a": 2}\n{"a": 3}\n',
    ],
    ids=["rows", "objects", "objects to the end of a line", "a long row", "a long object"],
)
async def test_reading_goes_on_where_a_record_ended(content: bytes) -> None:
    whole = await cut(content)
    for number, each in enumerate(whole):
        if each.end:
            assert await cut(content, FilePosition(each.end, each.last_line or each.number)) == whole[number + 1 :]
    assert len([each for each in whole if not each.end]) == (not content.endswith(b"\n"))


async def test_reading_a_document_begins_with_its_first_element_alone() -> None:
    assert [each.end for each in await cut(DOCUMENT)] == [0, 0]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"1,2,3", "line: expected 2 columns, not 3"),
        (b"1", "line: expected 2 columns, not 1"),
        (b"\xff,2", "line: expected UTF-8"),
        (b'"1,2', "line: expected a closing quote on the same line"),
        (b'"1"2,3', "line: expected CSV"),
        (b'1"2,"3', "line: expected CSV"),
        (b"1,2\r3,4", "line: expected lines that all end alike, not a carriage return inside one"),
        (b'1,"2"\r3,"4"', "line: expected lines that all end alike, not a carriage return inside one"),
        (b"x" * (LONGEST + 1), f"line: expected {LONGEST:,} bytes at most"),
    ],
    ids=[
        "wide",
        "narrow",
        "no UTF-8",
        "no end of a quote",
        "more after a quote",
        "a quote in between",
        "two rows",
        "two quoted",
        "long",
    ],
)
async def test_a_bad_row_holds_up_no_other(bad: bytes, problem: str) -> None:
    rows = await cut(b"a,b\n1,2\n" + bad + b"\n" + b"3,4\n" * 200)
    assert [(each.number, refusal_text(each)) for each in rows if refusal_text(each)] == [(3, problem)]
    assert len(rows) == 202


@pytest.mark.parametrize(("opening", "lines"), [('5" x', (3, 93)), ('"open', (3, 7)), ('"open', (3,))])
async def test_a_quote_that_is_open_takes_no_other_row_along(opening: str, lines: tuple[int, ...]) -> None:
    """Also where another one further down would close it."""
    rows = [f"{line},{opening if line in lines else 'ok'}" for line in range(2, 102)]
    found = await cut("\n".join(["a,b", *rows, ""]).encode())
    assert [each.number for each in found] == list(range(2, 102))
    assert tuple(each.number for each in found if refusal_text(each)) == lines
    assert {refusal_text(each) for each in found if refusal_text(each)} == {
        "line: expected a closing quote on the same line"
    }
    assert all(each.record == {"a": f"{each.number}", "b": "ok"} for each in found if not refusal_text(each))


SAID = st.text(alphabet='",\rx1 é\x0b\x85\u2028', max_size=12)


@given(st.lists(st.none() | SAID, max_size=12), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([0, 1]))
async def test_every_line_is_told_or_refused_once_and_no_good_one_for_its_neighbours(
    lines: list[str | None], ending: bytes, endings: int
) -> None:
    """None stands for a good row; the last line may have no end."""
    written = [f'{number},"a ""b"", c"' if line is None else line for number, line in enumerate(lines, 2)]
    found = await cut(ending.join(each.encode() for each in ["a,b", *written]) + ending * endings)
    there = [number for number, line in enumerate(written, 2) if line.encode().strip(b"\r \t")]
    assert [each.number for each in found] == there
    for each in found:
        line = written[each.number - 2]
        assert each.body.rstrip(b"\r") == line.rstrip("\r").encode()
        assert (each.record is None) == (refusal_text(each) is not None)
        if lines[each.number - 2] is None:
            assert each.record == {"a": f"{each.number}", "b": 'a "b", c'}
        if each.record is not None:
            # nothing that stood there is missing
            assert _said("".join(each.record.values())) == _said(line.rstrip("\r"))


def _said(text: str) -> str:
    return text.replace('"', "").replace(",", "")


@pytest.mark.parametrize("bad", [b"{", b"[1]", b'"x"', b"\xff", b"{" * 100_000])
async def test_a_bad_object_holds_up_no_other(bad: bytes) -> None:
    found = await cut(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
    assert [each.record for each in found] == [{"a": 1}, None, {"a": 3}]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [(20_000, "line: expected 2 columns, not 20000"), (20_001, "line: expected 20,000 cells at most")],
)
async def test_a_row_has_twenty_thousand_cells_at_most(cells: int, problem: str) -> None:
    (found,) = await cut(b"a,b\n" + b"," * (cells - 1) + b"\n")
    assert refusal_text(found) == problem


@pytest.mark.parametrize("is_table", [True, False], ids=["a row", "an object"])
@pytest.mark.parametrize(("more", "problem"), [(0, None), (1, "line: expected 1,000,000 bytes at most")])
async def test_a_line_has_a_megabyte_at_most(more: int, problem: str | None, *, is_table: bool) -> None:
    begin, before, after = (b"a,b", b"1,", b"") if is_table else (b'{"a": "1"}', b'{"a": "', b'"}')
    line = before + b"x" * (LONGEST + more - len(before + after)) + after
    found = (await cut(begin + b"\n" + line + b"\n"))[-1]
    assert (refusal_text(found), found.number, bool(found.end)) == (problem, 2, True)


async def test_a_first_object_of_too_many_values_is_refused_and_the_next_line_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.topic.documents._MOST_VALUES", 1_000)
    first, second = await cut(b'{"a": [' + b"0," * (LONGEST // 2) + b'0]}\n{"a": 1}\n')
    assert (refusal_text(first) or "").startswith("document: expected 6,500,000 values at most")
    assert (first.body, second.record) == (b"", {"a": 1})


async def test_names_that_are_no_names_are_refused() -> None:
    (found,) = await cut(b"a,a\n1,2\n")
    assert refusal_text(found) == "line of names: expected a name for each column, and each one once"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (b"a,b\rc,d", "lines that all end alike, not a carriage return inside one"),
        (b'"a,b', "a closing quote on the same line"),
        (b'"a" b,"c"', "CSV"),
        (b'"' + b"a" * 200_000 + b'",b', "CSV"),
    ],
    ids=["two lines", "no end of a quote", "more after a quote", "long"],
)
async def test_a_line_of_names_that_is_no_csv_is_refused(names: bytes, problem: str) -> None:
    (found,) = await cut(names + b"\n1,2\n")
    assert (refusal_text(found), found.body) == (f"line of names: expected {problem}", names)


@pytest.mark.parametrize("names", [b"a," * LONGEST, b"a,a", b"a,\xff"], ids=["too long", "repeated", "no UTF-8"])
async def test_reading_never_begins_behind_a_line_of_names_that_is_refused(names: bytes) -> None:
    (found,) = await cut(names + b"\n1,2\n")
    assert (found.record, found.end) == (None, 0)


async def test_a_document_may_stand_in_one_long_line() -> None:
    several = [{"a": number, "b": "x" * 1000} for number in range(2000)]
    assert [each.record for each in await cut(json.dumps(several).encode())] == several
    assert [each.record for each in await cut(json.dumps({"all": several}).encode() + b"\n{}")] == [
        {"all": several},
        {},
    ]
    (first, second) = await cut(b"{}\n" + json.dumps(several).encode())
    assert (refusal_text(first), refusal_text(second)) == (None, f"line: expected {LONGEST:,} bytes at most")


async def test_a_document_that_is_too_long_for_memory_is_refused() -> None:
    limit = LONGEST_DOCUMENT
    (found,) = await cut(b"[" + b" " * limit + b"]")
    assert (refusal_text(found) or "").startswith(
        "document: expected 64 MiB and lines of 1,000,000 bytes at most; write"
    )
    (found,) = await cut(b'{\n"a": "' + b"x" * LONGEST + b'"}')
    assert (refusal_text(found) or "").startswith(
        "document: expected 64 MiB and lines of 1,000,000 bytes at most; write"
    )
    assert [refusal_text(each) for each in await cut(b'{"a": "' + b"x" * limit + b'"}\n{}')] == [
        f"line: expected {LONGEST:,} bytes at most",
        None,
    ]


async def test_an_empty_file_has_no_records() -> None:
    assert await cut(b"") == await cut(b"\n \n") == []


# --- files as vendors deliver them ----------------------------------------------------------------------------------


async def cut_of(feed: str, content: bytes, begin: FilePosition = FilePosition()) -> list[FileRecord]:  # noqa: B008  it is a value
    return [each async for each in read_records(FEEDS[feed], opened(content), begin)]


async def test_a_file_without_its_names_is_refused_and_does_not_lose_its_first_row() -> None:
    rows = b"4111111111111111,2612,4012888888881881,2911,A,N\n" * 3
    (found,) = await cut_of("vau", rows)
    assert (found.number, found.record, found.body) == (1, None, rows.splitlines()[0])
    assert refusal_text(found) == "line of names: expected the names of this feed's columns"


JPMORGAN = b"""\
BEGIN,ProcessingEntityId=1,Frequency=adhoc
ProcessingEntityId=1,ReportTypeName=Multiple,FromDate=2025-03-17,ToDate=2025-03-31
Record Type,Reason Message,Response Message,Method,Method of Payment,Total
ACP-01 ,Account has been closed,CLOSED_ACCOUNT,RTAU,VI,1
Record Type,Payment Method Id ,New Masked Account ,Network Response,Request Status
ACP-02 ,pm-1,3/17/2025,A,REGISTER
ACP-02 ,pm-2,3/17/2025,A
ACP-02 ,pm-3,3/17/2025
ACP-02 ,pm-4,3/17/2025,A,REGISTER,
ACP-02 ,pm-5,3/17/2025,A,
END,ProcessingEntityId=1,Frequency=adhoc
"""


async def test_jpmorgans_report_is_read_below_its_summary_and_a_row_may_lack_its_last_column() -> None:
    found = await cut_of("jpmorgan", JPMORGAN)
    assert [(each.number, each.record and each.record["Payment Method Id"], refusal_text(each)) for each in found] == [
        (6, "pm-1", None),
        (7, "pm-2", None),
        (8, None, "line: expected 5 columns, not 3"),
        (9, None, "line: expected 5 columns, not 6"),
        (10, "pm-5", None),
    ]
    assert found[1].record is not None
    assert "Request Status" not in found[1].record
    assert found[1].record["Network Response"] == "A"


JPMORGANS_OTHER = EXAMPLES / "jpmorgan-account-update.csv"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\n"])
async def test_jpmorgans_other_report_is_read_between_the_lines_that_say_whose_it_is(before: bytes) -> None:
    found = await cut_of("jpmorgan", before + JPMORGANS_OTHER.read_bytes())
    assert [
        (each.record and each.record["Account Updater Status Message Text"], refusal_text(each)) for each in found
    ] == [
        ("NEW_ACCOUNT_AND_EXPIRY", None),
        ("NEW_ACCOUNT", None),
        ("NEW_EXPIRY", None),
        ("CONTACT_CARDHOLDER", None),
        ("CLOSED_ACCOUNT", None),
    ]
    assert found[0].number == 4 + before.count(b"\n")


async def test_a_byte_order_mark_is_no_part_of_a_line_that_is_put_aside() -> None:
    marked = await cut_of("jpmorgan", b"\xef\xbb\xbf" + JPMORGAN)
    assert [each.number for each in marked if not refusal_text(each)] == [6, 7, 10]


CYBERSOURCE = b"""\
H,cybs.au.response.pan,merchant1,001\r
D,1,4111111111111111,11,26,4012888888881881,11,29,ref,,NAN,800\r
D,2,4111111111111111,11,26,,,,,,ACL\r
D,3,4111111111111111,11,26,,,,"a,b",,ACL,800\r
Hello,4\r
F,3,COM,800\r
"""


@pytest.mark.parametrize("head", [b"", b"Record Identifier,Request ID,Old Card Number\n"])
async def test_cybersources_file_needs_no_line_of_names_and_may_have_one(head: bytes) -> None:
    found = await cut_of("cybersource", head + CYBERSOURCE)
    if head:
        assert [refusal_text(each) for each in found] == ["line of names: expected the names of this feed's columns"]
        return
    assert [(each.number, refusal_text(each)) for each in found] == [
        (2, None),
        (3, "line: expected 12 columns, not 11"),
        (4, None),
        (5, "line: expected 12 columns, not 2"),
    ]
    assert found[0].record is not None
    assert (found[0].record["New Card Number"], found[0].record["Reason Code"]) == ("4012888888881881", "800")


async def test_a_first_row_says_nothing_of_columns_without_a_name() -> None:
    first, *_ = await cut_of("cybersource", CYBERSOURCE.replace(b",800\r\nD,2", b",800,\r\nD,2"))
    assert refusal_text(first) == "line: expected 12 columns, not 13"


def ach(*batches: Sequence[str]) -> bytes:
    """A file of batches, each of them the lines between its header and its control."""
    lines = ["101 091000019 0910000192611191200A094101FEDERAL RESERVE BANK   FOOD SHOP".ljust(94)]
    for each in batches:
        lines += [BATCH, *each, "8200000002".ljust(94)]
    return "\r\n".join([*lines, "9000001".ljust(94), "9" * 94, ""]).encode()


def corrected(account: str) -> list[str]:
    lines = notice("C01", account)
    return [lines["entry"], lines["addenda"]]


ACH = ach([*corrected("1"), *corrected("2")], corrected("3"), [corrected("4")[0], "x" * 94, *corrected("5")[:1]])


async def test_entries_of_a_bank_are_read_each_with_its_line_and_the_bad_are_named() -> None:
    found = await cut_of("nacha", ACH)
    assert [
        (each.number, each.record and each.record["addenda"][35:40].strip(), refusal_text(each)) for each in found
    ] == [
        (3, "1", None),
        (5, "2", None),
        (9, "3", None),
        (14, None, "line 14: expected a record type of 1, 5, 6, 7, 8 or 9"),
        (13, None, "line 13: expected an addenda record after the entry"),
        (15, None, "line 15: expected an addenda record after the entry"),
    ]
    assert found[0].body.decode().splitlines() == corrected("1")
    assert found[4].body.decode().rstrip() == corrected("4")[0]


async def test_entries_that_end_inside_a_batch_are_not_lost() -> None:
    whole = ach(corrected("1"), corrected("2")).splitlines(keepends=True)
    found = await cut_of("nacha", b"".join(whole[:7]))
    assert [(each.number, each.end > 0, refusal_text(each)) for each in found] == [
        (3, True, None),
        (7, False, "line 7: expected an addenda record after the entry"),
        (7, False, "line 7: the file ends inside a batch"),
    ]


@pytest.mark.parametrize(("end", "goes_on"), [("\r\n", True), ("", False)])
async def test_reading_goes_on_behind_no_last_line_without_an_end(end: str, *, goes_on: bool) -> None:
    """It may still grow."""
    lines = ach(corrected("1")).decode().splitlines()[:5]
    (found,) = await cut_of("nacha", ("\r\n".join(lines) + end).encode())
    assert (found.record is not None, bool(found.end)) == (True, goes_on)


async def test_blank_lines_of_a_banks_file_are_too_many_where_they_outweigh_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.topic.bank_files._MOST_BLANK_LINES", 3)
    whole = ach(corrected("1"))
    assert len(whole.splitlines()) == 7
    assert len(await cut_of("nacha", whole + b"\r\n" * 7)) == 1
    for content in (whole + b"\r\n" * 8, b"\r\n" * 4):
        with pytest.raises(Damaged, match="more than 3 blank lines"):
            await cut_of("nacha", content)


async def test_a_line_in_no_encoding_moves_no_position() -> None:
    named = ach(corrected("1")).replace(b"ACCOUNT HOLDER", "JOSÉ OF MÁLAGA".encode("latin-1"))
    (found,) = await cut_of("nacha", named)
    assert found.record is not None
    assert "JOSÉ OF MÁLAGA" in found.record["entry"]


@pytest.mark.parametrize(("feed", "content"), [("jpmorgan", JPMORGAN), ("cybersource", CYBERSOURCE), ("nacha", ACH)])
async def test_reading_such_a_file_goes_on_where_a_record_ended(feed: str, content: bytes) -> None:
    whole = await cut_of(feed, content)
    places = [
        (number, FilePosition(each.end, each.last_line or each.number)) for number, each in enumerate(whole) if each.end
    ]
    assert len(places) >= 3
    for number, place in places:
        assert await cut_of(feed, content, place) == whole[number + 1 :]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
async def test_a_byte_order_mark_moves_no_position_in_a_banks_file(before: bytes) -> None:
    plain, marked = await cut_of("nacha", ACH), await cut_of("nacha", before + ACH)
    assert [each.record for each in marked] == [each.record for each in plain]
    places = [FilePosition(each.end, each.last_line) for each in marked if each.end]
    assert await cut_of("nacha", before + ACH, places[0]) == marked[2:]


@pytest.mark.parametrize("form", FORMS)
async def test_a_banks_file_makes_the_same_records_in_every_form_and_reading_goes_on_in_each(form: str) -> None:
    plain = [each.record for each in await cut_of("nacha", FORMS["LF"])]
    whole = await cut_of("nacha", FORMS[form])
    assert [each.record for each in whole] == plain
    assert [refusal_text(each) for each in whole if refusal_text(each) is not None] == []
    places = [
        (number, FilePosition(each.end, each.last_line or each.number)) for number, each in enumerate(whole) if each.end
    ]
    assert places
    for number, place in places:
        assert await cut_of("nacha", FORMS[form], place) == whole[number + 1 :]


async def test_reading_goes_on_between_batches_alone() -> None:
    found = await cut_of("nacha", ACH)
    begins = [ACH[each.end :][:1] for each in found if each.end]
    assert begins == [b"5", b"5", b"9"]
