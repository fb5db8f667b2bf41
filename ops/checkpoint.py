"""How far a file has been sent, kept beside the file, so that an interrupted ingestion continues there.

Every message before the place is acknowledged. Messages after it may have been sent as well; if they are sent again,
the inbox recognises them. A checkpoint fits a file by its size, its time and the digest of the bytes before the place.
A file that was rewritten begins anew, even with its former size and time.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import blake2b

from ops.folder import Folder, name_beside
from ops.open_file import OpenFile
from producers.lines import Damaged, FilePosition

# 128 bits: nobody rewrites a file to meet the digest of another by chance.
_DIGEST_BYTES = 16
_CHUNK = 1024 * 1024


@dataclass(slots=True)
class Checkpoint:
    """The place in one version of one file, read as one feed.

    `modified` is in nanoseconds, as the file system has it. `lines` counts all lines before `offset`, with empty ones
    and names of columns; `records` and the other sums are of the same bytes. `digest` is of those bytes, unpacked.
    `refused_size` is the size of the file of refused lines.
    """

    feed: str
    size: int
    modified: int
    at: str
    inode: int = 0
    offset: int = 0
    lines: int = 0
    parts: int = 0
    records: int = 0
    sent: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    irrelevant: dict[str, int] = field(default_factory=dict)
    refused_size: int = 0
    digest: str = ""

    @property
    def place(self) -> FilePosition:
        return FilePosition(self.offset, self.lines, self.parts)

    @property
    def dated(self) -> datetime:
        return datetime.fromisoformat(self.at)


class Digest:
    """The digest of the bytes before a place in a file. For a later place, reading continues at the former one.

    A thread may read; `interrupt` ends its reading.
    """

    def __init__(self, source: OpenFile) -> None:
        self._source = source
        self._is_interrupted = False
        self._begin()

    def _begin(self) -> None:
        self._stream = self._source.stream()
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._position = 0

    def interrupt(self) -> None:
        self._is_interrupted = True

    def before(self, offset: int) -> str:
        """The digest in hexadecimal; empty where the file cannot be read so far."""
        if offset < self._position:
            self._begin()
        with suppress(OSError, Damaged):
            while self._position < offset:
                piece = self._stream.read1(min(_CHUNK, offset - self._position))
                if not piece or self._is_interrupted:
                    return ""
                self._hash.update(piece)
                self._position += len(piece)
            return self._hash.hexdigest()
        return ""


def beside(name: str) -> str:
    """The name of the checkpoint of the file `name`."""
    return name_beside(name, ".{}.checkpoint")


def of(source: OpenFile, feed: str, at: datetime) -> Checkpoint:
    """The beginning of a file. Its records without a date of their own are dated `at`."""
    if source.stdin is not None:
        return Checkpoint(feed, 0, 0, at.isoformat())
    state = source.state()
    return Checkpoint(feed, state.st_size, state.st_mtime_ns, at.isoformat(), state.st_ino)


def read(source: OpenFile, beginning: Checkpoint, digest: Digest, *, growing: bool = False) -> Checkpoint | None:
    """The place where an earlier ingestion of a file was interrupted; None if there is none, or the file has changed.

    A `growing` file may have grown since, and continues. Changed otherwise, it begins anew, and its records keep their
    date, so that they are recognised.
    """
    former = None if source.folder is None else _stored(source.folder, source.name)
    if former is None or former.feed != beginning.feed:
        return None
    is_same = (former.size, former.modified) == (beginning.size, beginning.modified)
    has_grown = growing and former.inode == beginning.inode and former.size < beginning.size
    if (is_same or has_grown) and former.digest and former.digest == digest.before(former.offset):
        return replace(former, size=beginning.size, modified=beginning.modified, inode=beginning.inode)
    if growing and former.inode == beginning.inode:
        return replace(beginning, at=former.at)
    return None


def _stored(folder: Folder, name: str) -> Checkpoint | None:
    try:
        return Checkpoint(**json.loads(folder.read(beside(name))))
    except (OSError, ValueError, TypeError):
        return None


def offset(folder: Folder, name: str) -> int:
    """The place up to which the file was sent, in bytes; 0 without a checkpoint."""
    former = _stored(folder, name)
    return 0 if former is None else former.offset


def write(source: OpenFile, checkpoint: Checkpoint, digest: Digest) -> None:
    """Write the checkpoint of the file. Raises OSError where that is impossible."""
    assert source.folder is not None
    checkpoint.digest = digest.before(checkpoint.offset)
    source.folder.write(beside(source.name), json.dumps(asdict(checkpoint)).encode())


def remove(folder: Folder, name: str) -> None:
    """Remove the checkpoint if there is one and the folder can be written to."""
    with suppress(OSError):
        folder.remove(beside(name))
