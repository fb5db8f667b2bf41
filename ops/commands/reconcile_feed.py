"""`repoint reconcile feed`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import FeedUpdateState
from ops import edge, feed_files, files, open_file, parts, terminal
from ops.commands import options
from ops.commands.ingest import feed_name
from ops.feed_copy import FeedCopy, reconcile
from ops.files import another_file
from ops.setting_checks import check_key
from ops.terminal import AsJson, DryRun, Failed
from reconciliation.feed_copy import ComparedUpdate
from schemas.feeds import FEEDS
from schemas.views import FeedCopySummaryView, FeedCopyView, FeedDifferenceView

# A person reads no more; and a table holds all of its rows to find how wide they are.
_MOST_SHOWN = 1000


def feed(
    name: Annotated[
        str, typer.Argument(metavar="VENDOR", parser=feed_name, help="A feed of `repoint feeds list`, or canonical.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=files.readable, help="The vendor's file; - is stdin.")],
    *,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            metavar="MOMENT",
            parser=options.moment,
            help="When it was so, for records without a date; else the file's own.",
        ),
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces", metavar="FILE", parser=another_file, help="CSV of trace,token or trace,fingerprint (Nacha)."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Read a file although none of its first 20 lines fits the format.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compare a vendor's file with the inbox, and ingest the updates that the inbox lacks.

    An update whose id the inbox has with another content is a contradiction: it is reported, and not sent. Exits with 1
    where there is one, where a line cannot be used, and where something is missing and was not sent.
    """
    settings = parts.settings_of_a_command()
    adapter = FEEDS.get(name)
    if adapter is not None:
        check_key(settings, [adapter.name])
    dated = edge.of(edge.fingerprints(settings), at or feed_files.dated(file), edge.traces(traces), settings.digit_ids)
    servers = None if dry_run else parts.running_broker(settings)

    with open_file.opened(file) as opened:
        shown = _DifferenceJson(name, opened.title) if as_json else _DifferenceTable(opened.title)
        copy = FeedCopy(opened, adapter, dated, shown.add)

        async def work(engine: AsyncEngine) -> None:
            await reconcile(engine, copy, settings, servers, force=force)

        parts.on_database(settings, work)
    shown.end(copy)
    _fail_where_something_is_left(copy, files.name(file))


def _fail_where_something_is_left(copy: FeedCopy, title: str) -> None:
    if copy.read.problem is not None:
        raise Failed(f"{title}: {copy.read.problem}")
    shortcomings = [
        (copy.states[FeedUpdateState.CONTRADICTION], "contradiction", ""),
        (copy.states[FeedUpdateState.MISSING] - copy.sent, "missing update", " not sent"),
        (copy.read.refused, "unusable line", ""),
    ]
    if any(count for count, *_ in shortcomings):
        raise Failed(
            ", ".join(f"{terminal.counted(count, noun)}{qualifier}" for count, noun, qualifier in shortcomings if count)
        )


class _DifferenceJson:
    """Writes the differences as they are found, and the counts at the end."""

    def __init__(self, feed: str, title: str) -> None:
        self._items = terminal.JsonItems()
        self._items.begin(FeedCopyView(feed=feed, file=title).as_json(), "updates")

    def add(self, update: ComparedUpdate) -> None:
        self._items.item(FeedDifferenceView.of(update).as_json())

    def end(self, copy: FeedCopy) -> None:
        counts = FeedCopySummaryView(
            lines=copy.read.lines,
            refused=copy.read.refused,
            known=copy.states[FeedUpdateState.KNOWN],
            missing=copy.states[FeedUpdateState.MISSING],
            contradictions=copy.states[FeedUpdateState.CONTRADICTION],
            thin=copy.thin,
            sent=copy.sent,
        )
        self._items.end({"summary": counts.as_json()})
        self._items.close()


class _DifferenceTable:
    """Keeps the first thousand differences, and writes them after the counts."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._rows: list[tuple[object, ...]] = []

    def add(self, update: ComparedUpdate) -> None:
        if len(self._rows) < _MOST_SHOWN:
            self._rows.append(update)

    def end(self, copy: FeedCopy) -> None:
        known, missing, contradictions = (copy.states[state] for state in FeedUpdateState)
        differences = f"{missing:,} missing, {terminal.counted(contradictions, 'contradiction')}; {copy.sent:,} sent"
        terminal.write_line(
            f"{self._title}: {terminal.counted(copy.read.lines, 'line')}, {known:,} known, {differences}"
        )
        if copy.thin:
            terminal.remark(f"{terminal.counted(copy.thin, 'thin event')} not compared: the vendor has to be asked")
        if self._rows:
            terminal.write_table(("line", "vendor", "update", "state", "inbox"), self._rows)
        if hidden := missing + contradictions - len(self._rows):
            terminal.remark(f"{terminal.counted(hidden, 'update')} more: --json writes all of them")
