"""What is shown of a file while it is read: on a terminal how fast, and how long it will still take."""

import io
import json
import re
import sys
from contextlib import redirect_stderr
from datetime import UTC, datetime

import pytest
from rich.progress import Task, TaskID

from ops import terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Screen()


def shown(screen: Screen) -> str:
    """The last that was drawn, without what moves the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).strip().split("\r")[-1].splitlines()[-1]


def test_the_rate_is_lines_by_the_time_they_took() -> None:
    now = 100.0
    task = Task(TaskID(0), "", 1000, 500, _get_time=lambda: now, fields={"lines": 25_000})
    rate = terminal._Rate()
    assert str(rate.render(task)) == "25,000 lines, 0/s"  # it has not begun
    task.start_time = 90.0
    assert str(rate.render(task)) == "25,000 lines, 2,500/s"


def test_a_terminal_shows_how_far_a_file_is_and_how_long_it_will_take(screen: Screen) -> None:
    with redirect_stderr(screen), terminal.progress("feed.csv", 1000) as advance:
        for _ in range(200):
            advance(5)
    assert re.fullmatch(r"feed\.csv \S+ 100% 200 lines, [1-9][\d,]*/s 0:00:00", shown(screen))


def test_what_was_passed_at_an_earlier_time_counts_for_how_far_and_not_for_how_fast(screen: Screen) -> None:
    with redirect_stderr(screen), terminal.progress("feed.csv", 1000, passed=500) as advance:
        for _ in range(50):
            advance(5)
    assert re.fullmatch(r"feed\.csv \S+ *\S* +75% 50 lines, [1-9][\d,]*/s \S+", shown(screen))


def test_of_what_has_no_size_only_the_rate_is_shown(screen: Screen) -> None:
    with redirect_stderr(screen), terminal.progress("stdin", None) as advance:
        for _ in range(300):
            advance(5)
    assert re.search(r" 300 lines, [1-9][\d,]*/s$", shown(screen))


def test_steps_show_how_far_they_are_by_what_is_estimated(screen: Screen) -> None:
    with redirect_stderr(screen), terminal.steps("wallets", "row") as steps:
        steps.advance(10)
        steps.begin(40)
        steps.advance(20)
    assert re.fullmatch(r"wallets \S+ *\S* +75% 30 rows, [1-9][\d,]*/s \S+", shown(screen))


def test_more_steps_than_estimated_are_all_of_them(screen: Screen) -> None:
    with redirect_stderr(screen), terminal.steps("wallets", "row") as steps:
        steps.begin(10)
        steps.advance(25)
    assert re.search(r"100% 25 rows, ", shown(screen))


@pytest.mark.parametrize("numbers", [(), (0,), (1,), (3, 0, 2)])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_array_of_objects_with_long_lists_is_written_piece_by_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], *, is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    expected = [{"name": "\x9b", "items": [{"at": item} for item in range(number)]} for number in numbers]
    written = terminal.JsonItems()
    for number in numbers:
        written.begin({"name": "\x9b"}, "items")
        for item in range(number):
            written.item({"at": item})
        written.end()
    written.close()
    text = capsys.readouterr().out
    assert json.loads(text) == expected
    assert text.endswith("]\n")
    assert "\x9b" not in text
    if not is_terminal:
        assert text == json.dumps(expected) + "\n"


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "line", "0 lines"),
        (1, "line", "1 line"),
        (2_000, "unusable line", "2,000 unusable lines"),
        (1, "delivery", "1 delivery"),
        (2, "delivery", "2 deliveries"),
        (2, "key", "2 keys"),
    ],
)
def test_a_count_stands_before_its_noun(count: int, noun: str, text: str) -> None:
    assert terminal.counted(count, noun) == text


@pytest.mark.parametrize(
    ("name", "shown_as"),
    [
        ("feed.csv", "feed.csv"),
        ("B\udcfccher.csv", r"B\xfccher.csv"),
        ("e\x1b[31m.csv", r"e\x1b[31m.csv"),
        ("\x9b31m\r\n\t", r"\x9b31m\x0d\x0a\x09"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("Bücher •", "Bücher •"),
    ],
)
def test_a_foreign_name_is_written_so_that_no_terminal_acts_upon_it(
    name: str, shown_as: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.remark(name)
    terminal.write_line(name)
    terminal.write_table(["name"], [[name]])
    terminal.write_json([name])
    written = capsys.readouterr()
    assert written.err == f"repoint: {shown_as}\n"
    *lines, as_json = written.out.splitlines()
    assert (lines[0] if "\n" not in name else shown_as) == shown_as
    assert lines[-1].rstrip() == shown_as
    assert json.loads(as_json) == [name]
    assert not re.search(r"[^\n -~•ü]", written.out)


def test_in_a_pipe_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("feed.csv", 1000) as advance:
        for _ in range(200):
            advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_moment_is_written_as_in_events() -> None:
    assert terminal.moment(datetime(2026, 11, 20, 9, 14, 13, 512_900, tzinfo=UTC)) == "2026-11-20T09:14:13.512Z"
    assert terminal.moment(None) is None
