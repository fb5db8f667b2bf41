"""A watched folder: each file that is put into it, by SFTP for instance, is taken out, sent, and kept or removed.

Left alone are files that are still being written to, empty files, names that begin with a dot, files that may not be
read, and everything that is no file: a link leads to files that its maker may not read.

A file is picked up by moving it into the work folder (`ops.work_folders`), so only one of several watchers gets it. A
file that was interrupted there continues where it was; so does a file that is written to again, after an upload has
paused. A failure of one file ends that file alone. A file that takes long lets others have their turn.
"""

import asyncio
import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from loops.waiting import event_or_timeout
from ops import checkpoint, edge, feed_files, terminal
from ops.feed_files import Summary
from ops.folder import Folder
from ops.open_file import OpenFile
from ops.settings import Settings
from ops.work_folders import WorkFolders
from schemas.duration import spell
from schemas.feeds.feed import Edge, Feed

KEPT_FOR = timedelta(days=7)
"""How long processed files are kept where nothing else is asked for; those of feeds with full numbers are not kept."""

# A file that has not grown for so long is whole.
_SETTLED_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# After so long a file makes room for others. To continue, it is read again up to its place.
_TURN_SECONDS = 30.0
# Processed files are kept for days.
_EXPIRE_SECONDS = 60.0
# A person mends a refusal; until then the file is tried, and logged, at growing intervals.
_FIRST_DELAY, _LONGEST_DELAY = 2.0, 300.0
_SUFFIXES_OF_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", ".refused")


@dataclass(slots=True)
class Refusals:
    """Files that are put off, by name: when each is tried again (monotonic) and the delay before; and files left alone.

    A file that the broker refused is tried again. Why a file is left alone is logged once.
    """

    _of: dict[str, tuple[float, float]] = field(default_factory=dict)
    _skipped: dict[str, str] = field(default_factory=dict)

    def is_due(self, name: str) -> bool:
        return time.monotonic() >= self._of.get(name, (0.0, 0.0))[0]

    def add(self, name: str) -> None:
        delay = min(2 * self._of.get(name, (0.0, _FIRST_DELAY / 2))[1], _LONGEST_DELAY)
        self._of[name] = time.monotonic() + delay, delay

    def leave(self, title: str, why: str) -> None:
        if self._skipped.get(title) != why:
            terminal.remark(f"{title} is left alone: {why}")
            self._skipped[title] = why

    def forget(self, name: str) -> None:
        self._of.pop(name, None)
        self._skipped.pop(name, None)


@dataclass(slots=True)
class Watch:
    """The settings and the state of one watcher.

    `keep` is how long processed files are kept. None is `KEPT_FOR`, or not at all for feeds that carry full numbers.
    Refused lines are kept for as long, at least `KEPT_FOR`. `force` sends files of another format, too.
    """

    folders: WorkFolders
    feed: Feed | None
    settings: Settings
    servers: str
    traces: edge.Traces | None = None
    settled: float = _SETTLED_SECONDS
    keep: timedelta | None = None
    turn: float = _TURN_SECONDS
    force: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: Refusals = field(default_factory=Refusals)
    expired_at: float = 0.0

    @property
    def kept_for(self) -> timedelta:
        if self.keep is not None:
            return self.keep
        return timedelta() if self.feed is not None and self.feed.carries_numbers else KEPT_FOR


