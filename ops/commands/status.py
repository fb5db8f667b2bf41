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

    found = parts.on_database(parts.settings_of_a_command(), work)
    if found is None:
        raise Failed(f"no payment method has the id {terminal.printable(payment_method_id)}")
    if as_json:
        terminal.write_json(_written(found))
    else:
        _tell(found)


# --- for programs -------------------------------------------------------------------------------------------------


def _written(found: MethodHistory) -> dict[str, Any]:
    return {
        "walletId": found.wallet_id,
        "paymentMethod": _method(found.method),
        "currentPaymentMethod": None if found.current is None else _method(found.current),
        "chain": [_replacement(one) for one in found.chain],
        "paymentLinks": [
            {
                "id": link.id,
                "merchantId": link.merchant_id,
                "paymentMethodId": link.method_id,
                "kind": link.kind.value,
                "reference": link.reference,
                "status": link.status.value,
            }
            for link in found.links
        ],
        "deliveries": [_delivery(one) for one in found.deliveries],
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


def _replacement(one: Replacement) -> dict[str, Any]:
    return {
        "oldPaymentMethodId": one.old_id,
        "newPaymentMethodId": one.new_id,
        "reason": one.reason,
        "vendor": one.vendor,
        "updateId": one.update_id,
        "replacedAt": moment(one.replaced_at),
    }


def _delivery(one: DeliveryWithAttempts) -> dict[str, Any]:
    return {
        "id": one.id,
        "eventId": event_id(one.event_id),
        "name": one.name,
        "paymentMethodId": one.method_id,
        "merchantId": one.merchant_id,
        "sequence": one.sequence,
        "endpointId": one.endpoint_id,
        "status": one.status,
        "createdAt": moment(one.created_at),
        "attempts": [_attempt(each) for each in one.attempts],
    }


def _attempt(one: Attempt) -> dict[str, Any]:
    return {
        "number": one.number,
        "outcome": one.outcome,
        "statusCode": one.status_code,
        "tookMilliseconds": one.took,
        "attemptedAt": moment(one.at),
    }


# --- for people ---------------------------------------------------------------------------------------------------


def _tell(found: MethodHistory) -> None:
    terminal.write_line(f"payment method  {describe(found.method)}")
    if found.current is None:
        terminal.write_line("current         none: its customer removed it")
    elif found.current.id != found.method.id:
        terminal.write_line(f"current         {describe(found.current)}")
    else:
        terminal.write_line("current         itself")
    terminal.write_line(f"wallet          {found.wallet_id}")
    _section(
        "chain",
        ("replaced", "by", "reason", "told by", "at"),
        [(one.old_id, one.new_id, one.reason, _told_by(one), one.replaced_at) for one in found.chain],
    )
    _section(
        "payment links",
        ("merchant", "kind", "reference", "status", "payment method"),
        [(one.merchant_id, one.kind.value, one.reference, one.status.value, one.method_id) for one in found.links],
    )
    _section(
        "deliveries",
        ("merchant", "#", "event", "endpoint", "status", "attempts"),
        [
            (
                one.merchant_id,
                one.sequence,
                one.name,
                one.endpoint_id,
                one.status,
                [_brief(each) for each in one.attempts],
            )
            for one in found.deliveries
        ],
    )


def _section(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    terminal.write_line(f"\n{title}" if rows else f"\n{title}: none")
    if rows:
        terminal.write_table(columns, rows)


def describe(method: Method) -> str:
    """As `<id>  VISA •••• 1234  12/2028  ACTIVE  default`."""
    flags = ("default" if method.default else None, "subscription default" if method.subscription_default else None)
    told = (method.id, called(method), method.status.value, *flags)
    return "  ".join(each for each in told if each)


def called(method: Method) -> str:
    """As a person knows it: `VISA •••• 1234  12/2028`."""
    details = method.details
    what = details.brand or details.bank_name or method.type.value.replace("_", " ").lower()
    expiry = None if details.expiry is None else f"{details.expiry.month:02d}/{details.expiry.year}"
    return terminal.printable("  ".join(filter(None, (f"{what} •••• {details.last4 or '?'}", expiry))))


def _told_by(one: Replacement) -> str | None:
    return None if one.vendor is None else f"{one.vendor} {one.update_id}"


def _brief(attempt: Attempt) -> str:
    return str(attempt.status_code or attempt.outcome)
