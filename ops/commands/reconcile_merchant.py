"""`repoint reconcile merchant`."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import CopyState
from ops import feed_files, files, filters, parts, terminal
from ops.actor import who
from ops.commands import options
from ops.merchant_file import MerchantFile
from ops.terminal import AsJson, DryRun, Failed
from reconciliation import merchant_copy
from reconciliation.merchant_copy import ComparedLine, ComparedPage, Copy
from schemas.views import CopySummaryView, CopyView, StoredMethodView
from store import audit
from store.audit import Act

# A person reads no more; and a table holds all of its rows to find how wide they are.
_MOST_SHOWN = 1000


@dataclass(slots=True)
class _CopySummary:
    """Counts of lines by state, of deliveries that were missed and sent, and of lines that a person must look at."""

    states: Counter[CopyState] = field(default_factory=Counter)
    missed: int = 0
    sent: int = 0
    unsettled: int = 0

    def add(self, page: ComparedPage) -> None:
        self.states.update(line.state for line in page.lines)
        self.missed += page.missed
        self.sent += page.sent
        self.unsettled += sum(not line.is_settled for line in page.lines)

    def view(self, refused: int) -> CopySummaryView:
        counts = {state.value.lower(): self.states[state] for state in CopyState}
        total = self.states.total()
        return CopySummaryView(compared=total, **counts, refused=refused, missed=self.missed, sent=self.sent)


def merchant(
    *,
    merchant_id: Annotated[str, typer.Option("--merchant", metavar="ID", help="The merchant whose export it is.")],
    file: Annotated[
        Path,
        typer.Option(
            "--file",
            metavar="FILE",
            parser=files.readable,
            help="One id a line: CSV with a column `paymentMethodId` or `id`, JSON objects with such a key, or the ids"
            " alone; gzip as well. - is stdin.",
        ),
    ],
    emit: Annotated[bool, typer.Option("--emit", help="Send the events again that the merchant missed.")] = False,
    exported_at: Annotated[
        datetime | None,
        typer.Option(
            metavar="MOMENT",
            parser=options.since,
            help="When the export was made; if not given, when the file was last written to. What arrived later is not"
            " missed. `1h`, or 2026-11-20T09:14:00Z.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compare a merchant's export of payment method ids with what is current.

    Says of each id whether it is current, by which method it was replaced, or that it is deleted or unknown. Exits with
    1 where the merchant does not have the current state and receives nothing about it. Ids of other merchants are
    unknown.
    """
    if exported_at is None and file == files.STDIN:
        raise typer.BadParameter("--exported-at is needed for stdin, which has no time.")
    settings = parts.settings_of_a_command()
    copy = Copy(merchant_id, exported_at or feed_files.dated(file))
    source = MerchantFile(file)
    emits = emit and not dry_run

    async def work(engine: AsyncEngine) -> _CopySummary:
        async with engine.begin() as connection:
            await filters.require_merchant(connection, merchant_id)
            if emits:
                await _record(connection, copy)
        summary = _CopySummary()
        pages = _counted(merchant_copy.compare(engine, copy, source.lines(), emits=emits), summary)
        await (_write_json(copy, pages, summary, source) if as_json else _write(copy, pages, summary))
        return summary

    summary = parts.on_database(settings, work)
    source.raise_any()
    if summary.unsettled:
        hint = "" if emits or not summary.missed else "; --emit sends what was missed"
        raise Failed(f"{terminal.counted(summary.unsettled, 'id')} not current, and nothing is on its way{hint}")


async def _counted(pages: AsyncIterator[ComparedPage], summary: _CopySummary) -> AsyncIterator[ComparedLine]:
    async for page in pages:
        summary.add(page)
        for line in page.lines:
            yield line


async def _record(connection: AsyncConnection, copy: Copy) -> None:
    after = {"merchant": copy.merchant_id, "exportedAt": terminal.moment(copy.exported_at)}
    await audit.record(connection, [Act(who(), "missed events sent again", "reconcile", after=after)])


async def _write_json(
    copy: Copy, lines: AsyncIterator[ComparedLine], summary: _CopySummary, source: MerchantFile
) -> None:
    written = terminal.JsonItems()
    written.begin(CopyView.of(copy).as_json(), "paymentMethods")
    async for line in lines:
        written.item(StoredMethodView.of(line).as_json())
    written.end({"summary": summary.view(source.refused).as_json()})
    written.close()


async def _write(copy: Copy, lines: AsyncIterator[ComparedLine], summary: _CopySummary) -> None:
    """The summary, and the lines that are not current."""
    rows: list[tuple[object, ...]] = []
    async for line in lines:
        if line.state is not CopyState.CURRENT and len(rows) < _MOST_SHOWN:
            rows.append((line.line, *line[1:]))
    counts = ", ".join(f"{summary.states[state]:,} {state.value.lower()}" for state in CopyState)
    events = f"{summary.missed:,} missed, {summary.sent:,} sent again"
    terminal.write_line(f"{copy.merchant_id}: {terminal.counted(summary.states.total(), 'id')}, {counts}; {events}")
    if rows:
        terminal.write_table(("line", "payment method", "state", "current", "missed", "on the way", "sent"), rows)
    hidden = summary.states.total() - summary.states[CopyState.CURRENT] - len(rows)
    if hidden:
        terminal.remark(f"{terminal.counted(hidden, 'id')} more: --json writes all of them")
