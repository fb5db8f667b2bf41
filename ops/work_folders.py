"""The folders of a watched folder's files while they are sent, and after: out of reach of the uploaders.

    WORK/in-hand/    files that are being sent, with their checkpoints
    WORK/processed/  files that were sent, as long as they are kept
    WORK/failed/     files that are of no use, until a person takes them away
    WORK/.lock       held by the watcher that moves a file

WORK is `DIR.repoint` beside the watched folder, unless another is named. It belongs to this process's user alone (mode
0700), and is refused where it belongs to somebody else or others may enter it. It is opened once and never looked up
again, so nobody can put a link in its place. It may be on another file system.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePath
from typing import BinaryIO

from ops import checkpoint, refused_lines, terminal
from ops.folder import Folder, name_beside
from ops.terminal import Failed

_LOCK = ".lock"
_FOREIGN_RIGHTS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CHUNK = 1024 * 1024
# What is longer is no kind of file, but a name with a dot in it.
_LONGEST_SUFFIX = 16
# A file on its way out of the watched folder: by which the copied one is known, and the name that it had.
_TAKEN_PREFIX = ".repoint-"
_HIDDEN = re.compile(
    rf"{re.escape(_TAKEN_PREFIX)}(?P<device>[0-9a-f]+)-(?P<file>[0-9a-f]+)-[0-9a-f]{{8}}-(?P<name>.+)", re.DOTALL
)


class WorkFolders:
    """The watched folder `drop`, and the three folders beside it."""

    def __init__(self, drop: Folder, root: Folder, in_hand: Folder, processed: Folder, failed: Folder) -> None:
        self.drop = drop
        self.root = root
        self.in_hand = in_hand
        self.processed = processed
        self.failed = failed

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other watchers from moving files meanwhile: none takes a name that this one found free."""
        with os.fdopen(self.root.open(_LOCK, os.O_WRONLY | os.O_CREAT), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def pick_up(self, name: str) -> bool:
        """Move `name` out of the watched folder; whether it was moved. Raises OSError where that is impossible.

        A file is not moved while a file of its name is in hand, or while somebody else takes it or still writes to it.
        """
        with self.alone():
            if self.in_hand.state(name) is not None:
                return False
            checkpoint.remove(self.in_hand, name)  # of one that was there before
            try:
                self.drop.move(name, self.in_hand, name)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return self._copy(name)
            return True

    def finish(self, name: str, target: Folder, *, keep: bool) -> str | None:
        """Move `name` from hand to `target`, with its refused lines, under a free name; the name.

        None where the file is not kept: then only its refused lines are, in which card numbers are masked.
        """
        with self.alone():
            new_name = _free(target, name)
            if keep:
                self.in_hand.move(name, target, new_name)
            else:
                self.in_hand.remove(name)
            with suppress(FileNotFoundError):
                self.in_hand.move(refused_lines.beside(name), target, refused_lines.beside(new_name))
        checkpoint.remove(self.in_hand, name)
        return new_name if keep else None

    def expire(self, keep: timedelta, *, keep_refused: timedelta) -> list[str]:
        """Remove files that were processed longer ago than `keep`, refused lines after `keep_refused`; their names."""
        removed = []
        for name in self.processed.names():
            state = self.processed.state(name)
            # the time of the last change of the entry: it was moved there
            longest = keep_refused if refused_lines.is_beside(name) else keep
            if state is not None and time.time() - state.st_ctime >= longest.total_seconds():
                with suppress(FileNotFoundError):
                    self.processed.remove(name)
                    removed.append(name)
        return removed

    # --- onto another file system --------------------------------------------------------------------------------

    def _copy(self, name: str) -> bool:
        unfinished = name_beside(name, ".{}.unfinished")
        with os.fdopen(self.drop.open(name), "rb", buffering=0) as original:
            state = os.fstat(original.fileno())
            try:
                self._write_copy(original, unfinished, state)
            except OSError:
                with suppress(OSError):
                    self.in_hand.remove(unfinished)
                raise
            if not stat.S_ISREG(state.st_mode) or _version(os.fstat(original.fileno())) != _version(state):
                self.in_hand.remove(unfinished)
                return False
            self.in_hand.move(unfinished, self.in_hand, name)
            self._remove_from_drop(name, state)
        return True

    def _write_copy(self, original: BinaryIO, name: str, state: os.stat_result) -> None:
        """Copy the file with its time, which dates its records, onto the disk, before the original is removed."""
        descriptor = self.in_hand.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(descriptor, "wb") as stream:
            while piece := original.read(_CHUNK):
                stream.write(piece)
            stream.flush()
            os.utime(descriptor, ns=(state.st_atime_ns, state.st_mtime_ns))
            os.fsync(descriptor)

    def _remove_from_drop(self, name: str, state: os.stat_result) -> None:
        """Remove the file that was copied, but not an upload that has taken its name meanwhile."""
        hidden = name_beside(name, f"{_TAKEN_PREFIX}{state.st_dev:x}-{state.st_ino:x}-{secrets.token_hex(4)}-{{}}")
        self.drop.move(name, self.drop, hidden)
        moved = self.drop.state(hidden)
        if moved is not None and not os.path.samestat(moved, state):
            self._give_back(hidden, name)
        self.drop.remove(hidden)

    def restore(self) -> None:
        """Finish what a killed process has begun: an upload that it took away gets its name again.

        The name tells which file was copied. A file of any other name is an upload that took its place meanwhile.
        """
        with self.alone():
            for hidden in self.drop.names():
                if (match := _HIDDEN.fullmatch(hidden)) is None:
                    continue
                state = self.drop.state(hidden)
                if state is None or not stat.S_ISREG(state.st_mode):
                    continue
                is_copied = (f"{state.st_dev:x}", f"{state.st_ino:x}") == match.group("device", "file")
                try:
                    if not is_copied and not self._has_other_name(hidden, state):
                        self._give_back(hidden, match["name"])
                    self.drop.remove(hidden)
                except OSError as error:
                    terminal.remark(f"{self.drop.title(hidden)} cannot be given back its name ({error.strerror})")

    def _has_other_name(self, hidden: str, state: os.stat_result) -> bool:
        """Whether the link back was made before the process was killed: the upload is read under that name then."""
        states = (self.drop.state(name) for name in self.drop.names() if name != hidden)
        return any(linked is not None and os.path.samestat(linked, state) for linked in states)

    def _give_back(self, hidden: str, name: str) -> None:
        while True:
            with suppress(FileExistsError):
                self.drop.link(hidden, _free(self.drop, name))
                return


@contextmanager
def opened(drop: Path, work: Path | None) -> Iterator[WorkFolders]:
    """Open the watched folder and its work folders, and make missing ones. Raises Failed."""
    named = drop if drop.name and drop.name != ".." else drop.resolve()
    root = work or named.with_name(f"{named.name}.repoint")
    if root.resolve().is_relative_to(drop.resolve()):
        raise Failed(
            f"{terminal.printable(str(root))}: expected a work folder outside the watched one (--work)", code=2
        )
    with ExitStack() as stack:
        watched = stack.enter_context(_folder(drop))
        own = stack.enter_context(_own(root))
        parts = [stack.enter_context(_own(root / name, inside=own)) for name in ("in-hand", "processed", "failed")]
        _warn_of_others(root)
        folders = WorkFolders(watched, own, *parts)
        folders.restore()
        yield folders


def _own(path: Path, *, inside: Folder | None = None) -> Folder:
    """Open a folder that belongs to nobody else, and make it if it is missing."""
    folder = _folder(path, inside=inside, create=True)
    state = os.fstat(folder.descriptor)
    if state.st_uid != os.geteuid() or state.st_mode & _FOREIGN_RIGHTS:
        os.close(folder.descriptor)
        raise Failed(
            f"{terminal.printable(str(path))}: expected a folder of our own that nobody else may enter (chmod 700),"
            " or name another with --work"
        )
    return folder


def _folder(path: Path, *, inside: Folder | None = None, create: bool = False) -> Folder:
    try:
        return Folder(path, inside=inside, create=create)
    except OSError as error:
        raise Failed(
            f"{terminal.printable(str(path))} cannot be opened as a folder ({error.strerror});"
            " --work names another work folder"
        ) from None


def _warn_of_others(root: Path) -> None:
    """Warn of users who may write to the folder above: they can move ours away, though not look into it."""
    state = root.parent.stat()
    is_open = state.st_mode & _OTHERS_WRITE and not state.st_mode & stat.S_ISVTX
    if is_open or state.st_uid not in {0, os.geteuid()}:
        above = terminal.printable(str(root.parent))
        terminal.remark(f"others may write to {above}, and so move the work folder away: name another with --work")


def _version(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _free(folder: Folder, name: str) -> str:
    """`name`, or the first name with a number that is free, also for its refused lines."""
    number, free = 1, name
    suffix = PurePath(name).suffix
    if len(suffix) > _LONGEST_SUFFIX or set("{}") & set(suffix):
        suffix = ""
    while folder.state(free) is not None or folder.state(refused_lines.beside(free)) is not None:
        number += 1
        free = name_beside(name.removesuffix(suffix), f"{{}}-{number}{suffix}")
    return free
