"""A folder that files are put into, by SFTP for one: each is sent, and moved to `processed` or `failed` beside.

    DIR/            where files arrive; one that is still being written to, or whose name begins with a dot, is left
    DIR/processed/  files that were sent
    DIR/failed/     files that could not be read; what was refused of any is in FILE.refused beside it

A file is picked up by renaming it into `DIR/.work/`, so of several that watch only one gets it. One that was
interrupted there goes on where it was.
"""

import asyncio
import fcntl
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import checkpoint, edge, feed_files, terminal
from ops.feed_files import Summary
from ops.settings import Settings
from schemas.feeds.feed import Edge, Feed

# What grows no more for so long is whole.
_SETTLED_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_SUFFIXES_OF_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", ".refused")


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
    terminal.remark(f"watching {folder}; end with Ctrl-C")
    while not stopping.is_set():
        taken = await run_once(folder, feed, settings, servers, traces, settled=settled, stopping=stopping)
        if not taken:
            await _pause(stopping, _LOOK_SECONDS)


async def run_once(
    folder: Path,
    feed: Feed | None,
    settings: Settings,
    servers: str,
    traces: edge.Traces | None,
    *,
    settled: float,
    stopping: asyncio.Event,
) -> int:
    """Send every file that is whole by now; how many."""
    for name in (".work", "processed", "failed"):
        (folder / name).mkdir(exist_ok=True)
    taken = 0
    for file in _picked_up(folder, settled):
        with _held(file) as held:
            if not held:
                continue
            of = Edge(feed_files.dated(file), edge.fingerprints(settings), traces)
            sending = asyncio.create_task(feed_files.send(file, feed, of, settings, servers))
            summary = await _unless(stopping, sending)
            if summary is None:
                return taken  # its checkpoint says where to go on
            feed_files.tell(file, summary)
            if summary.unsent:
                continue
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
def _held(file: Path) -> Iterator[bool]:
    """Whether it is ours alone, and no other process that watches is at it."""
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        yield False
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield file.exists()


def _picked_up(folder: Path, settled: float) -> list[Path]:
    """Files that are ours now: those that were interrupted, then those that are whole, the oldest first."""
    work = folder / ".work"
    mine = [file for file in work.iterdir() if _is_whole_name(file)]
    for file in folder.iterdir():
        if not file.is_file() or not _is_whole_name(file) or time.time() - file.stat().st_mtime < settled:
            continue
        if (work / file.name).exists():
            continue  # one of the same name is not done yet
        try:
            file.rename(work / file.name)
        except FileNotFoundError:
            continue  # somebody else has it
        mine.append(work / file.name)
    return sorted(mine, key=lambda file: (file.stat().st_mtime_ns, file.name))


def _is_whole_name(file: Path) -> bool:
    return not file.name.startswith(".") and not file.name.endswith(_SUFFIXES_OF_UNFINISHED)


def _move(file: Path, folder: Path) -> None:
    """With what was refused of it; under another name, if one of its own is there."""
    target = folder / file.name
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{file.stem}-{number}{file.suffix}"
    file.rename(target)
    refused = file.with_name(file.name + ".refused")
    if refused.exists():
        refused.rename(target.with_name(target.name + ".refused"))
    checkpoint.remove(file)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
