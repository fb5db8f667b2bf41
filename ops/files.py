"""Files of one JSON object a line, named on the command line; `-` is stdin."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Annotated, cast

import typer

from ops.terminal import Failed, file_name
from ops.unpacked import GZIP

STDIN = Path("-")


def readable(text: str) -> Path:
    """Check a path to read; typer's own checks do not accept `-` beside paths."""
    file = Path(text)
    if file != STDIN and (problem := _problem(file)) is not None:
        raise typer.BadParameter(f"{text!r} is not a file that can be read: {problem}.")
    return file


_KINDS = {
    stat.S_IFDIR: "it is a directory",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


def _problem(file: Path) -> str | None:
    """Why the file cannot be read; None if it can."""
    try:
        kind = stat.S_IFMT(file.stat().st_mode)
    except (OSError, ValueError) as error:  # a name may be too long, or have a NUL
        return (error.strerror if isinstance(error, OSError) else None) or "it has no name of a file"
    if kind != stat.S_IFREG:
        return _KINDS.get(kind, "it is no file")
    return None if os.access(file, os.R_OK) else os.strerror(errno.EACCES)


def another_file(text: str) -> Path:
    """Check the path of a second file, beside which the first may be stdin."""
    file = readable(text)
    if file == STDIN:
        raise typer.BadParameter("expected a file, not stdin.")
    return file


def _writable(text: str) -> Path:
    """Check a path to write. An existing file is replaced by a whole one; a pipe or a device would be replaced, too."""
    file = Path(text)
    if file == STDIN:
        return file
    if not file.parent.is_dir():
        raise typer.BadParameter(f"{text!r} cannot be written: there is no folder {str(file.parent)!r}.")
    kind = _kind(file)
    if kind not in {None, stat.S_IFREG}:
        raise typer.BadParameter(f"{text!r} cannot be written: {_KINDS.get(kind or 0, 'it is no file')}; - is stdout.")
    return file


def _kind(file: Path) -> int | None:
    try:
        return stat.S_IFMT(file.stat().st_mode)
    except (OSError, ValueError):
        return None


InputFile = Annotated[Path, typer.Argument(metavar="FILE", parser=readable, help="One JSON object a line; - is stdin.")]
InputFiles = Annotated[
    list[Path], typer.Argument(metavar="FILE", parser=readable, help="One JSON object a line; - is stdin.")
]


OutputFile = Annotated[Path, typer.Argument(metavar="[FILE]", parser=_writable, help="- is stdout.")]


@contextmanager
def opened(file: Path) -> Iterator[BufferedReader]:
    if file == STDIN:
        yield cast(BufferedReader, sys.stdin.buffer)
    else:
        with file.open("rb") as stream:
            yield stream


def name(file: Path) -> str:
    """The name of the file in messages, safe on a terminal."""
    return "stdin" if file == STDIN else file_name(str(file))


def size(file: Path) -> int | None:
    """The size of the content in bytes; None for stdin and for a packed file, whose size is known at its end."""
    if file == STDIN:
        return None
    with file.open("rb") as stream:
        return None if stream.read(len(GZIP)) == GZIP else os.fstat(stream.fileno()).st_size


def wrong(file: Path, number: int, fault: str) -> Failed:
    """The failure of line `number`; `fault` names a field and what was expected there."""
    return Failed(f"{name(file)}:{number}: {fault}")
