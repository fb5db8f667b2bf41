"""`repoint status PAYMENT_METHOD_ID`."""

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.wallet import Method
from ops import parts, terminal
from ops.terminal import AsJson, Failed, moment
from schemas.payment_method import write_details
from schemas.signature import event_id
from store import reach
from store.status import Attempt, DeliveryWithAttempts, MethodHistory, Replacement, find


def status(
    payment_method_id: Annotated[str, typer.Argument(metavar="PAYMENT_METHOD_ID")], *, as_json: AsJson = False
) -> None:
    """What became of a payment method: the current one, the chain that leads there, links, deliveries."""

    async def work(engine: AsyncEngine) -> MethodHistory | None:
        async with reach.snapshot(engine) as connection:
            return await find(connection, payment_method_id)

    history = parts.on_database(parts.settings_of_a_command(), work)
    if history is None:
        raise Failed(f"no payment method has the id {terminal.printable(payment_method_id)}")
    if as_json:
        terminal.write_json(_written(history))
    else:
        _write(history)


# --- for programs -------------------------------------------------------------------------------------------------


def _written(history: MethodHistory) -> dict[str, Any]:
    return {
        "walletId": history.wallet_id,
        "paymentMethod": _method(history.method),
        "currentPaymentMethod": None if history.current is None else _method(history.current),
        "chain": [_replacement(replacement) for replacement in history.chain],
        "paymentLinks": [
            {
                "id": link.id,
                "merchantId": link.merchant_id,
                "paymentMethodId": link.method_id,
                "kind": link.kind.value,
                "reference": link.reference,
                "status": link.status.value,
            }
            for link in history.links
        ],
        "deliveries": [_delivery(delivery) for delivery in history.deliveries],
    }


def _method(method: Method) -> dict[str, Any]:
    return {
        "id": method.id,
        "type": method.type.value,
        "status": method.status.value,
        "details": write_details(method.type, method.details),
        "nickname": method.nickname,
        "default": method.default,
        "subscriptionDefault": method.subscription_default,
        "replacedBy": method.replaced_by,
        "deletedReason": method.deleted_reason,
    }


def _replacement(replacement: Replacement) -> dict[str, Any]:
    return {
        "oldPaymentMethodId": replacement.old_id,
        "newPaymentMethodId": replacement.new_id,
        "reason": replacement.reason,
        "vendor": replacement.vendor,
        "updateId": replacement.update_id,
        "replacedAt": moment(replacement.replaced_at),
    }


def _delivery(delivery: DeliveryWithAttempts) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "eventId": event_id(delivery.event_id),
        "name": delivery.name,
        "paymentMethodId": delivery.method_id,
        "merchantId": delivery.merchant_id,
        "sequence": delivery.sequence,
        "endpointId": delivery.endpoint_id,
        "status": delivery.status,
        "createdAt": moment(delivery.created_at),
        "attempts": [_attempt(attempt) for attempt in delivery.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "statusCode": attempt.status_code,
        "tookMilliseconds": attempt.milliseconds,
        "attemptedAt": moment(attempt.at),
    }


# --- for people ---------------------------------------------------------------------------------------------------


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
    """As `<id>  VISA •••• 1234  12/2028  ACTIVE  default`."""
    flags = ("default" if method.default else None, "subscription default" if method.subscription_default else None)
    columns = (method.id, called(method), method.status.value, *flags)
    return "  ".join(column for column in columns if column)


def called(method: Method) -> str:
    """As a person knows it: `VISA •••• 1234  12/2028`."""
    details = method.details
    label = details.brand or details.bank_name or method.type.value.replace("_", " ").lower()
    expiry = None if details.expiry is None else f"{details.expiry.month:02d}/{details.expiry.year}"
    return terminal.printable("  ".join(filter(None, (f"{label} •••• {details.last4 or '?'}", expiry))))


def _told_by(replacement: Replacement) -> str | None:
    return None if replacement.vendor is None else f"{replacement.vendor} {replacement.update_id}"


def _brief(attempt: Attempt) -> str:
    return str(attempt.status_code or attempt.outcome)
