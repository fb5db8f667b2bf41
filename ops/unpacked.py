"""The content of a stored file as a stream: gzip is unpacked as it is read, everything else passes."""

import gzip
import io
import zlib
from io import BufferedReader
from typing import TYPE_CHECKING

from producers.lines import LONGEST_DOCUMENT, Damaged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP = b"\x1f\x8b"
# Feeds shrink to a tenth or a thirtieth; what shrinks to less than a two-hundredth was made to fill a disk or a day.
_MOST_EXPANSION = 200
# Shorter files may be of one line, told a thousand times; to read as many lines takes a second.
_UNCHECKED = 1024**2
_BLANK = b" \t\r\n\xef\xbb\xbf"


class Unpacked(io.RawIOBase):
    """The content of `stored`. `is_blank` until something other than white space was read.

    Reading raises Damaged where the packed data is broken, cut off, or unpacks to too much.
    """

    def __init__(self, stored: BufferedReader) -> None:
        super().__init__()
        self._stored = stored
        self._inside: gzip.GzipFile | BufferedReader | None = None
        self._position = 0
        self._line_size = 0
        self.is_blank = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stored.seekable()

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        try:
            piece = self._opened().read1(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            cut_off = isinstance(error, EOFError)
            raise Damaged(f"the gzip file is {'cut off' if cut_off else 'broken'}") from None
        view[: len(piece)] = piece
        self._position += len(piece)
        self.is_blank = self.is_blank and not piece.strip(_BLANK)
        if isinstance(self._inside, gzip.GzipFile):
            self._check_expansion(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._line_size = 0
        self._position = self._opened().seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def _opened(self) -> gzip.GzipFile | BufferedReader:
        if self._inside is None:
            is_packed = self._stored.peek(len(GZIP)).startswith(GZIP)
            self._inside = gzip.GzipFile(fileobj=self._stored) if is_packed else self._stored
        return self._inside

    def _check_expansion(self, piece: bytes) -> None:
        at = piece.rfind(b"\n")
        self._line_size = self._line_size + len(piece) if at < 0 else len(piece) - at - 1
        if self._line_size > LONGEST_DOCUMENT:
            raise Damaged(f"a line of the gzip file unpacks to more than {LONGEST_DOCUMENT // 1024**2} MiB")
        if self._position > _UNCHECKED and self._position > _MOST_EXPANSION * self._passed():
            raise Damaged(f"the gzip file unpacks to more than {_MOST_EXPANSION} times its size")

    def _passed(self) -> int:
        """How many bytes of `stored` were read; of a pipe without a position, how many of its content."""
        try:
            return self._stored.tell()
        except OSError:
            return self._position