async def run(watch: Watch) -> None:
    """Watch the folder until SIGTERM or SIGINT. The file in hand is left then, and continues the next time."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, watch.stopping.set)
    folders = watch.folders
    terminal.remark(f"watching {folders.drop.title('')}, working in {folders.root.title('')}; end with Ctrl-C")
    while not watch.stopping.is_set():
        if not await run_once(watch):
            await event_or_timeout(watch.stopping, _LOOK_SECONDS)
    terminal.remark(f"stopped watching {folders.drop.title('')}; what is in hand goes on when it is watched again")


async def run_once(watch: Watch) -> int:
    """Send every file that is whole by now, unless it was refused and is not due again; how many are done."""
    _expire(watch)
    done = 0
    for name in _in_hand(watch):
        if watch.stopping.is_set():
            break
        if not watch.refusals.is_due(name):
            continue
        try:
            with _held(watch, name) as descriptor:
                if descriptor is not None:
                    done += await _process(watch, name, descriptor)
        except OSError as error:  # such as a full disk: the other files go on
            terminal.remark(f"{watch.folders.drop.title(name)}: {error.strerror}; it is tried again later")
            watch.refusals.add(name)
    return done


async def _process(watch: Watch, name: str, descriptor: int) -> bool:
    """Send one file; whether it is done with."""
    folders, title = watch.folders, watch.folders.drop.title(name)
    source = OpenFile(title, name, descriptor, folders.in_hand)
    sending = asyncio.create_task(
        feed_files.send(
            source,
            watch.feed,
            _edge(watch, source),
            watch.settings,
            watch.servers,
            growing=True,
            force=watch.force,
        )
    )
    summary = await _unless_stopped(watch, name, sending)
    if summary is None:
        return False  # its checkpoint says where to go on
    if summary.grew:
        terminal.remark(f"{title} is still being written to; it goes on when that has ended")
        return False
    feed_files.report(title, summary)
    if summary.unsent:
        watch.refusals.add(name)
        return False
    watch.refusals.forget(name)
    _put_away(watch, name, summary)
    return True


def _put_away(watch: Watch, name: str, summary: Summary) -> None:
    folders, title = watch.folders, watch.folders.drop.title(name)
    if summary.problem is not None:
        new_name = folders.finish(name, folders.failed, keep=True)
        terminal.remark(f"{title}: {summary.problem}; moved to {folders.failed.title(new_name or name)}")
        return
    new_name = folders.finish(name, folders.processed, keep=bool(watch.kept_for))
    if new_name is None:
        terminal.write_line(f"{title}: removed, as files with full numbers are unless --keep-processed says how long")
    else:
        kept = f"{folders.processed.title(new_name)}, kept for {spell(watch.kept_for)}"
        terminal.write_line(f"{title}: moved to {kept}")


def _edge(watch: Watch, source: OpenFile) -> Edge:
    moment = feed_files.moment(source.state().st_mtime)
    return edge.of(edge.fingerprints(watch.settings), moment, watch.traces, watch.settings.digit_ids)


async def _unless_stopped(watch: Watch, name: str, sending: "asyncio.Task[Summary]") -> Summary | None:
    """The result of `sending`; None if the watcher was stopped before, or other files have their turn."""
    begun_at = checkpoint.offset(watch.folders.in_hand, name)
    stopped = asyncio.create_task(watch.stopping.wait())
    try:
        while not sending.done() and not stopped.done():
            await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED, timeout=watch.turn)
            if not sending.done() and not stopped.done() and _others_wait(watch, name, begun_at):
                terminal.remark(f"{watch.folders.drop.title(name)}: other files have their turn; it goes on after them")
                break
    finally:
        stopped.cancel()
    if sending.done():
        return sending.result()
    sending.cancel()
    await asyncio.wait((sending,))
    return None


def _others_wait(watch: Watch, name: str, begun_at: int) -> bool:
    """Whether another file is to be sent. A file that could not continue further than before is not interrupted."""
    if checkpoint.offset(watch.folders.in_hand, name) <= begun_at:
        return False
    return any(file_name != name and watch.refusals.is_due(file_name) for file_name in _in_hand(watch))


def _expire(watch: Watch) -> None:
    if time.monotonic() - watch.expired_at < min(_EXPIRE_SECONDS, watch.kept_for.total_seconds() or _EXPIRE_SECONDS):
        return
    watch.expired_at = time.monotonic()
    for name in watch.folders.expire(watch.kept_for, keep_refused=max(watch.kept_for, KEPT_FOR)):
        terminal.write_line(f"{watch.folders.processed.title(name)}: removed, kept for as long as asked for")


# --- what is there ------------------------------------------------------------------------------------------------


def _in_hand(watch: Watch) -> list[str]:
    """The files in the work folder, interrupted ones and whole ones, the oldest first."""
    folders = watch.folders
    for name in folders.drop.names():
        if _is_whole(watch, folders.drop, name) and _is_readable(watch, name):
            _pick_up(watch, name)
    states = [(folders.in_hand.state(name), name) for name in folders.in_hand.names() if _is_whole_name(name)]
    return [
        name
        for _, name in sorted(
            (state.st_mtime_ns, name)
            for state, name in states
            if state is not None and _is_settled(watch, state) and _is_file(watch, folders.in_hand, name, state)
        )
    ]


def _pick_up(watch: Watch, name: str) -> None:
    title = watch.folders.drop.title(name)
    if not watch.refusals.is_due(title):
        return
    try:
        if watch.folders.pick_up(name):
            watch.refusals.forget(title)
    except FileNotFoundError:
        return  # another watcher, or who has put it there, was faster
    except OSError as error:  # as where only who has put it there may move it, or a disk is full
        watch.refusals.leave(title, f"it cannot be moved ({error.strerror})")
        watch.refusals.add(title)


def _is_readable(watch: Watch, name: str) -> bool:
    """Whether the file can be opened. Looked at before the move, so that the uploader still finds and can mend it."""
    descriptor = _opened(watch, watch.folders.drop, name)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _is_whole(watch: Watch, folder: Folder, name: str) -> bool:
    state = folder.state(name) if _is_whole_name(name) else None
    if state is None or not _is_file(watch, folder, name, state) or not _is_settled(watch, state):
        return False
    if not state.st_size:
        watch.refusals.leave(folder.title(name), "it is empty so far")
    return bool(state.st_size)


def _is_file(watch: Watch, folder: Folder, name: str, state: os.stat_result) -> bool:
    if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
        kind = "it is no file, but a link" if stat.S_ISLNK(state.st_mode) else "it is no file"
        watch.refusals.leave(folder.title(name), kind)
    return stat.S_ISREG(state.st_mode)


def _is_settled(watch: Watch, state: os.stat_result) -> bool:
    now = time.time()
    # an upload may keep a time that lies ahead; the last change of the entry never does
    return now - (state.st_mtime if state.st_mtime <= now else state.st_ctime) >= watch.settled


def _is_whole_name(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(_SUFFIXES_OF_UNFINISHED)


@contextmanager
def _held(watch: Watch, name: str) -> Iterator[int | None]:
    """A descriptor of the file, locked; None if another watcher holds it."""
    in_hand = watch.folders.in_hand
    descriptor = _opened(watch, in_hand, name)
    if descriptor is None:
        yield None
        return
    try:
        yield descriptor if _is_locked(descriptor) and _is_named(in_hand, name, descriptor) else None
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with suppress(PermissionError):  # of another owner's file: the folder around it is closed to all others
        os.fchmod(descriptor, 0o600)
    return True


def _is_named(folder: Folder, name: str, descriptor: int) -> bool:
    """Whether the name still leads to the file: another watcher may have moved it, and an upload taken the name."""
    state = folder.state(name)
    return state is not None and os.path.samestat(state, os.fstat(descriptor))


def _opened(watch: Watch, folder: Folder, name: str) -> int | None:
    """A descriptor of the file; None if it is gone or must be left alone. No link is followed, no pipe waited for."""
    try:
        return folder.open(name)
    except FileNotFoundError:
        return None
    except OSError as error:  # whatever is the matter with one file, the others go on
        watch.refusals.leave(folder.title(name), f"it cannot be read ({error.strerror})")
        return None
