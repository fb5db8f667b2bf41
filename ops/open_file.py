"""A file to be sent, or stdin: its content, for several readings, and the folder for the files that belong to it."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from ops import files
from ops.folder import Folder
from ops.unpacked import GZIP, Unpacked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is open as `descriptor`.

    `title` is its name in messages. `folder` holds the checkpoint and the refused lines of the file `name`; without a
    folder neither is kept. Stdin has neither, and is read once.
    """

    title: str
    name: str
    descriptor: int
    folder: Folder | None
    stdin: "_Pipe | None" = None

    def stream(self) -> BufferedReader:
        """The content of the file, unpacked, from its beginning; its `raw` is an `Unpacked`."""
        return BufferedReader(Unpacked(BufferedReader(self.stdin or _Positioned(self.descriptor))))

    def state(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    @property
    def size(self) -> int | None:
        """The size of the content in bytes; None where it is known at the end only."""
        if self.stdin is not None or os.pread(self.descriptor, len(GZIP), 0) == GZIP:
            return None
        return self.state().st_size


@contextmanager
def opened(file: Path) -> Iterator[OpenFile]:
    """Open the file that a person named; a link is followed. Raises OSError where it cannot be opened."""
    if file == files.STDIN:
        pipe = _Pipe(sys.stdin.fileno())
        try:
            yield OpenFile(files.name(file), "", pipe.descriptor, None, pipe)
        finally:
            pipe.interrupt()
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    folder = None
    try:
        with suppress(OSError):  # nothing can be kept there, and the file is read all the same
            folder = Folder(file.parent)
        yield OpenFile(files.name(file), file.name, descriptor, folder)
    finally:
        os.close(descriptor)
        if folder is not None:
            os.close(folder.descriptor)


class _Positioned(io.RawIOBase):
    """A file with its own position, so that several readers share one descriptor."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        piece = os.pread(self._descriptor, len(view), self._position)
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: os.fstat(self._descriptor).st_size}
        self._position = begins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position


class _Pipe(io.RawIOBase):
    """Stdin, for a thread that may wait: `interrupt` ends the wait like the end of the input."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self._position = 0
        self._ear, self._mouth = os.pipe()

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        ready, _, _ = select.select([self.descriptor, self._ear], [], [])
        if self._ear in ready:
            return 0
        piece = os.read(self.descriptor, len(view))
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def interrupt(self) -> None:
        os.write(self._mouth, b"\n")
