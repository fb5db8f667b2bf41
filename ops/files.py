"""Files of one JSON object a line, named on the command line; `-` is stdin."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Annotated, cast

import typer

from ops.terminal import Failed

STDIN = Path("-")


def _readable(text: str) -> Path:
    """Typer's own checks know no `-` beside them."""
    file = Path(text)
    if file != STDIN and not (file.is_file() and os.access(file, os.R_OK)):
        raise typer.BadParameter(f"{text!r} is not a file that can be read.")
    return file


InputFile = Annotated[
    Path, typer.Argument(metavar="FILE", parser=_readable, help="One JSON object a line; - is stdin.")
]
InputFiles = Annotated[
    list[Path], typer.Argument(metavar="FILE…", parser=_readable, help="One JSON object a line; - is stdin.")
]


@contextmanager
def opened(file: Path) -> Iterator[BufferedReader]:
    if file == STDIN:
        yield cast(BufferedReader, sys.stdin.buffer)
    else:
        with file.open("rb") as stream:
            yield stream


def name(file: Path) -> str:
    """As it is called in messages."""
    return "stdin" if file == STDIN else str(file)


def size(file: Path) -> int | None:
    """In bytes; None for stdin, which has none until it ends."""
    return None if file == STDIN else file.stat().st_size


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, each with its number from 1. Raises Failed for one that is no UTF-8."""
    with opened(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                raise wrong(file, number, "line: expected UTF-8") from None
            if text:
                yield number, text


def wrong(file: Path, number: int, what: str) -> Failed:
    """`what` names a field and what was expected there."""
    return Failed(f"{name(file)}:{number}: {what}")
