"""`repoint replay ID…`, and `repoint replay start|list|pause|resume|cancel` for jobs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typer.core import TyperGroup

from ops import filters, parts, terminal
from ops.chosen_deliveries import DeliveryChange, change_in_parts, read_name, require_all, selection
from ops.commands import replay_jobs
from ops.commands.options import moment
from ops.terminal import DryRun
from store import connectivity, endpoints, finished_deliveries, postponed_deliveries
from store.selection import Selected, Selection

_EXPECTED_DEAD = (
    "a dead delivery, or its event, that has not arrived since and is not on its way again"
    " (`repoint deliveries list --status DEAD`; of PENDING ones see --waiting, of DELIVERED ones --delivered);"
    " nothing was replayed"
)
_EXPECTED_FINISHED = (
    "a dead or delivered delivery, or its event, that is not on its way again (`repoint deliveries list`);"
    " nothing was replayed"
)


class _Replay(TyperGroup):
    """The group of commands; `repoint replay ID…` is `repoint replay now ID…`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer names no class of click's
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["now", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(cls=_Replay, help="Send events again: at once, or by a job at a rate.")
app.command()(replay_jobs.start)
app.command("list")(replay_jobs.list_)
app.command()(replay_jobs.pause)
app.command()(replay_jobs.resume)
app.command()(replay_jobs.cancel)


@app.command("now")
def replay(
    *,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Deliveries by their numbers, or events (evt_…).")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this endpoint.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="MERCHANT_ID", help="Only to this merchant.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="MOMENT", parser=moment, help="Only deliveries that died then or later; UTC where no zone is named."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="MOMENT", parser=moment, help="Only deliveries that died before.")
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Send PENDING deliveries now that wait for their next attempt.")
    ] = False,
    delivered: Annotated[
        bool, typer.Option("--delivered", help="Send those that are named again although they arrived.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Send dead deliveries again: same ids and bodies, each wallet's in order, with the whole retry schedule.

    A delivery that arrived since, or is on its way again, is left alone; so the same command can be repeated. With
    --waiting, send deliveries now that wait for their next attempt: their order and the count of their attempts stay.
    `repoint replay ID…` is short for `repoint replay now ID…`.
    """
    if delivered and (waiting or not ids):
        raise typer.BadParameter("expected --delivered with an ID, and without --waiting")
    if not ids and {endpoint, merchant, since, until} == {None}:
        raise typer.BadParameter("expected an ID, or --endpoint, --merchant, --since or --until")
    _check_times(since, until, waiting=waiting)
    names = [read_name(text) for text in ids or ()]
    wanted = replace(selection(names), endpoint=endpoint, merchant=merchant, since=since, until=until)
    if waiting:
        _send_now(wanted, names, dry_run=dry_run)
    else:
        _send_again(wanted, names, delivered=delivered, dry_run=dry_run)


def _check_times(since: datetime | None, until: datetime | None, *, waiting: bool) -> None:
    if waiting and (since is not None or until is not None):
        raise typer.BadParameter("expected --waiting without --since and --until, which are about dead deliveries")
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("expected --since to be before --until")


def _send_again(wanted: Selection, names: Sequence[int | UUID], *, delivered: bool, dry_run: bool) -> None:
    async def work(engine: AsyncEngine) -> tuple[int, int]:
        async with connectivity.snapshot(engine) as connection:
            await _require(connection, wanted)
            chosen = await finished_deliveries.select(connection, wanted, delivered=delivered)
            require_all(
                names,
                chosen,
                _EXPECTED_FINISHED if delivered else _EXPECTED_DEAD,
            )
            wait = await _disabled(connection, chosen)
        if dry_run:
            return len({delivery[1:] for delivery in chosen}), wait
        return await change_in_parts(
            engine,
            chosen,
            DeliveryChange(partial(finished_deliveries.replay, delivered=delivered), "deliveries replayed"),
        ), wait

    count, wait = parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would replay' if dry_run else 'replayed'} {terminal.counted(count, 'delivery')}")
    if not count:
        terminal.remark("nothing of that is DEAD: `repoint deliveries list --status DEAD` shows what is")
    _remark_on_waiting(wait, "is enabled: see `repoint endpoints list`")


def _send_now(wanted: Selection, names: Sequence[int | UUID], *, dry_run: bool) -> None:
    async def work(engine: AsyncEngine) -> tuple[int, int]:
        async with connectivity.snapshot(engine) as connection:
            await _require(connection, wanted)
            chosen = await postponed_deliveries.select(connection, wanted)
            require_all(
                names,
                chosen,
                "a PENDING delivery, or its event, that waits for its next attempt"
                " (`repoint deliveries list --status PENDING`; `repoint endpoints enable` ends a hold);"
                " nothing was changed",
            )
            wait = await _held_back(connection, chosen)
        if dry_run:
            return len(chosen), wait
        return await change_in_parts(
            engine, chosen, DeliveryChange(postponed_deliveries.make_due, "deliveries sent now")
        ), wait

    count, wait = parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would send' if dry_run else 'sending'} {terminal.counted(count, 'delivery')} now")
    _remark_on_waiting(wait, "is held back no more: `repoint endpoints enable` ends a hold")


def _remark_on_waiting(count: int, until: str) -> None:
    """Say how many of the deliveries wait for their endpoints, and until those are what."""
    if count:
        waits = "1 of them waits until its" if count == 1 else f"{count:,} of them wait until their"
        terminal.remark(f"{waits} endpoint {until}")


async def _require(connection: AsyncConnection, wanted: Selection) -> None:
    await filters.require_endpoint(connection, wanted.endpoint)
    await filters.require_merchant(connection, wanted.merchant)


async def _disabled(connection: AsyncConnection, deliveries: Sequence[Selected]) -> int:
    """How many of the deliveries wait until their endpoint is enabled."""
    at = {delivery.endpoint_id for delivery in deliveries}
    disabled = {endpoint.id for endpoint in await endpoints.read(connection, at) if endpoint.status == "DISABLED"}
    return len({delivery[1:] for delivery in deliveries if delivery.endpoint_id in disabled})


async def _held_back(connection: AsyncConnection, deliveries: Sequence[Selected]) -> int:
    """How many of the deliveries wait until the hold of their endpoint ends."""
    at = {delivery.endpoint_id for delivery in deliveries}
    held = set(await endpoints.held_back(connection, at))
    return sum(delivery.endpoint_id in held for delivery in deliveries)
