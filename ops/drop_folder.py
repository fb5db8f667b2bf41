"""A folder that files are put into, by SFTP for one: each is sent, and moved to `processed` or `failed` beside.

    DIR/            where files arrive; one that is still being written to, or whose name begins with a dot, is left.
                    So is one that may not be read, and what is no file: a link leads to what its maker may not read
    DIR/processed/  files that were sent
    DIR/failed/     files that could not be read; what was refused of any is in FILE.refused beside it

A file is picked up by renaming it into `DIR/.work/`, so of several that watch only one gets it. One that was
interrupted there goes on where it was; so does one that is written to again, when an upload has only paused.
"""

import asyncio
import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ops import checkpoint, edge, feed_files, terminal
from ops.feed_files import Summary
from ops.settings import Settings
from producers.waiting import either
from schemas.feeds.feed import Feed

# What grows no more for so long is whole.
_SETTLED_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# What refuses a file is mended by a person; until then it is tried, and told of, less and less often.
_FIRST_DELAY, _LONGEST_DELAY = 2.0, 300.0
_SUFFIXES_OF_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", ".refused")


@dataclass(slots=True)
class Refusals:
    """What is not done at once, by name: of files that the broker refused, when each is tried again (monotonic), and
    the delay before that; of what is left alone, why, which is said once.
    """

    _of: dict[str, tuple[float, float]] = field(default_factory=dict)
    _left: dict[str, str] = field(default_factory=dict)

    def is_due(self, file: Path) -> bool:
        return time.monotonic() >= self._of.get(file.name, (0.0, 0.0))[0]

    def add(self, file: Path) -> None:
        delay = min(2 * self._of.get(file.name, (0.0, _FIRST_DELAY / 2))[1], _LONGEST_DELAY)
        self._of[file.name] = time.monotonic() + delay, delay

    def leave(self, file: Path, why: str) -> None:
        if self._left.get(file.name) != why:
            terminal.remark(f"{file} is left alone: {why}")
            self._left[file.name] = why

    def forget(self, file: Path) -> None:
        self._of.pop(file.name, None)
        self._left.pop(file.name, None)


async def watch(
    folder: Path,
    feed: Feed | None,
    settings: Settings,
    servers: str,
    traces: edge.Traces | None,
    *,
    settled: float = _SETTLED_SECONDS,
) -> None:
    """Until SIGTERM or SIGINT, which let the file at hand be finished only as far as it is."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    refusals = Refusals()
    terminal.remark(f"watching {folder}; end with Ctrl-C")
    while not stopping.is_set():
        taken = await run_once(
            folder, feed, settings, servers, traces, settled=settled, stopping=stopping, refusals=refusals
        )
        if not taken:
            await either(stopping, _LOOK_SECONDS)


async def run_once(
    folder: Path,
    feed: Feed | None,
    settings: Settings,
    servers: str,
    traces: edge.Traces | None,
    *,
    settled: float,
    stopping: asyncio.Event,
    refusals: Refusals,
) -> int:
    """Send every file that is whole by now, unless it was refused and is not due again; how many are done."""
    for name in (".work", "processed", "failed"):
        (folder / name).mkdir(exist_ok=True)
    taken = 0
    for file in _picked_up(folder, settled, refusals):
        with _held(file, refusals) as held:
            if not held or not refusals.is_due(file):
                continue
            of = edge.of(edge.fingerprints(settings), feed_files.dated(file), traces)
            sending = asyncio.create_task(feed_files.send(file, feed, of, settings, servers, growing=True))
            summary = await _unless(stopping, sending)
            if summary is None:
                return taken  # its checkpoint says where to go on
            if summary.grew:
                terminal.remark(f"{file.name} is still being written to; it goes on when that has ended")
                continue
            feed_files.tell(file, summary)
            if summary.unsent:
                refusals.add(file)
                continue
            refusals.forget(file)
            useless = summary.lines and summary.refused == summary.lines
            _move(file, folder / ("failed" if useless else "processed"))
            taken += 1
    return taken


async def _unless(stopping: asyncio.Event, sending: "asyncio.Task[Summary]") -> Summary | None:
    """What `sending` gives; None if it was stopped before."""
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if sending.done():
        return sending.result()
    sending.cancel()
    await asyncio.wait((sending,))
    return None


@contextmanager
def _held(file: Path, refusals: Refusals) -> Iterator[bool]:
    """Whether it is ours alone, and no other process that watches is at it."""
    stream = _opened(file, refusals)
    if stream is None:
        yield False
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            # whoever held it before may have moved it, and another be here under its name
            named = _state(file)
            yield named is not None and os.path.samestat(named, os.fstat(stream.fileno()))


def _opened(file: Path, refusals: Refusals) -> BinaryIO | None:
    """None if it is not there any more, or must be left alone; a link is not followed, a pipe not waited for."""
    try:
        return os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        return None
    except OSError as error:  # whatever is the matter with one file, the others go on
        refusals.leave(file, f"it cannot be read ({error.strerror})")
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one that watches moves files at a time: what one finds free is not taken by another then."""
    with (folder / ".work" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _picked_up(folder: Path, settled: float, refusals: Refusals) -> list[Path]:
    """Files that are ours now: those that were interrupted, and those that are whole, the oldest first."""
    work = folder / ".work"
    for file in folder.iterdir():
        if _is_whole(file, settled, refusals) and _is_readable(file, refusals):
            _pick_up(file, work, refusals)
    found = [(_state(file), file) for file in work.iterdir() if _is_whole(file, settled, refusals)]
    aged = [(state.st_mtime_ns, file) for state, file in found if state is not None]
    return [file for _, file in sorted(aged)]


def _pick_up(file: Path, work: Path, refusals: Refusals) -> None:
    with _alone(work.parent):
        if (work / file.name).exists():
            return  # one of the same name is not done yet
        checkpoint.remove(work / file.name)  # of one that was there before
        try:
            file.rename(work / file.name)
        except FileNotFoundError:
            pass  # somebody else has it
        except PermissionError as error:  # as where only who has put it there may move it
            refusals.leave(file, f"it cannot be moved ({error.strerror})")


def _is_readable(file: Path, refusals: Refusals) -> bool:
    """Seen before it is moved, so that whoever put it there still finds it, and can mend it."""
    stream = _opened(file, refusals)
    if stream is not None:
        stream.close()
    return stream is not None


def _is_whole(file: Path, settled: float, refusals: Refusals) -> bool:
    state = _state(file) if _is_whole_name(file) else None
    if state is None or stat.S_ISDIR(state.st_mode):
        return False
    if not stat.S_ISREG(state.st_mode):
        refusals.leave(file, "it is no file, but a link" if stat.S_ISLNK(state.st_mode) else "it is no file")
        return False
    return time.time() - state.st_mtime >= settled


def _state(file: Path) -> os.stat_result | None:
    """Of itself, if it is a link; None if it is not there, or not any more."""
    try:
        return file.lstat()
    except FileNotFoundError:
        return None


def _is_whole_name(file: Path) -> bool:
    return not file.name.startswith(".") and not file.name.endswith(_SUFFIXES_OF_UNFINISHED)


def _move(file: Path, folder: Path) -> None:
    """With what was refused of it; under another name, if one of its own is there."""
    target = folder / file.name
    number = 1
    with _alone(folder.parent):
        while target.exists():
            number += 1
            target = folder / f"{file.stem}-{number}{file.suffix}"
        file.rename(target)
    refused = file.with_name(file.name + ".refused")
    if refused.exists():
        refused.rename(target.with_name(target.name + ".refused"))
    checkpoint.remove(file)
