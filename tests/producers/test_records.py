"""How files are cut: every record once, with where the next one begins, and no bad row in the way of others."""

import json
from io import BufferedReader, BytesIO
from typing import cast

import pytest

from producers.records import Cut, Place, records
from schemas.intake import LONGEST


def opened(content: bytes) -> BufferedReader:
    return cast(BufferedReader, BytesIO(content))


async def cut(content: bytes, begin: Place = Place()) -> list[Cut]:  # noqa: B008  it is a value
    return [each async for each in records(opened(content), begin)]


ROWS = b'a,b\r\n1,2\r\n\r\n"x\ny","say ""hi"""\r\n3,4'
LINES = b'{"a": 1}\n\n{"a": 2}\n{"a": 3}'
DOCUMENT = json.dumps([{"a": 1}, {"a": 2}], indent=1).encode()


async def test_rows_are_read_by_the_names_of_their_columns() -> None:
    found = await cut(ROWS)
    assert [(each.number, each.record) for each in found] == [
        (2, {"a": "1", "b": "2"}),
        (4, {"a": "x\ny", "b": 'say "hi"'}),
        (6, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
async def test_columns_may_be_parted_otherwise(delimiter: str) -> None:
    (found,) = await cut(ROWS[:10].replace(b",", delimiter.encode()))
    assert found.record == {"a": "1", "b": "2"}


async def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert (await cut(b"\xef\xbb\xbf" + ROWS))[0].record == {"a": "1", "b": "2"}
    assert (await cut(b"\xef\xbb\xbf" + LINES))[0].record == {"a": 1}


async def test_objects_come_one_a_line_or_in_one_document() -> None:
    assert [each.record for each in await cut(LINES)] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [each.record for each in await cut(DOCUMENT)] == [{"a": 1}, {"a": 2}]
    assert [each.record for each in await cut(b'{\n"a": 1\n}')] == [{"a": 1}]
    assert [each.record for each in await cut(b'[{"a": 1}, {"a": 2}]')] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("content", [ROWS, LINES, LINES + b"\n"])
async def test_reading_goes_on_where_a_record_ended(content: bytes) -> None:
    whole = await cut(content)
    for number, each in enumerate(whole):
        assert await cut(content, Place(each.end, each.number + each.body.count(b"\n"))) == whole[number + 1 :]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"1,2,3", "line: expected 2 columns, not 3"),
        (b"1", "line: expected 2 columns, not 1"),
        (b"\xff,2", "line: expected UTF-8"),
        (b'"1,2', "line: expected a closing quote"),
        (b"x" * (LONGEST + 1), f"line: expected {LONGEST:,} bytes at most"),
    ],
    ids=["wide", "narrow", "no UTF-8", "no end of a quote", "long"],
)
async def test_a_bad_row_holds_up_no_other(bad: bytes, problem: str) -> None:
    rows = await cut(b"a,b\n1,2\n" + bad + b"\n" + b"3,4\n" * 200)
    assert [(each.number, each.problem) for each in rows if each.problem] == [(3, problem)]
    assert len(rows) == 202


@pytest.mark.parametrize("bad", [b"{", b"[1]", b'"x"', b"\xff", b"{" * 100_000])
async def test_a_bad_object_holds_up_no_other(bad: bytes) -> None:
    found = await cut(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
    assert [each.record for each in found] == [{"a": 1}, None, {"a": 3}]


async def test_names_that_are_no_names_are_refused() -> None:
    (found,) = await cut(b"a,a\n1,2\n")
    assert found.problem == "line of names: expected a name for each column, and each one once"


async def test_an_empty_file_has_no_records() -> None:
    assert await cut(b"") == await cut(b"\n \n") == []
