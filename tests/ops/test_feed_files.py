"""What is counted of a file, what is said of it, and when it is refused as a whole."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import drop_folder, feed_files, open_file, work_folders
from ops.drop_folder import Refusals, Watch
from ops.feed_files import Summary
from ops.folder import Folder
from ops.open_file import OpenFile
from ops.settings import Settings
from producers.topic.stream import FeedLine
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.intake import TopicMessage

MESSAGE = TopicMessage(None, b"{}", [])
REFUSED = "line: expected JSON"
NOTHING_SENT = "; nothing was sent (--force sends it all the same)"


@pytest.mark.parametrize(
    ("summary", "problem"),
    [
        (Summary(), None),
        (Summary(lines=2, sent=2), None),
        (Summary(lines=2, reasons=Counter({REFUSED: 1})), None),
        (Summary(is_blank=True), "it is empty"),
        (Summary(lines=2, sent=2, damaged="it is damaged"), "it is damaged"),
        (Summary(lines=2, reasons=Counter({REFUSED: 2})), f"nothing in it can be used ({REFUSED})"),
        (Summary(lines=2, reasons=Counter({REFUSED: 1, "type: unknown": 1})), "nothing in it can be used"),
        (
            Summary(lines=1, reasons=Counter({REFUSED: 1}), looks_like="vau"),
            f"nothing in it can be used ({REFUSED}); it looks like vau: --format vau",
        ),
        (
            Summary(lines=19, reasons=Counter({REFUSED: 19}), held_back=True),
            f"nothing in it can be used ({REFUSED}){NOTHING_SENT}",
        ),
        (
            Summary(lines=20, reasons=Counter({REFUSED: 20}), held_back=True),
            f"nothing in its first 20 lines can be used ({REFUSED}); nothing was sent (--force sends it all the same)",
        ),
        (Summary(lines=20, reasons=Counter({REFUSED: 20})), f"nothing in it can be used ({REFUSED})"),
    ],
)
def test_a_file_is_refused_as_a_whole_where_nothing_in_it_can_be_used(summary: Summary, problem: str | None) -> None:
    assert summary.problem == problem


def test_lines_are_counted_by_what_came_of_them() -> None:
    summary = Summary()
    summary.add(FeedLine(1, 0, [MESSAGE, MESSAGE]))
    summary.add(FeedLine(2, 0, [], irrelevant="a test"))
    summary.add(FeedLine(3, 0, [MESSAGE], refusal_text=REFUSED))
    assert (summary.lines, summary.sent, summary.refused) == (3, 2, 1)
    assert (summary.reasons, summary.irrelevant) == ({REFUSED: 1}, {"a test": 1})


def test_a_hundred_reasons_are_named_and_the_others_counted_together() -> None:
    summary = Summary()
    for number in [*range(102), 99]:
        summary.add(FeedLine(number, 0, [MESSAGE], refusal_text=f"reason {number}"))
    assert len(summary.reasons) == 101
    assert (summary.reasons["reason 99"], summary.reasons["for other reasons"]) == (2, 2)


FULL = Summary(
    lines=2_000, sent=1_990, reasons=Counter({"b": 1, "a": 5}), irrelevant=Counter({"a test": 3}), too_long=2,
    first_refusal="NotEnoughReplicasError",
)  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], summary: Summary, **how: Any) -> tuple[list[str], list[str]]:
    feed_files.report("file", summary, **how)
    out, err = capsys.readouterr()
    return out.splitlines(), [line.removeprefix("repoint: ") for line in err.splitlines()]


def test_a_report_names_the_counts_and_what_follows_from_them(capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["  5 refused: a", "  1 refused: b", "  3 irrelevant, and not kept: a test"]
    too_long = "2 lines too long to be sent, not even there"
    refuses = "the broker refuses with NotEnoughReplicasError"
    assert said(capsys, FULL) == (
        ["file: 1,994 of 2,000 lines accepted, 1,990 updates sent", *counts],
        ["4 unusable lines will be among the dead letters: `repoint dead-letters list`", too_long, refuses],
    )
    assert said(capsys, FULL, dry_run=True) == (
        ["file: 1,994 of 2,000 lines accepted, 1,990 updates found; nothing was sent", *counts],
        [too_long, refuses],
    )
    held_back = Summary(lines=1, reasons=Counter({"a": 1}), held_back=True)
    assert said(capsys, held_back) == (["file: 0 of 1 line accepted, 0 updates sent", "  1 refused: a"], [])
    assert said(capsys, Summary(lines=1, sent=1)) == (["file: 1 of 1 line accepted, 1 update sent"], [])


def test_a_file_is_dated_by_its_time_in_whole_seconds_and_never_after_now() -> None:
    assert feed_files.moment(1_763_600_000.9) == datetime(2025, 11, 20, 0, 53, 20, tzinfo=UTC)
    future = feed_files.moment(time.time() + 3600)
    assert abs(datetime.now(UTC) - future) < timedelta(seconds=10)
    assert future.microsecond == 0


OF_A_TIME_TO_COME = json.dumps(
    {"id": "1", "vendor": "v", "type": "CLOSED", "occurredAt": "2999-01-01T00:00:00Z", "old": {"token": "t"}}
)


async def test_a_check_refuses_what_the_worker_would_refuse_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text(f'{{"id": "half a\n{OF_A_TIME_TO_COME}')
    with open_file.opened(tmp_path / "feed") as source:
        summary = await feed_files.check(source, None, Edge(datetime.now(UTC)), Settings())
    assert (summary.lines, summary.sent, summary.refused) == (2, 0, 2)
    assert sum("occurredAt" in reason for reason in summary.reasons) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["feed"]


async def test_a_check_holds_a_file_of_another_format_back_as_sending_does(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("oldCardholderAccountNumber,serviceIdentifier\n4111111111111111,C\n")
    for force in (False, True):
        with open_file.opened(tmp_path / "feed") as source:
            summary = await feed_files.check(source, None, Edge(datetime.now(UTC)), Settings(), force=force)
        assert (summary.looks_like, summary.held_back) == ("vau", not force)


async def test_a_file_of_the_right_format_looks_like_no_other_though_none_of_it_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("oldCardholderAccountNumber,serviceIdentifier\n4111111111111111,C\n")
    without_key = Edge(datetime.now(UTC))
    for feed, looks_like in (("vau", None), ("discover", "vau")):
        with open_file.opened(tmp_path / "feed") as source:
            summary = await feed_files.check(source, FEEDS[feed], without_key, Settings())
        assert (summary.lines, summary.refused, summary.looks_like) == (1, 1, looks_like)


async def test_a_file_that_cannot_be_read_any_further_is_damaged(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        source = OpenFile("feed", "feed", folder.descriptor, None)
        summary = await feed_files.check(source, None, Edge(datetime.now(UTC)), Settings())
    assert summary.problem == "it cannot be read to its end (Is a directory)"


# --- a watched folder -----------------------------------------------------------------------------------------------


def test_a_file_that_is_refused_is_tried_again_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("ops.drop_folder.time.monotonic", lambda: now)
    refusals = Refusals()
    assert refusals.is_due("file")
    delays = []
    for _ in range(10):
        refusals.add("file")
        due, delay = refusals._of["file"]
        assert due == now + delay
        delays.append(delay)
    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert (refusals.is_due("file"), refusals.is_due("another")) == (False, True)
    now += 300
    assert refusals.is_due("file")
    refusals.add("file")
    refusals.forget("file")
    assert refusals.is_due("file")
    refusals.add("file")
    assert refusals._of["file"][1] == 2


def test_why_a_file_is_left_alone_is_said_once_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = Refusals()
    for why in ("it is empty so far", "it is empty so far", "it is no file", "it is no file"):
        refusals.leave("in/file", why)
    refusals.forget("in/file")
    refusals.leave("in/file", "it is no file")
    lines = [line.removeprefix("repoint: ") for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        f"in/file is left alone: {why}" for why in ("it is empty so far", "it is no file", "it is no file")
    ]


@pytest.mark.parametrize(
    ("feed", "keep", "kept_for"),
    [
        (None, None, timedelta(days=7)),
        ("stripe", None, timedelta(days=7)),
        ("vau", None, timedelta()),
        ("vau", timedelta(days=3), timedelta(days=3)),
        (None, timedelta(), timedelta()),
    ],
)
def test_files_are_kept_as_long_as_asked_for_and_else_only_without_full_numbers(
    tmp_path: Path, feed: str | None, keep: timedelta | None, kept_for: timedelta
) -> None:
    (tmp_path / "in").mkdir()
    with work_folders.opened(tmp_path / "in", None) as folders:
        watch = Watch(folders, None if feed is None else FEEDS[feed], Settings(), "", keep=keep)
        assert watch.kept_for == kept_for


@pytest.mark.parametrize(
    ("name", "is_whole"),
    [("a.csv", True), (".a.csv", False), ("a.part", False), ("a.tmp", False), ("a.filepart", False),
     ("a.crdownload", False), ("a.refused", False), ("a.parts", True)],
)  # fmt: skip
def test_names_of_unfinished_uploads_are_left_alone(name: str, *, is_whole: bool) -> None:
    assert drop_folder._is_whole_name(name) is is_whole
