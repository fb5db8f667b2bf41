"""A file to be sent: read at several places at once, and closed with everything that belongs to it."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import open_file
from ops.open_file import OpenFile, _Pipe, _Positioned
from ops.wallet_file import _Beside, _masked


@pytest.fixture
def pipe() -> Iterator[tuple[_Pipe, int]]:
    """A pipe to read from, and the descriptor to write to."""
    out, into = os.pipe()
    yield _Pipe(out), into
    os.close(out)
    os.close(into)


def test_a_file_and_its_folder_are_closed_together(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("a line\n")
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208  the descriptors of this process
    with open_file.opened(tmp_path / "feed") as source:
        assert source.folder is not None
        assert source.stream().read() == b"a line\n"
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_each_reader_of_a_file_has_a_position_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "feed").write_bytes(b"0123456789")
    with open_file.opened(tmp_path / "feed") as source:
        first, second = _Positioned(source.descriptor), _Positioned(source.descriptor)
        assert first.seek(2) == 2
        assert first.read(3) == b"234"
        assert (first.tell(), second.tell()) == (5, 0)
        assert first.seek(-1, io.SEEK_CUR) == 4
        assert first.seek(-2, io.SEEK_END) == 8
        assert (first.read(), second.read(2)) == (b"89", b"01")


def test_an_interrupted_pipe_ends_though_more_may_come(pipe: tuple[_Pipe, int]) -> None:
    stdin, into = pipe
    os.write(into, b"a line\n")
    assert stdin.read(100) == b"a line\n"
    assert stdin.tell() == 7
    stdin.interrupt()
    os.write(into, b"another\n")
    assert stdin.read(100) == b""


def test_the_size_of_a_pipe_is_not_known(pipe: tuple[_Pipe, int]) -> None:
    stdin, _ = pipe
    assert OpenFile("stdin", "", stdin.descriptor, None, stdin).size is None


# --- the refused lines of a file of wallets ---------------------------------------------------------------------------


def test_refused_lines_are_for_their_owner_alone(tmp_path: Path) -> None:
    with _Beside(tmp_path / "wallets") as beside:
        beside.add("{")
        kept = beside.keep()
    assert kept == tmp_path / "wallets.refused"
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("{\n", 0o600)


def test_an_import_that_fails_leaves_no_refused_lines(tmp_path: Path) -> None:
    with _Beside(tmp_path / "wallets") as beside:
        beside.add("{")  # and `keep` is never called
        assert [file.name for file in tmp_path.iterdir()] == ["wallets.refused.unfinished"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('{"cvv": "123", "a": 1}', '{"cvv": "***", "a": 1}'),
        ('{"CVV": 123, "a": 1}', '{"CVV": "***", "a": 1}'),
        ('{"cvv": "12', '{"cvv": "***"'),
        (r'{"\u0063vv": "123"}', '{"cvv": "***"}'),
        (r'{"\u0063vv": "123', '{"cvv": "***"'),
        (r'{"note": "\u0034111111111111111"}', '{"note": "****************"}'),
    ],
)
def test_refused_lines_are_kept_without_what_no_file_may_have(line: str, kept: str) -> None:
    assert _masked(line) == kept
