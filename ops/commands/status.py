"""`repoint status NAME`."""

from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.wallet import Method, MethodId
from ops import parts, terminal
from ops.terminal import AsJson, Failed
from schemas.feeds import FEEDS
from schemas.signature import event_id
from schemas.views import MethodHistoryView, NamedView
from store import connectivity
from store.lookups import MOST_METHODS, Kind, Named, look_up
from store.status import Attempt, MethodHistory, Replacement, find


def status(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The id of a payment method, wallet, event or payment link, the number of a delivery, the reference"
            " of a link, a token (`vendor:token`, or without its vendor), or a customer's identifier.",
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what became of a payment method, found by any name: an id, an event, a delivery, a token, a customer.

    Anything else that is named leads to its payment methods. With --json, the id of a payment method gives an object,
    and all else an array of what has that name.
    """

    async def work(engine: AsyncEngine) -> tuple[list[Named], Mapping[MethodId, MethodHistory]]:
        async with connectivity.snapshot(engine) as connection:
            named = await look_up(connection, name, FEEDS)
            ids = dict.fromkeys(id_ for entry in named for id_ in entry.method_ids)
            histories = {id_: await find(connection, id_) for id_ in list(ids)[:MOST_METHODS]}
            return named, {id_: history for id_, history in histories.items() if history is not None}

    named, histories = parts.on_database(parts.settings_of_a_command(), work)
    if not named:
        raise Failed(f"nothing has the name {terminal.printable(name)}: see `repoint status --help` for what has one")
    method = next((entry for entry in named if entry.kind is Kind.PAYMENT_METHOD), None)
    if method is not None:
        _show(histories[method.id], as_json=as_json)
    elif as_json:
        terminal.write_json([_view(entry, histories).as_json() for entry in named])
    else:
        for entry in named:
            _write_named(entry, [histories[id_] for id_ in entry.method_ids if id_ in histories])


def _show(history: MethodHistory, *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(MethodHistoryView.of(history).as_json())
    else:
        _write(history)


def _view(entry: Named, histories: Mapping[MethodId, MethodHistory]) -> NamedView:
    shown = tuple(MethodHistoryView.of(histories[id_]) for id_ in entry.method_ids if id_ in histories)
    return NamedView(kind=entry.kind, id=_id(entry), wallet_id=entry.wallet_id, payment_methods=shown)


def _id(entry: Named) -> str:
    return event_id(UUID(entry.id)) if entry.kind is Kind.EVENT else entry.id


def _write_named(entry: Named, histories: Sequence[MethodHistory]) -> None:
    """Write what a name led to: the history of its one payment method, or its payment methods."""
    kind = entry.kind.value.replace("_", " ").lower()
    wallet = f" of wallet {entry.wallet_id}" if entry.wallet_id not in (None, entry.id) else ""
    terminal.write_line(f"{kind} {terminal.printable(_id(entry))}{wallet}")
    if len(histories) == 1:
        terminal.write_line("")
        _write(histories[0])
    else:
        for history in histories:
            terminal.write_line(f"payment method  {describe(history.method)}")
    if not histories:
        terminal.write_line("no payment method")


def _write(history: MethodHistory) -> None:
    terminal.write_line(f"payment method  {describe(history.method)}")
    if history.current is None:
        terminal.write_line("current         none: its customer removed it")
    elif history.current.id != history.method.id:
        terminal.write_line(f"current         {describe(history.current)}")
    else:
        terminal.write_line("current         itself")
    terminal.write_line(f"wallet          {history.wallet_id}")
    _section(
        "chain",
        ("replaced", "by", "reason", "told by", "at"),
        [(row.old_id, row.new_id, row.reason, _told_by(row), row.replaced_at) for row in history.chain],
    )
    _section(
        "payment links",
        ("merchant", "kind", "reference", "status", "payment method"),
        [(row.merchant_id, row.kind.value, row.reference, row.status.value, row.method_id) for row in history.links],
    )
    _section(
        "deliveries",
        ("merchant", "#", "event", "endpoint", "status", "attempts"),
        [
            (
                row.merchant_id,
                row.sequence,
                row.name,
                row.endpoint_id,
                row.status,
                [_brief(attempt) for attempt in row.attempts],
            )
            for row in history.deliveries
        ],
    )


def _section(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    terminal.write_line(f"\n{title}" if rows else f"\n{title}: none")
    if rows:
        terminal.write_table(columns, rows)


def describe(method: Method) -> str:
    """The method on one line: `<id> VISA •••• 1234 12/2028 ACTIVE default`."""
    flags = ("default" if method.default else None, "subscription default" if method.subscription_default else None)
    columns = (method.id, called(method), method.status.value, *flags)
    return "  ".join(column for column in columns if column)


def called(method: Method) -> str:
    """The method as its customer knows it: `VISA •••• 1234 12/2028`."""
    details = method.details
    label = details.brand or details.bank_name or method.type.value.replace("_", " ").lower()
    expiry = None if details.expiry is None else f"{details.expiry.month:02d}/{details.expiry.year}"
    return terminal.printable("  ".join(filter(None, (f"{label} •••• {details.last4 or '?'}", expiry))))


def _told_by(replacement: Replacement) -> str | None:
    return None if replacement.vendor is None else f"{replacement.vendor} {replacement.update_id}"


def _brief(attempt: Attempt) -> str:
    return str(attempt.status_code or attempt.outcome)
