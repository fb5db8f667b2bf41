"""What an interruption of a file leaves, and where the file goes on."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops import checkpoint, feed_files, open_file
from ops.checkpoint import Digest
from ops.feed_files import Summary, _FileProgress
from ops.open_file import OpenFile
from ops.refused_lines import RefusedLines
from ops.settings import Settings
from producers.lines import FilePosition
from producers.topic.stream import FeedLine
from schemas.feeds.feed import Edge
from tests.acceptance.lines import replaced

AT = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = json.dumps(replaced(1)) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "feed"
    file.write_text(FIRST)
    return file


@pytest.fixture
def source(file: Path) -> Iterator[OpenFile]:
    with open_file.opened(file) as source:
        yield source


def progress(source: OpenFile, lines: int = 0, offset: int = 0) -> _FileProgress:
    begun = replace(checkpoint.of(source, "canonical", AT), offset=offset)
    with RefusedLines(source) as refused:
        return _FileProgress(source, begun, Digest(source), refused, lambda _: None, Summary(lines))


@pytest.mark.parametrize(
    ("rest", "counts"),
    [
        pytest.param("{\n" * 30, (31, 30, None), id="lines that cannot be used"),
        pytest.param("\n \n", (1, 0, None), id="blank lines"),
    ],
)
async def test_the_rest_of_a_file_says_nothing_of_its_format(
    file: Path, kafka: str, topic: str, rest: str, counts: tuple[int, int, str | None]
) -> None:
    file.write_text(FIRST + rest)
    with open_file.opened(file) as source:
        begun = checkpoint.of(source, "canonical", AT)
        left = replace(begun, offset=len(FIRST), lines=1, records=1, sent=1)
        checkpoint.write(source, left, Digest(source))
        settings = Settings.model_validate({"kafka_topic": topic})
        summary = await feed_files.send(source, None, Edge(AT), settings, kafka)
    assert (summary.lines, summary.refused, summary.problem) == counts


@pytest.mark.parametrize(
    ("lines", "offset", "is_kept", "said"),
    [
        (0, 0, True, "interrupted before anything was acknowledged"),
        (3, 30, True, "interrupted; 3 lines acknowledged, and the same command goes on after them"),
        (3, 0, True, "interrupted; 3 lines acknowledged. The same command begins anew: what was sent is recognised"),
        (3, 30, False, "interrupted; 3 lines acknowledged. The same command begins anew: what was sent is recognised"),
    ],
)
def test_where_the_same_command_goes_on_is_said(
    source: OpenFile, capsys: pytest.CaptureFixture[str], lines: int, offset: int, *, is_kept: bool, said: str
) -> None:
    interrupted = progress(source, lines, offset)
    interrupted.kept = is_kept
    interrupted.explain()
    assert capsys.readouterr().err == f"repoint: {source.title}: {said}\n"


def test_a_checkpoint_that_cannot_be_written_is_said_once(source: OpenFile, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(source.title).parent / ".feed.checkpoint.new").mkdir()
    sending = progress(source, 1, 8)
    sending.write()
    sending.end(growing=False)
    no_checkpoint = "interrupted, it would begin anew: no checkpoint beside it (Is a directory)"
    assert capsys.readouterr().err == f"repoint: {source.title}: {no_checkpoint}\n"


async def test_an_interruption_ends_the_reading_of_what_was_sent_before(
    source: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be some hundred gigabytes, and a thread that still read them would keep the program from its end."""
    begun, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(_source: OpenFile, _beginning: object, digest: Digest, **_: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        until = time.monotonic() + 60
        while not digest._is_interrupted and time.monotonic() < until:
            time.sleep(0.01)
        if digest._is_interrupted:
            loop.call_soon_threadsafe(ended.set)

    monkeypatch.setattr(checkpoint, "read", read)
    sending = asyncio.create_task(feed_files.send(source, None, Edge(AT), Settings(), "127.0.0.1:1"))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    async with asyncio.timeout(30):
        await ended.wait()


def test_an_interrupted_digest_is_none(source: OpenFile) -> None:
    digest = Digest(source)
    digest.interrupt()
    assert digest.before(8) == ""


def test_a_checkpoint_has_the_place_behind_a_line_and_the_reasons_until_there(source: OpenFile) -> None:
    sent = progress(source)
    with sent.report:
        sent.passed(FeedLine(1, 10, (), "line: JSON", last_line=2, parts=3))
    begun = sent.begun
    assert (begun.place, begun.records, begun.reasons) == (FilePosition(10, 2, 3), 1, {"line: JSON": 1})


@pytest.mark.parametrize(("lines", "is_held_back"), [(19, False), (20, True)])
async def test_a_file_is_of_another_format_if_none_of_its_first_twenty_lines_fits(
    source: OpenFile, lines: int, *, is_held_back: bool
) -> None:
    head, summary = [FeedLine(number, 0, (), "line: JSON") for number in range(lines)], Summary()
    assert await feed_files._is_of_another_format(head, source, None, summary) is is_held_back
    assert (summary.held_back, summary.lines) == (is_held_back, lines if is_held_back else 0)
