"""How far a file was sent holds for the same file, read as the same feed."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import pytest

from ops import checkpoint, open_file
from ops.checkpoint import Checkpoint, Digest
from ops.feed_files import Summary, _FileProgress
from ops.refused_lines import RefusedLines
from producers.lines import FilePosition
from producers.topic import ingest
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge

AT = datetime(2026, 11, 20, tzinfo=UTC)


def test_a_file_that_is_sent_as_another_feed_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    with open_file.opened(file) as source:
        interrupted = checkpoint.of(source, "vau", AT)
        interrupted.offset, interrupted.lines = 8, 2
        checkpoint.write(source, interrupted, Digest(source))
        same = checkpoint.read(source, checkpoint.of(source, "vau", AT), Digest(source))
        assert same is not None
        assert (same.offset, same.lines) == (8, 2)
        for feed in ("discover", "canonical"):
            assert checkpoint.read(source, checkpoint.of(source, feed, AT), Digest(source)) is None
            assert checkpoint.read(source, checkpoint.of(source, feed, AT), Digest(source), growing=True) is None


async def test_a_checkpoint_behind_a_batch_of_a_bank_counts_all_lines_before_it(tmp_path: Path) -> None:
    """A record of such a file has several lines, and is named by the first of them."""
    file = tmp_path / "feed"
    content = (Path(__file__).parents[2] / "examples" / "feeds" / "nacha.txt").read_bytes()
    file.write_bytes(content)
    with open_file.opened(file) as source, RefusedLines(source) as refused:
        begun = checkpoint.of(source, "nacha", AT)
        progress = _FileProgress(source, begun, Digest(source), refused, lambda _: None, Summary())
        async for line in ingest.read_feed(FEEDS["nacha"], source.stream(), Edge(AT)):
            progress.passed(line)
    assert begun.offset
    assert begun.lines == content.count(b"\n", 0, begun.offset)


ROWS = "a,b\n1,2\n3,4\n"
LATER = datetime(2026, 11, 21, tzinfo=UTC)


def interrupt(file: Path) -> Checkpoint:
    """Leave the checkpoint of an ingestion that was interrupted after the first row, with every count."""
    with open_file.opened(file) as source:
        left = replace(
            checkpoint.of(source, "vau", AT), offset=8, lines=2, parts=1, records=1, sent=1,
            reasons={"line: JSON": 3}, irrelevant={"a test": 4}, refused_size=5,
        )  # fmt: skip
        checkpoint.write(source, left, Digest(source))
    return left


def reread(file: Path, *, growing: bool = False) -> Checkpoint | None:
    """Where another ingestion, a day later, goes on."""
    with open_file.opened(file) as source:
        return checkpoint.read(source, checkpoint.of(source, "vau", LATER), Digest(source), growing=growing)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "feed.csv"
    file.write_text(ROWS)
    os.utime(file, (1_763_600_000, 1_763_600_000))
    return file


@pytest.mark.parametrize("growing", [False, True])
def test_an_unchanged_file_goes_on_at_its_place_with_its_date_and_counts(file: Path, *, growing: bool) -> None:
    left = interrupt(file)
    again = reread(file, growing=growing)
    assert again == left
    assert again is not None
    assert (again.place, again.dated) == (FilePosition(8, 2, 1), AT)
    with open_file.opened(file) as source:
        assert source.folder is not None
        assert checkpoint.offset(source.folder, source.name) == 8
        checkpoint.remove(source.folder, source.name)
        assert checkpoint.offset(source.folder, source.name) == 0
        checkpoint.remove(source.folder, source.name)
    assert reread(file, growing=growing) is None


@pytest.mark.parametrize(
    ("content", "moved_by"),
    [
        (ROWS, 1),
        (ROWS + "5,6\n", 0),
        (ROWS[:-1], 0),
        (ROWS.replace("1", "9"), 0),
    ],
    ids=["written again", "longer", "shorter", "another row before the place"],
)
def test_a_file_that_has_changed_begins_anew(file: Path, content: str, moved_by: int) -> None:
    interrupt(file)
    file.write_text(content)
    os.utime(file, (1_763_600_000, 1_763_600_000 + moved_by))
    assert reread(file) is None


def test_a_growing_file_that_has_grown_goes_on(file: Path) -> None:
    left = interrupt(file)
    file.write_text(ROWS + "5,6\n")
    again = reread(file, growing=True)
    state = file.stat()
    assert again == replace(left, size=16, modified=state.st_mtime_ns)
    with open_file.opened(file) as source:
        assert source.folder is not None
        checkpoint.write(source, left, Digest(source))
    (file.parent / "another").write_text(ROWS + "5,6\n7,8\n")
    (file.parent / "another").replace(file)
    assert reread(file, growing=True) is None, "another file of the same name"


@pytest.mark.parametrize("content", ["a,b\n1,2\n", ROWS.replace("1", "9") + "5,6\n"], ids=["shorter", "another row"])
def test_a_growing_file_that_was_rewritten_begins_anew_and_keeps_its_date(file: Path, content: str) -> None:
    """By the date its records are recognised, which have none of their own."""
    interrupt(file)
    file.write_text(content)
    again = reread(file, growing=True)
    assert again is not None
    assert (again.place, again.dated, again.records, again.reasons) == (FilePosition(), AT, 0, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"feed": "vau", "unknown": 1}', "\\xff"])
def test_a_checkpoint_that_cannot_be_read_is_none(file: Path, content: str) -> None:
    file.with_name(checkpoint.beside(file.name)).write_text(content)
    assert reread(file) is None


def test_a_digest_is_of_the_bytes_before_the_place_alone(file: Path) -> None:
    expected = [blake2b(ROWS[:size].encode(), digest_size=16).hexdigest() for size in (8, 4)]
    with open_file.opened(file) as source:
        digest = Digest(source)
        assert [digest.before(8), digest.before(4)] == expected, "also of an earlier place"
        assert digest.before(8) == expected[0]
        assert digest.before(1000) == "", "the file is shorter"
        digest = Digest(source)
        digest.interrupt()
        assert digest.before(8) == ""


def test_each_file_has_a_checkpoint_of_its_own_that_is_no_upload() -> None:
    assert checkpoint.beside("feed.csv") == ".feed.csv.checkpoint"
