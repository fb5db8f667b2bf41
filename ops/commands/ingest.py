"""`repoint ingest --format FORMAT FILE…`."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ops import files, kafka, loop, parts, terminal
from ops.files import InputFiles
from ops.settings import Settings
from ops.terminal import DryRun, Failed
from producers import ingest as feed
from producers.ingest import Line

# More would scroll away what they begin with; the file beside the feed has them all.
_REPORTED = 20


class Format(StrEnum):
    """What the lines of a feed are written in."""

    CANONICAL = "canonical"


def ingest(
    feeds: InputFiles,
    *,
    written_in: Annotated[Format, typer.Option("--format", help="What the lines are written in.")],
    dry_run: DryRun = False,
) -> None:
    """Put vendor updates on the topic, one line one message, each acknowledged by every in-sync replica.

    Lines that no update can be made of are named on stderr and written to FILE.refused. They are sent too, card
    numbers masked, and end up with the dead letters. Sending a file twice does no harm. Exits with 1 unless every
    line was acknowledged, or with --dry-run unless every line is usable.
    """
    assert written_in is Format.CANONICAL  # the others have adapters of their own
    settings = parts.settings_of_a_command()
    if dry_run:
        unusable = sum(loop.run(_check(file)) for file in feeds)
        if unusable:
            raise Failed(f"{unusable} lines are not usable")
        return
    servers = parts.running_broker(settings)
    refused = sum(loop.run(_send(file, servers, settings)) for file in feeds)
    if refused:
        raise Failed(f"{refused} lines were not acknowledged; send the whole again, what is there will be recognised")


async def _send(file: Path, servers: str, settings: Settings) -> int:
    """How many lines were not acknowledged."""
    with (
        files.opened(file) as stream,
        _reporting(file, beside=_beside(file)) as report,
        terminal.progress(files.name(file), files.size(file)) as advance,
    ):

        def each(line: Line) -> None:
            report(line)
            advance(line.size)

        sent = await feed.send(
            feed.canonical(stream),
            bootstrap_servers=servers,
            topic=settings.kafka_topic,
            security=kafka.security(settings),
            each=each,
        )
    terminal.write_line(f"{files.name(file)}: {sent.acknowledged} of {sent.lines} lines acknowledged")
    if sent.unusable:
        unusable = terminal.counted(sent.unusable, "unusable line")
        terminal.remark(f"{unusable} will be among the dead letters: `repoint dead-letters list`")
    if sent.first_refusal:
        terminal.remark(f"the broker refuses with {sent.first_refusal}")
    return sent.refused


async def _check(file: Path) -> int:
    """How many lines are not usable."""
    lines = unusable = 0
    with files.opened(file) as stream, _reporting(file, beside=None) as report:
        async for line in feed.canonical(stream):
            report(line)
            lines += 1
            unusable += line.unusable is not None
    terminal.write_line(f"{files.name(file)}: {lines - unusable} of {lines} lines usable; nothing was sent")
    return unusable


def _beside(file: Path) -> Path | None:
    if file == files.STDIN:
        return None
    if not os.access(file.parent, os.W_OK):
        terminal.remark(f"{file.parent} cannot be written to, so unusable lines are only named here")
        return None
    return file.with_name(file.name + ".refused")


@contextmanager
def _reporting(file: Path, *, beside: Path | None) -> Iterator[Callable[[Line], None]]:
    """Gives what is to be called with every line: the unusable ones are named on stderr and written to `beside`."""
    count = 0
    with ExitStack() as stack:
        stream: TextIO | None = None

        def report(line: Line) -> None:
            nonlocal count, stream
            if line.unusable is None:
                return
            count += 1
            if count <= _REPORTED:
                terminal.remark(f"{files.name(file)}:{line.number}: {line.unusable}")
            if beside is not None:
                stream = stream or stack.enter_context(beside.open("w", encoding="utf-8"))
                stream.write(json.dumps(_written(line), ensure_ascii=False) + "\n")

        yield report
    if count > _REPORTED:
        terminal.remark(f"… and {count - _REPORTED} lines more" + (f", all in {beside}" if beside else ""))
    if beside is not None and not count:
        beside.unlink(missing_ok=True)  # of a former version of the file


def _written(line: Line) -> dict[str, object]:
    body = None if line.value is None else line.value.decode(errors="backslashreplace")
    return {"line": line.number, "problem": line.unusable, "body": body}
