"""Refused lines of a feed: named on stderr, and written beside the file with card numbers masked."""

import errno
import json
import os
from contextlib import suppress
from typing import BinaryIO, Self

from ops import terminal
from ops.folder import name_beside
from ops.open_file import OpenFile
from producers.topic.stream import FeedLine

# More lines would scroll the first ones off the screen; the file beside the feed has all of them.
_REPORTED = 20
_SUFFIX = ".refused"


def beside(name: str) -> str:
    """The name of the file with the refused lines of the file `name`."""
    return name_beside(name, f"{{}}{_SUFFIX}")


def is_beside(name: str) -> bool:
    """Whether `name` is that of a file with refused lines."""
    return name.endswith(_SUFFIX)


class RefusedLines:
    """Names each line that is added, twenty at most; a context manager that writes at its end how many more there were.

    `size` is the size of the file beside in bytes. An earlier ingestion left `kept` bytes; the remainder is cut off.
    `count` is the number of lines added, also of lines that could not be written.
    """

    def __init__(self, source: OpenFile, *, kept: int = 0, written: bool = True) -> None:
        self.size = kept
        self.count = 0
        self._source = source
        self._folder = source.folder if written else None
        self._stream: BinaryIO | None = None
        if written and source.stdin is None:
            self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._stream is not None:
            self._stream.close()
        unreported = self.count - _REPORTED
        if unreported > 0:
            where = "" if self._stream is None else f", all in {self._title}"
            terminal.remark(f"… and {terminal.counted(unreported, 'line')} more{where}")

    def add(self, line: FeedLine) -> None:
        self.count += 1
        if self.count <= _REPORTED:
            terminal.remark(f"{self._source.title}:{line.number}: {line.refusal_text}")
        row = (json.dumps(_row(line), ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        if self._folder is not None:
            try:
                self._write(row)
            except OSError as error:
                self._give_up(error.strerror)

    @property
    def _title(self) -> str:
        assert self._source.folder is not None
        return self._source.folder.title(beside(self._source.name))

    def _prepare(self) -> None:
        if self._folder is None:
            self._give_up("the folder cannot be opened")
        elif not os.access(".", os.W_OK, dir_fd=self._folder.descriptor):
            self._give_up("the folder cannot be written to")
        elif not self.size:
            with suppress(OSError):  # what can be made can be removed; `add` says what cannot
                self._folder.remove(beside(self._source.name))  # of a former version of the file

    def _write(self, row: bytes) -> None:
        """Append `row`: all of it, or none. Raises OSError."""
        stream = self._opened()
        if stream.write(row) != len(row):  # a disk that is nearly full takes a part
            stream.truncate(self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(row)

    def _opened(self) -> BinaryIO:
        if self._stream is None:
            assert self._folder is not None
            descriptor = self._folder.open(beside(self._source.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            # unbuffered: what a full disk did not take is not tried again when it is closed
            self._stream = os.fdopen(descriptor, "ab", buffering=0)
            # shorter than it was left, it is another's work: what is missing would be NULs
            self.size = min(self.size, os.fstat(descriptor).st_size)
            self._stream.truncate(self.size)
        return self._stream

    def _give_up(self, reason: str | None) -> None:
        terminal.remark(
            f"{self._source.title}.refused cannot be written, so unusable lines are only named here ({reason})"
        )
        self._folder = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _row(line: FeedLine) -> dict[str, object]:
    body = line.messages[0].value.decode(errors="backslashreplace") if line.messages else None
    return {"line": line.number, "problem": line.refusal_text, "body": body}
