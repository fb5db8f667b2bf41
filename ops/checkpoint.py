"""How far a file has been sent, beside the file: so that an interrupted ingestion goes on where it was.

Everything before the place is acknowledged. What lies after it may have been sent as well; sent again it is recognised.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from producers.records import Place


@dataclass(slots=True)
class Checkpoint:
    """Of one version of one file, read as one feed.

    `modified` is in nanoseconds, as the file system has it. Of `lines`, empty ones and names of columns among them, so
    many `records` were read before `offset`, and the other sums are of these. `refused_size` is that of the file of
    refused lines.
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
    refused_size: int = 0

    @property
    def place(self) -> Place:
        return Place(self.offset, self.lines, self.parts)

    @property
    def dated(self) -> datetime:
        return datetime.fromisoformat(self.at)


def beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.checkpoint")


def of(file: Path, feed: str, at: datetime) -> Checkpoint:
    """The beginning of `file`, whose records that have no date of their own are of `at`."""
    state = file.stat()
    return Checkpoint(feed, state.st_size, state.st_mtime_ns, at.isoformat(), state.st_ino)


def read(file: Path, beginning: Checkpoint, *, growing: bool = False) -> Checkpoint | None:
    """Where an earlier ingestion of `file` was interrupted; None if there was none, or the file is another by now.

    One that is `growing` is the same also if it has grown, and goes on; changed otherwise it begins anew, and its
    records keep their date, so that they are recognised.
    """
    try:
        found = Checkpoint(**json.loads(beside(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if (found.feed, found.size, found.modified) == (beginning.feed, beginning.size, beginning.modified):
        return found
    if not growing or (found.feed, found.inode) != (beginning.feed, beginning.inode):
        return None
    if found.size < beginning.size:
        return replace(found, size=beginning.size, modified=beginning.modified)
    return replace(beginning, at=found.at)


def write(file: Path, checkpoint: Checkpoint) -> None:
    """In one step: whoever dies while writing leaves the one before."""
    unfinished = beside(file).with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(checkpoint)), encoding="utf-8")
    unfinished.replace(beside(file))


def remove(file: Path) -> None:
    """If it can be; the file system says that a folder is read-only before it says that there is none."""
    with suppress(OSError):
        beside(file).unlink()
