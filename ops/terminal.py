"""What people and programs read: results on stdout, everything else on stderr.

On a terminal results are tables that fit it; in a pipe the same columns stand at full width, without colours or frames.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

# In a pipe nothing is cut or wrapped; longer than any line of ours.
_FULL_WIDTH = 2000

Advance: TypeAlias = Callable[[int], None]
"""To be called for every line, with its size in bytes."""

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most.")]


@dataclass
class Failed(Exception):
    """The command could not do what it was asked for; the text is all that is said about it."""

    text: str
    code: int = 1

    def __str__(self) -> str:
        return self.text


def results() -> Console:
    """Where a table goes. Made anew each time, for tests and pipes change what stdout is."""
    return _console(stderr=False)


def notes() -> Console:
    """Where progress and remarks go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _FULL_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def remark(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"repoint: {printable(text)}\n")


def write_line(text: str) -> None:
    """One line of result."""
    sys.stdout.write(text + "\n")


def write_json(value: object) -> None:
    """One JSON document; indented for a person, one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    write_line(json.dumps(value, ensure_ascii=False, indent=indent, default=_as_text))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    results().print(table, soft_wrap=False)


@contextmanager
def progress(label: str, size: int | None, passed: int = 0) -> Iterator[Advance]:
    """A bar on stderr, of `size` bytes, while that is a terminal; in a pipe the summary tells it all.

    Gives what is to be called for every line, with its size in bytes; `passed` are those of an earlier time.
    """
    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), _Rate(), TimeRemainingColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=notes(), disable=not shown) as bar:
        task = bar.add_task("", total=size, completed=passed, lines=0)
        lines = 0

        def advance(line_size: int) -> None:
            nonlocal lines, passed
            lines, passed = lines + 1, passed + line_size
            # the bar costs more than a line
            if shown and lines % 100 == 0:
                bar.update(task, completed=passed, lines=lines)

        yield advance
        bar.update(task, completed=passed, lines=lines)


class _Rate(ProgressColumn):
    """Lines a second, counted in the task's field `lines`."""

    def render(self, task: Task) -> Text:
        lines = int(task.fields["lines"])
        rate = lines / task.elapsed if task.elapsed else 0
        return Text(f"{lines:,} lines, {rate:,.0f}/s")


def counted(count: int, noun: str) -> str:
    """As `1 wallet` or `2,000 wallets`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would act upon."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


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
        return ", ".join(_cell(each) for each in value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return printable(_as_text(value))
