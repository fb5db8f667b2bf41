"""`repoint ingest --format FORMAT FILE…`, `--watch DIR`, `--detect`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ops import drop_folder, edge, feed_files, files, loop, parts, terminal
from ops.files import InputFiles
from ops.settings import Settings, check_key
from ops.terminal import DryRun, Failed
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed

CANONICAL = "canonical"


def _feed(name: str) -> str:
    if name != CANONICAL and name not in FEEDS:
        raise typer.BadParameter(f"{name!r} is no feed; `repoint feeds list` names them all.")
    return name


def ingest(
    feeds: InputFiles = [],  # noqa: B006  typer's own way to say "none"
    *,
    written_in: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", parser=_feed, help="canonical, or a feed of `repoint feeds list`."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            "--watch", exists=True, file_okay=False, writable=True, help="Send every file that is put into this folder."
        ),
    ] = None,
    detect: Annotated[bool, typer.Option("--detect", help="Only say which feed each file is of.")] = False,
    at: Annotated[
        datetime | None, typer.Option("--at", help="When it was so, for records without a date; else the file's own.")
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option("--traces", exists=True, dir_okay=False, help="CSV of trace,token or trace,fingerprint (Nacha)."),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="From the beginning, also where it was interrupted.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Put what vendors tell on the topic, each update acknowledged by every in-sync replica.

    What is interrupted goes on where it was when it is called again. Lines that no update can be made of are named on
    stderr and written to FILE.refused. They are sent too, card numbers masked, and end up with the dead letters.
    Sending a file twice does no harm. Exits with 1 unless all was acknowledged, or with --dry-run unless every line is
    usable.
    """
    if detect:
        _detect(feeds)
        return
    if written_in is None:
        raise typer.BadParameter("expected the feed's format; --detect finds it out", param_hint="--format")
    if bool(feeds) == (watch is not None):
        raise typer.BadParameter("expected files, or a folder to watch", param_hint="FILE…")
    settings = parts.settings_of_a_command()
    feed = FEEDS.get(written_in)
    if feed is not None:
        check_key(settings, [feed.name])
    if watch is not None:
        servers = parts.running_broker(settings)
        loop.run(drop_folder.watch(watch, feed, settings, servers, edge.traces(traces)))
        return
    fingerprints, known = edge.fingerprints(settings), edge.traces(traces)
    edges = {file: edge.of(fingerprints, at or feed_files.dated(file), known) for file in feeds}
    if dry_run:
        _check(feeds, feed, edges)
    else:
        _send(feeds, feed, edges, settings, anew=anew)


def _check(feeds: list[Path], feed: Feed | None, edges: dict[Path, Edge]) -> None:
    refused = 0
    for file in feeds:
        summary = loop.run(feed_files.check(file, feed, edges[file]))
        feed_files.tell(file, summary, dry_run=True)
        refused += summary.refused
    if refused:
        raise Failed(f"{refused} lines are not usable")


def _send(feeds: list[Path], feed: Feed | None, edges: dict[Path, Edge], settings: Settings, *, anew: bool) -> None:
    servers = parts.running_broker(settings)
    unsent = 0
    for file in feeds:
        summary = loop.run(feed_files.send(file, feed, edges[file], settings, servers, anew=anew))
        feed_files.tell(file, summary)
        unsent += summary.unsent
    if unsent:
        raise Failed(f"{unsent} lines were not acknowledged; send the whole again, what is there will be recognised")


def _detect(feeds: list[Path]) -> None:
    if files.STDIN in feeds:
        raise typer.BadParameter("expected files; stdin cannot be read twice", param_hint="FILE…")
    unknown = 0
    for file in feeds:
        found = loop.run(edge.detect(file))
        unknown += found is None
        terminal.write_line(f"{files.name(file)}: {found or 'no feed that is known'}")
    if unknown:
        raise Failed(f"{unknown} of {len(feeds)} files are of no feed that is known", code=1)
