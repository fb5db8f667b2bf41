"""`repoint status PAYMENT_METHOD_ID`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.wallet import Method
from ops import parts, terminal
from ops.terminal import AsJson, Failed
from schemas.views import MethodHistoryView
from store import connectivity
from store.status import Attempt, MethodHistory, Replacement, find


def status(
    payment_method_id: Annotated[str, typer.Argument(metavar="PAYMENT_METHOD_ID")], *, as_json: AsJson = False
) -> None:
    """Show what became of a payment method: the current one, the chain that leads there, links, deliveries."""

    async def work(engine: AsyncEngine) -> MethodHistory | None:
        async with connectivity.snapshot(engine) as connection:
            return await find(connection, payment_method_id)

    history = parts.on_database(parts.settings_of_a_command(), work)
    if history is None:
        raise Failed(f"no payment method has the id {terminal.printable(payment_method_id)}")
    if as_json:
        terminal.write_json(MethodHistoryView.of(history).as_json())
    else:
        _write(history)


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
