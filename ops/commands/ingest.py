"""`repoint ingest --format FORMAT FILE…`, `--watch DIR`, `--detect`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ops import drop_folder, edge, feed_files, files, loop, open_file, parts, terminal, work_folders
from ops.commands.options import duration
from ops.drop_folder import Watch
from ops.feed_files import CANONICAL, Summary
from ops.files import InputFiles, another_file
from ops.setting_checks import check_key
from ops.settings import Settings
from ops.terminal import DryRun, Failed
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed


def feed_name(name: str) -> str:
    """Check the name of a feed, or `canonical`. Raises BadParameter."""
    if name != CANONICAL and name not in FEEDS:
        raise typer.BadParameter(f"{name!r} is no feed; `repoint feeds list` names them all.")
    return name


def ingest(
    feeds: InputFiles = [],  # noqa: B006  typer's own way to say "none"
    *,
    written_in: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", parser=feed_name, help="canonical, or a feed of `repoint feeds list`."
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            "--watch", exists=True, file_okay=False, writable=True, help="Send every file that is put into this folder."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="FOLDER",
            help="With --watch: where files are while they are sent, and after; DIR.repoint.",
        ),
    ] = None,
    keep_processed: Annotated[
        timedelta | None,
        typer.Option(
            "--keep-processed",
            metavar="DURATION",
            parser=duration,
            help="With --watch: how long files are kept once they are sent; 7d, but 0s with full numbers.",
        ),
    ] = None,
    detect: Annotated[bool, typer.Option("--detect", help="Only say which feed each file is of.")] = False,
    at: Annotated[
        datetime | None, typer.Option("--at", help="When it was so, for records without a date; else the file's own.")
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces", metavar="FILE", parser=another_file, help="CSV of trace,token or trace,fingerprint (Nacha)."
        ),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="From the beginning, also where it was interrupted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Send a file although none of its first 20 lines fits the format.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Put vendors' updates on the topic, each acknowledged by every in-sync replica.

    The same command continues an interrupted file. Lines that no update can be made of are named on stderr and written
    to FILE.refused. They are sent too, card numbers masked, and end up with the dead letters. A file of another format
    is not sent. Sending a file twice does no harm. A file may be packed with gzip. Exits with 1 unless all was
    acknowledged and some of each file can be used, or with --dry-run unless every line can.
    """
    if detect:
        _detect(feeds)
        return
    if written_in is None:
        raise typer.BadParameter("expected the feed's format; --detect finds it out", param_hint="--format")
    if bool(feeds) == (watch is not None):
        raise typer.BadParameter("expected files, or a folder to watch", param_hint="FILE")
    if watch is None and (work is not None or keep_processed is not None):
        raise typer.BadParameter("expected only with --watch", param_hint="--work, --keep-processed")
    settings = parts.settings_of_a_command()
    feed = FEEDS.get(written_in)
    if feed is not None:
        check_key(settings, [feed.name])
    if watch is not None:
        servers = parts.running_broker(settings)
        with terminal.dated(), work_folders.opened(watch, work) as folders:
            watched = Watch(folders, feed, settings, servers, edge.traces(traces), keep=keep_processed, force=force)
            loop.run(drop_folder.run(watched))
        return
    fingerprints, known = edge.fingerprints(settings), edge.traces(traces)
    edges = {file: edge.of(fingerprints, at or feed_files.dated(file), known, settings.digit_ids) for file in feeds}
    if dry_run:
        _check(feeds, feed, edges, settings, force=force)
    else:
        _send(feeds, feed, edges, settings, anew=anew, force=force)


def _check(feeds: list[Path], feed: Feed | None, edges: dict[Path, Edge], settings: Settings, *, force: bool) -> None:
    async def check(file: Path) -> Summary:
        with open_file.opened(file) as opened:
            return await feed_files.check(opened, feed, edges[file], settings, force=force)

    summaries = {}
    for file in feeds:
        summaries[file] = loop.run(check(file))
        feed_files.report(files.name(file), summaries[file], dry_run=True)
    _fail_where_of_no_use(summaries)
    if refused := sum(summary.refused for summary in summaries.values()):
        raise Failed(f"{terminal.counted(refused, 'line')} of {terminal.counted(len(feeds), 'file')} cannot be used")


def _send(
    feeds: list[Path], feed: Feed | None, edges: dict[Path, Edge], settings: Settings, *, anew: bool, force: bool
) -> None:
    servers = parts.running_broker(settings)

    async def send(file: Path) -> Summary:
        with open_file.opened(file) as opened:
            return await feed_files.send(opened, feed, edges[file], settings, servers, anew=anew, force=force)

    summaries: dict[Path, Summary] = {}
    for file in feeds:
        summaries[file] = loop.run(send(file))
        feed_files.report(files.name(file), summaries[file])
    if unsent := sum(summary.unsent for summary in summaries.values()):
        raise Failed(
            f"{terminal.counted(unsent, 'message')} not acknowledged;"
            " send the whole again, what is there will be recognised"
        )
    _fail_where_of_no_use(summaries)


def _fail_where_of_no_use(summaries: Mapping[Path, Summary]) -> None:
    problems = [f"{files.name(file)}: {summary.problem}" for file, summary in summaries.items() if summary.problem]
    for problem in problems[:-1]:
        terminal.remark(problem)
    if problems:
        raise Failed(problems[-1])


def _detect(feeds: list[Path]) -> None:
    if files.STDIN in feeds:
        raise typer.BadParameter("expected files; stdin cannot be read twice", param_hint="FILE")

    async def detect(file: Path) -> str | None:
        with open_file.opened(file) as opened:
            return await edge.detect(opened)

    unknown = 0
    for file in feeds:
        name = loop.run(detect(file))
        unknown += name is None
        terminal.write_line(f"{files.name(file)}: {name or 'no feed that is known'}")
    if unknown:
        raise Failed(f"{unknown} of {terminal.counted(len(feeds), 'file')} of no feed that is known")
