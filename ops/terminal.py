"""The output of commands: results on stdout, progress and remarks on stderr.

On a terminal, results are tables that fit it. In a pipe, the same columns have full width, without colours or frames.
"""

import contextvars
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from domain import pan

# Longer than any line of a table: in a pipe nothing is cut or wrapped.
_FULL_WIDTH = 2000

# A person sees it move, and a log does not fill up.
_HEARTBEAT_SECONDS = 10.0

# Python's own way to keep a byte of a file name that is no UTF-8 (PEP 383).
_SURROGATE_ESCAPE = 0xDC00
_ESCAPED_BYTES = range(0xDC80, 0xDD00)
_NOT_PRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_IS_DATED: contextvars.ContextVar[bool] = contextvars.ContextVar("is_dated", default=False)

_ENDS_LIKE_DELIVERY = re.compile(r"[^aeiou]y$")

Advance: TypeAlias = Callable[[int], None]
"""To be called for every line, with its size in bytes."""

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most.")]


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


@dataclass
class Failed(Exception):
    """The command failed; the text is all that is written about it."""

    text: str
    code: int = 1

    def __str__(self) -> str:
        return self.text


def results() -> Console:
    """The console for tables, on the present stdout: tests and pipes replace it."""
    return _console(stderr=False)


def notes() -> Console:
    """The console for progress and remarks, on stderr."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _FULL_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def dated() -> Iterator[None]:
    """Begin every line with the time, for a program that runs for days, and flush each line."""
    token = _IS_DATED.set(True)
    try:
        yield
    finally:
        _IS_DATED.reset(token)


def _date() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if _IS_DATED.get() else ""


def remark(text: str) -> None:
    """Write one line to stderr, card numbers masked: a file's name may have one."""
    sys.stderr.write(f"{_date()}repoint: {printable(pan.mask(text))}\n")


def write_line(text: str) -> None:
    """Write `text` and a line end to stdout, with control characters escaped."""
    sys.stdout.write(_date() + "\n".join(map(printable, text.split("\n"))) + "\n")
    if _IS_DATED.get():
        sys.stdout.flush()


def write_json(value: object) -> None:
    """Write one JSON document: indented on a terminal, on one line in a pipe."""
    sys.stdout.write(_json(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def _json(value: object, *, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=_as_text)
    # JSON itself escapes neither DEL nor C1, which a terminal acts upon, nor half a surrogate pair, which is no UTF-8
    return _NOT_PRINTABLE.sub(_json_escape, text)


class JsonItems:
    """Writes a JSON array of objects, each of which has a long list, without holding one: `begin`, `item` …, `end`."""

    def __init__(self) -> None:
        self._objects = self._items = 0

    def begin(self, head: Mapping[str, object], key: str) -> None:
        """Begin an object with the keys of `head`, and then `key` for its list."""
        sys.stdout.write(f"{', ' if self._objects else '['}{_json(head)[:-1]}, {_json(key)}: [")
        self._objects, self._items = self._objects + 1, 0

    def item(self, value: object) -> None:
        """Write the next value of the list; on a terminal, on a line of its own."""
        lead = "\n  " if sys.stdout.isatty() else ""
        sys.stdout.write(f"{',' if self._items else ''}{lead or (' ' if self._items else '')}{_json(value)}")
        self._items += 1

    def end(self, tail: Mapping[str, object] | None = None) -> None:
        """End the object, with the keys of `tail` after its list."""
        sys.stdout.write(f"], {_json(tail)[1:]}" if tail else "]}")

    def close(self) -> None:
        """End the array."""
        sys.stdout.write("]\n" if self._objects else "[]\n")


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    results().print(table, soft_wrap=False)


@contextmanager
def progress(label: str, size: int | None, passed: int = 0) -> Iterator[Advance]:
    """Show how far a file of `size` bytes is: a bar on a terminal, elsewhere a line on stderr every ten seconds.

    Yields a function to call for every line, with its size in bytes; `passed` bytes were read by an earlier process.
    """
    state = _ProgressState(label, size, passed)
    with _bar(state) if sys.stderr.isatty() else _heartbeat(state) as shown:

        def advance(line_size: int) -> None:
            state.lines, state.passed = state.lines + 1, state.passed + line_size
            # the bar costs more than a line
            if state.lines % 100 == 0:
                shown()

        yield advance
        shown()


class Steps:
    """How far a piece of work is that has steps of its own. `total` may be an estimate; None: it is not known."""

    def __init__(self, state: "_ProgressState", shown: Callable[[], None]) -> None:
        self._state = state
        self._shown = shown

    def begin(self, total: int | None) -> None:
        """Note about how many steps there are."""
        self._state.size = total

    def advance(self, number: int) -> None:
        """Note that so many steps more are done."""
        self._state.lines, self._state.passed = self._state.lines + number, self._state.passed + number
        self._shown()


@contextmanager
def steps(label: str, noun: str) -> Iterator[Steps]:
    """Show how far a piece of work is, as `progress` does; `noun` is what its steps are."""
    state = _ProgressState(label, None, 0, noun=noun)
    with _bar(state) if sys.stderr.isatty() else _heartbeat(state) as shown:
        yield Steps(state, shown)


@dataclass(slots=True)
class _ProgressState:
    label: str
    size: int | None
    passed: int
    lines: int = 0
    noun: str = "line"
    begun: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        share = f", {min(self.passed / self.size, 1):.0%}" if self.size else ""
        rate = self.lines / max(time.monotonic() - self.begun, 1)
        return f"{self.label}: {counted(self.lines, self.noun)} so far{share}, {rate:,.0f}/s"


@contextmanager
def _bar(state: _ProgressState) -> Iterator[Callable[[], None]]:
    columns = (_Label(), BarColumn(), TaskProgressColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=notes()) as bar:
        task = bar.add_task(state.label, total=state.size, completed=state.passed, lines=0, noun=state.noun)
        yield lambda: bar.update(task, total=state.size, completed=state.passed, lines=state.lines)


@contextmanager
def _heartbeat(state: _ProgressState) -> Iterator[Callable[[], None]]:
    """Write the state every ten seconds from a thread of its own, also while nothing moves."""
    over = threading.Event()
    copied = contextvars.copy_context()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_SECONDS):
            copied.run(remark, str(state))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda: None
    finally:
        over.set()
        thread.join()


class _Label(ProgressColumn):
    """The task's description; a `TextColumn` would interpret its braces and brackets."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


class _Rate(ProgressColumn):
    """Lines a second, counted in the task's field `lines`."""

    def render(self, task: Task) -> Text:
        lines = int(task.fields["lines"])
        rate = lines / task.elapsed if task.elapsed else 0
        return Text(f"{counted(lines, task.fields.get('noun', 'line'))}, {rate:,.0f}/s")


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 wallet`, `2,000 wallets`, `2 deliveries`; `noun` may have several words."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if _ENDS_LIKE_DELIVERY.search(noun) else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped.

    A byte of a file name that is not UTF-8 (a lone surrogate in Python) is written as that byte.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def file_name(text: str) -> str:
    """The name of a file for messages: printable, with card numbers masked."""
    return printable(pan.mask(text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    number -= _SURROGATE_ESCAPE if number in _ESCAPED_BYTES else 0
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"  # noqa: PLR2004 - what two digits can say


def _json_escape(match: "re.Match[str]") -> str:
    return f"\\u{ord(match[0]):04x}"


def moment(at: datetime | None) -> str | None:
    """As in events: RFC 3339, UTC, milliseconds."""
    return None if at is None else _as_text(at)


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return printable(_as_text(value))
