"""Files of one JSON object a line: which lines are read, under which numbers, and how their faults are named."""

import gzip
import os
from pathlib import Path

import pytest
import typer

from domain.refusal import Refusal
from ops import files, json_lines
from ops.json_lines import Faults
from ops.terminal import Failed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def read(file: Path, content: bytes) -> list[tuple[int, str]]:
    file.write_bytes(content)
    return list(json_lines.read(file))


def read_leniently(file: Path, content: bytes) -> tuple[list[tuple[int, str]], list[tuple[int, bytes, str]]]:
    """The lines, and what is called for those that cannot be read."""
    file.write_bytes(content)
    unreadable: list[tuple[int, bytes, str]] = []

    def note(number: int, line: bytes, refusal: Refusal) -> None:
        unreadable.append((number, line, str(refusal)))

    return list(json_lines.read(file, note)), unreadable


CONTENT = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n  {"b": "\xc3\xbc"}  \n{"c": 1}'
LINES = [(1, '{"a": 1}'), (4, '{"b": "ü"}'), (5, '{"c": 1}')]


@pytest.mark.parametrize("content", [CONTENT, gzip.compress(CONTENT)], ids=["plain", "packed"])
def test_lines_are_numbered_with_the_blank_ones_that_are_left_out(file: Path, content: bytes) -> None:
    assert read(file, content) == LINES


def test_a_line_that_is_no_text_is_named_and_the_others_are_read(file: Path) -> None:
    content = b'{"a": 1}\n\xff\xfe\n{"c": 1}\n'
    assert read_leniently(file, content) == (
        [(1, '{"a": 1}'), (3, '{"c": 1}')],
        [(2, b"\xff\xfe\n", "line: expected UTF-8")],
    )
    with pytest.raises(Failed, match=r"file\.jsonl:2: line: expected UTF-8$"):
        read(file, content)


def test_a_line_that_is_too_long_is_skipped_to_its_end(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 20)
    monkeypatch.setattr(json_lines, "_SHOWN", 7)
    monkeypatch.setattr(json_lines, "_CHUNK", 16)
    content = b'{"a": 1}\n{"b": "' + b"x" * 200 + b'"}\n{"c": 1}\n{"d": "01234567890"}\n{"e": "0123456789a"}'
    too_long = "line: expected 16,000,000 bytes at most"
    assert read_leniently(file, content) == (
        [(1, '{"a": 1}'), (3, '{"c": 1}'), (5, '{"e": "0123456789a"}')],
        [(2, b'{"b": "', too_long), (4, b'{"d": "', too_long)],
    )
    monkeypatch.setattr(json_lines, "_LONGEST_SEARCH", 64)
    with pytest.raises(Failed, match=rf"file\.jsonl:2: {too_long}$"):
        read(file, content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ": it is empty: expected one JSON object a line"),
        (b" \n\n\t", ": it is empty: expected one JSON object a line"),
        (b'\n[{"a": 1}]', ": it looks like a JSON array: expected one JSON object a line (jq -c '.[]')"),
        (b'{\n"a": 1\n}', ": it looks like one JSON text: expected one object a line (jq -c .)"),
        (b"PK\x03\x04....", ": expected it unpacked, not as zip"),
        (gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-9], ":10: the gzip file is cut off"),
    ],
)
def test_a_file_of_another_kind_is_refused_as_a_whole(file: Path, content: bytes, problem: str) -> None:
    with pytest.raises(Failed) as caught:
        read(file, content)
    assert problem in str(caught.value)
    assert str(file) in str(caught.value)


def test_some_blank_lines_are_no_flood_of_them(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(json_lines, "_MOST_BLANK_LINES", 3)
    assert read(file, b"{}\n\n\n\n{}\n\n\n\n{}\n") == [(1, "{}"), (5, "{}"), (9, "{}")]
    with pytest.raises(Failed, match="expected at most 3 blank lines after one another"):
        read(file, b"{}\n\n\n\n\n{}\n")


def raised(faults: Faults, *hints: str) -> list[str]:
    with pytest.raises(Failed) as caught:
        faults.raise_any(*hints)
    return str(caught.value).splitlines()


def test_faults_are_named_together_and_counted() -> None:
    faults = Faults(Path("file"))
    faults.raise_any("a hint")
    faults.add(7, "id: missing")
    assert raised(faults) == ["file:7: id: missing"]
    assert raised(faults, "a hint") == ["file:7: id: missing", "nothing was imported: 1 fault; a hint"]
    faults.add(9, "id: missing", "name: missing")
    assert raised(faults) == [
        "file:7: id: missing",
        "file:9: id: missing",
        "file:9: name: missing",
        "nothing was imported: 3 faults",
    ]


def test_a_hundred_faults_are_enough() -> None:
    faults = Faults(Path("file"))
    too_many = []
    for number, count in ((1, 99), (2, 2)):
        faults.add(number, *["id: missing"] * count)
        too_many.append(faults.are_too_many)
    assert too_many == [False, True]
    *named, last = raised(faults)
    assert (len(named), named[-1], last) == (100, "file:2: id: missing", "nothing was imported: 100 or more faults")


# --- files on the command line --------------------------------------------------------------------------------------


def test_what_cannot_be_read_or_written_is_refused_by_its_kind(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    kinds = {tmp_path: "it is a directory", tmp_path / "pipe": "it is a pipe", Path("/dev/null"): "it is a device"}
    for path, kind in kinds.items():
        with pytest.raises(typer.BadParameter, match=f"is not a file that can be read: {kind}"):
            files.readable(str(path))
        with pytest.raises(typer.BadParameter, match=f"cannot be written: {kind}; - is stdout"):
            files._writable(str(path))
    for name, why in ((str(file), "No such file or directory"), ("a\0b", "it has no name of a file")):
        with pytest.raises(typer.BadParameter, match=f"is not a file that can be read: {why}"):
            files.readable(name)
    with pytest.raises(typer.BadParameter, match="there is no folder"):
        files._writable(str(tmp_path / "none" / "file"))
    assert files._writable(str(file)) == file
    file.touch()
    assert (files.readable(str(file)), files._writable(str(file))) == (file, file)
    assert files.readable("-") == files._writable("-") == files.STDIN
    assert files.another_file(str(file)) == file
    with pytest.raises(typer.BadParameter, match="expected a file, not stdin"):
        files.another_file("-")


def test_the_size_of_a_packed_file_is_known_at_its_end_alone(file: Path) -> None:
    file.write_bytes(b"12345")
    assert files.size(file) == 5
    file.write_bytes(gzip.compress(b"12345"))
    assert files.size(file) is None
    assert files.size(files.STDIN) is None
