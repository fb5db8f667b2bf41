"""Lines that are refused stand whole in the file beside, or not at all; whatever fails in between."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import open_file
from ops.refused_lines import RefusedLines, beside, is_beside
from producers.topic.stream import FeedLine
from schemas.intake import TopicMessage

LIMIT = 1_000_000


def line(number: int, body: bytes = b"x") -> FeedLine:
    return FeedLine(number, 0, (TopicMessage(None, body, []),), refusal_text="no record")


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    (tmp_path / "feed").write_text("a feed\n")
    return tmp_path / "feed"


@contextmanager
def refusing(feed: Path, kept: int = 0) -> Iterator[RefusedLines]:
    with open_file.opened(feed) as source, RefusedLines(source, kept=kept) as report:
        yield report


def numbers(feed: Path) -> list[int]:
    return [json.loads(row)["line"] for row in feed.with_name("feed.refused").read_text().splitlines()]


def test_what_could_not_be_written_is_no_part_of_the_file_when_it_goes_on(feed: Path) -> None:
    beside = feed.with_name("feed.refused")
    beside.mkdir()
    with refusing(feed) as report:
        report.add(line(1))
    assert (report.size, report.count) == (0, 1)
    beside.rmdir()
    with refusing(feed, kept=report.size) as report:
        report.add(line(2))
    assert numbers(feed) == [2]


def test_a_row_of_which_the_disk_took_a_part_is_cut_off(feed: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        with refusing(feed) as report:
            for number in (1, 2, 3):
                report.add(line(number, b"x" * (2 * LIMIT // 5)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert numbers(feed) == [1, 2]
    with refusing(feed, kept=report.size) as report:
        report.add(line(4))
    assert numbers(feed) == [1, 2, 4]


def test_a_file_that_was_shortened_meanwhile_is_not_filled_up(feed: Path) -> None:
    with refusing(feed) as report:
        report.add(line(1))
    feed.with_name("feed.refused").unlink()
    with refusing(feed, kept=report.size) as report:
        report.add(line(2))
    assert numbers(feed) == [2]


def test_what_an_earlier_ingestion_wrote_after_its_checkpoint_is_cut_off(feed: Path) -> None:
    with refusing(feed) as report:
        report.add(line(1))
        kept = report.size
        report.add(line(2))
    with refusing(feed, kept=kept) as report:
        report.add(line(3))
    assert numbers(feed) == [1, 3]


def test_the_file_of_a_former_version_goes_when_no_line_is_refused_any_more(feed: Path) -> None:
    with refusing(feed) as report:
        report.add(line(1))
    with refusing(feed, kept=report.size):
        pass
    assert numbers(feed) == [1]
    with refusing(feed):
        pass
    assert not feed.with_name("feed.refused").exists()


def test_a_row_has_the_number_the_problem_and_the_body_of_its_line(feed: Path) -> None:
    with refusing(feed) as report:
        report.add(line(7, "größer\n".encode() + b"\xff"))
        report.add(FeedLine(8, 0, (), refusal_text="line: too long"))
    rows = [json.loads(row) for row in feed.with_name("feed.refused").read_text(encoding="utf-8").splitlines()]
    assert rows == [
        {"line": 7, "problem": "no record", "body": "größer\n\\xff"},
        {"line": 8, "problem": "line: too long", "body": None},
    ]


@pytest.mark.parametrize("written", [True, False])
def test_twenty_lines_are_named_and_the_others_counted(
    feed: Path, capsys: pytest.CaptureFixture[str], *, written: bool
) -> None:
    with open_file.opened(feed) as source, RefusedLines(source, written=written) as report:
        for number in range(1, 23):
            report.add(line(number))
    *named, rest = capsys.readouterr().err.splitlines()
    title = f"{feed}:"
    assert [text.partition(title)[2] for text in named] == [f"{number}: no record" for number in range(1, 21)]
    where = f", all in {feed}.refused" if written else ""
    assert rest.endswith(f"… and 2 lines more{where}")
    assert feed.with_name("feed.refused").exists() is written


def test_a_file_of_refused_lines_is_known_by_the_end_of_its_name() -> None:
    assert beside("feed.csv") == "feed.csv.refused"
    assert [is_beside(name) for name in ("feed.csv.refused", ".refused.csv", "feed.csv")] == [True, False, False]


def test_names_that_are_too_long_for_a_suffix_have_files_of_their_own_beside_them() -> None:
    names = ["x" * 250 + end for end in ("a", "b", "", "abcde")]
    refused = [beside(name) for name in names]
    assert len(set(refused)) == 4
    assert [(len(name), name.endswith(".refused")) for name in refused] == [(255, True)] * 4
    assert beside("x" * 247) == "x" * 247 + ".refused"
