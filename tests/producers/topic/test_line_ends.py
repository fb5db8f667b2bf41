"""Each line of a file has its number, its end and its beginning, however its bytes arrive."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import lines as module
from producers.lines import Damaged, FilePosition, RawLine, _Cutter

# So long may a line be here: the tests' files need not have megabytes.
LONGEST = 6
BEGINNING = FilePosition()
PIECES = [b"\n", b"\r\n", b" ", b"\t", b"\r", b"a", b"bcd", b"longer than it may be", b"   \n\n", b" " * 9]

contents = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
cuts = st.lists(st.integers(0, 80), max_size=6)


def expected(content: bytes, begin: FilePosition = BEGINNING) -> list[tuple[int, int, bytes]]:
    """(number, end, text) of each line that is not blank: by a split of the whole."""
    *ended, last = content[begin.offset :].split(b"\n")
    found, end = [], begin.offset
    for number, text in enumerate(ended, begin.lines + 1):
        end += len(text) + 1
        found.append((number, end, text))
    found.append((begin.lines + len(ended) + 1, 0, last))
    return [line for line in found if line[2].strip(b" \t\r")]


def cut(pieces: Iterable[bytes], begin: FilePosition = BEGINNING, *, longest_first: int = LONGEST) -> list[RawLine]:
    cutter = _Cutter(begin, longest_first)
    found = [raw for piece in pieces if piece for raw in cutter.add(piece)]
    last = cutter.last()
    return [*found, *([] if last is None else [last])]


def in_pieces(content: bytes, at: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(content)) for place in at), len(content)]
    return [content[start:end] for start, end in pairwise(places)]


@pytest.fixture(autouse=True, scope="module")
def short_lines() -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "LONGEST", LONGEST)
        yield


def check(found: list[RawLine], wanted: list[tuple[int, int, bytes]], longest: int = LONGEST) -> None:
    assert [(raw.number, raw.end) for raw in found] == [(number, end) for number, end, _ in wanted]
    for raw, (_, _, text) in zip(found, wanted, strict=True):
        # of a line that is too long more than may be is seen, so that it is known to be too long
        assert raw.text[: longest + 1] == text[: longest + 1]
        assert raw.text == text or len(raw.text) > longest


@given(content=contents, at=cuts)
def test_every_line_has_its_number_and_its_end_however_it_arrives(content: bytes, at: list[int]) -> None:
    check(cut(in_pieces(content, at)), expected(content))


@given(content=contents, at=cuts, line=st.integers(0, 9))
def test_reading_that_begins_at_the_end_of_a_line_counts_on_from_there(
    content: bytes, at: list[int], line: int
) -> None:
    ends = [(number, end) for number, end, _ in expected(content) if end]
    number, end = ends[line % len(ends)] if ends else (0, 0)
    begin = FilePosition(end, number)
    check(cut(in_pieces(content[end:], at), begin), expected(content, begin))


@pytest.mark.parametrize("end", [b"\n", b"\n\nb\n", b""])
def test_a_line_that_begins_with_more_blanks_than_it_may_have_bytes_is_not_blank(end: bytes) -> None:
    blanks = b" " * (LONGEST + 3)
    for pieces in ([blanks + b"a" + end], [blanks, b"a", end], [blanks, b"a" + end]):
        assert cut(pieces)[0].number == 1
    assert cut([b"a\n", blanks, b" \t", b" "]) == [RawLine(1, 2, b"a")]


def test_a_long_blank_line_counts_with_all_of_its_bytes() -> None:
    assert cut([b" " * 9, b" " * 9, b"\r\n", b"a\n"]) == [RawLine(2, 22, b"a")]


@pytest.mark.parametrize(("begin", "is_over"), [(BEGINNING, True), (FilePosition(5, 1), False)])
def test_only_the_beginning_of_a_file_says_that_it_is_no_text(begin: FilePosition, is_over: bool) -> None:  # noqa: FBT001
    cutter = _Cutter(begin, 10_000)
    assert [raw.number for raw in cutter.add(b"\0" * 5000)] == ([1] if is_over else [])
    assert cutter.is_over is is_over


def test_only_the_first_line_may_be_as_long_as_a_document() -> None:
    first, second = b"x" * 100, b"y" * 100
    found = cut([first[:50], first[50:] + b"\n" + second[:20], second[20:], b"\n"], longest_first=200)
    assert found[0] == RawLine(1, 101, first)
    assert (found[1].number, found[1].end) == (2, 202)
    assert len(found[1].text) <= 20 + LONGEST + 1


def test_blank_lines_are_too_many_where_they_outweigh_what_the_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BLANK", 100)
    content = b"abc\n" * 50
    assert len(cut([content, b"\n" * 200, b"abc\n"])) == 51
    for pieces in ([content, b"\n" * 201], [b"abc\n", b"\n" * 101], [b"\n" * 60, b"\n" * 41]):
        with pytest.raises(Damaged, match="blank lines"):
            cut(pieces)


def test_a_line_that_never_ends_is_given_up_though_little_of_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_LINE", 100)
    assert len(cut([b"a\n", b"x" * 50, b"x" * 50, b"\n"])) == 2
    with pytest.raises(Damaged, match="line 2 is longer"):
        cut([b"a\n", b"x" * 50, b"x" * 51])
