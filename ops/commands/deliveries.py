"""`repoint deliveries list|show|cancel`."""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.delivery.states import Status
from ops import filters, parts, terminal
from ops.chosen_deliveries import DeliveryChange, change_in_parts, read_name, require_all, selection
from ops.commands.options import masked
from ops.terminal import AsJson, DryRun, Failed, Limit
from schemas.views import AnsweredAttemptView, AnswerView, DeliveryView
from store import cancelled_deliveries, connectivity, delivery_answers, listings
from store.listings import DeliveryRow
from store.status import DeliveryWithAttempts

app = typer.Typer(help="Events on their way to endpoints, and those that arrived or did not.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only deliveries of this status.", case_sensitive=False)] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this endpoint.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="MERCHANT_ID", help="Only to this merchant.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List live deliveries, then finished ones, each newest first."""

    async def work(engine: AsyncEngine) -> list[DeliveryRow]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_endpoint(connection, endpoint)
            await filters.require_merchant(connection, merchant)
            wanted = None if status is None else status.value
            return await listings.deliveries(
                connection, status=wanted, endpoint=endpoint, merchant=merchant, limit=limit
            )

    views = [DeliveryView[int].of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "event", "#", "merchant", "endpoint", "status", "attempts", "due", "finished"),
        [
            (view.id, view.name, view.sequence, view.merchant_id, view.endpoint_id, view.status, view.attempts,
             view.due_at, view.finished_at)
            for view in views
        ],
    )  # fmt: skip


@app.command()
def show(
    delivery_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)], *, as_json: AsJson = False
) -> None:
    """Show one delivery and its attempts, with what its endpoint answered where it did not accept it.

    Of such an answer the names of the headers and the first KiB of the body are kept for 30 days, card numbers masked.
    Nothing is kept of an answer that repeats a part of the webhook.
    """

    async def work(engine: AsyncEngine) -> DeliveryWithAttempts | None:
        async with connectivity.snapshot(engine) as connection:
            return await delivery_answers.find(connection, delivery_id)

    delivery = parts.on_database(parts.settings_of_a_command(), work)
    if delivery is None:
        raise Failed(f"there is no delivery {delivery_id}")
    view = DeliveryView[tuple[AnsweredAttemptView, ...]].of(delivery)
    shown = view.as_json()
    if as_json:
        terminal.write_json(shown)
        return
    for name, value in shown.items():
        if name != "attempts":
            terminal.write_line(f"{name:<17}{terminal.printable('-' if value is None else str(value))}")
    for attempt in view.attempts:
        status = "" if attempt.status_code is None else f" {attempt.status_code}"
        terminal.write_line(
            f"\nattempt {attempt.number}  {terminal.moment(attempt.attempted_at)}  {attempt.outcome}{status}"
            f"  {attempt.took_milliseconds} ms"
        )
        if attempt.answer is not None:
            _write_answer(attempt.answer)


@app.command()
def cancel(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Deliveries by their numbers, or events (evt_…).")
    ] = None,
    *,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this endpoint.")] = None,
    reason: Annotated[str, typer.Option(callback=masked, help="Why, for `audit list`.")],
    dry_run: DryRun = False,
) -> None:
    """Take deliveries away that are PENDING or PARKED: they are not sent, and the next of each wallet may go.

    A delivery that is being sent just now is left alone, and said so. What is CANCELLED stays so.
    """
    if not ids and endpoint is None:
        raise typer.BadParameter("expected an ID or --endpoint")
    names = [read_name(text) for text in ids or ()]

    async def work(engine: AsyncEngine) -> tuple[int, int]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_endpoint(connection, endpoint)
            chosen = await cancelled_deliveries.select(connection, replace(selection(names), endpoint=endpoint))
            require_all(
                names,
                chosen,
                "a delivery, or its event, that is PENDING or PARKED (`repoint deliveries list`);"
                " nothing was cancelled",
            )
        if dry_run:
            return len(chosen), len(chosen)
        return len(chosen), await change_in_parts(
            engine, chosen, DeliveryChange(_cancel, "deliveries cancelled", reason)
        )

    wanted, count = parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would cancel' if dry_run else 'cancelled'} {terminal.counted(count, 'delivery')}")
    if unchanged := wanted - count:
        terminal.remark(
            f"{terminal.counted(unchanged, 'delivery')} left alone: an attempt is under way, or was finished"
        )


async def _cancel(connection: AsyncConnection, ids: Collection[int]) -> int:
    return len(await cancelled_deliveries.cancel(connection, ids))


def _write_answer(answer: AnswerView) -> None:
    """Write each line of a body behind a bar: no line of it looks like one of ours."""
    terminal.write_line(f"  headers: {terminal.printable(', '.join(answer.header_names) or 'none')}")
    for line in answer.body.split("\n") if answer.body else ():
        terminal.write_line(f"  | {terminal.printable(line)}")
