"""Events as merchants receive them (design.md §5): bytes, rendered once, stored, sent unchanged on every attempt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from domain.decide import WalletChange
from domain.erasure import Deleted
from domain.merge import Merged
from domain.refusal import Refused
from domain.resolve import Replaced, Updated
from domain.undo import Restored
from domain.update import OwnReason, Reason
from domain.wallet import Customer, Link, MerchantId, Method, MethodId, Wallet, WalletId
from schemas.payment_method import SECTION, write_details
from schemas.signature import event_id
from schemas.url import read_url

VERSION = 1
"""Of the bodies: their keys and what they mean."""


class EventName(StrEnum):
    REPLACED = "PAYMENT_METHOD_REPLACED"
    DELETED = "PAYMENT_METHOD_DELETED"
    UPDATED = "PAYMENT_METHOD_UPDATED"
    ENDPOINT_DISABLED = "ENDPOINT_DISABLED"
    ENDPOINT_TEST = "ENDPOINT_TEST"


class Announcement(NamedTuple):
    """One event, but for its id, wallet, sequence and time.

    `payload` is JSON already, because most merchants are told the same.
    """

    name: EventName
    merchant_id: MerchantId
    method_id: MethodId
    reason: str | None
    payload: bytes


def announcements(wallet: Wallet, changes: tuple[WalletChange, ...]) -> list[Announcement]:
    """What each merchant of `wallet` (as it is now) is told of `changes`, in the order it is told."""
    customer = write_customer(wallet.customer)
    return [announcement for change in changes for announcement in _announcements(change, wallet.merchants, customer)]


RECONCILED = "RECONCILED"
"""The reason of an UPDATED that says what is now, in place of events that are lost."""


def current_state(wallet: Wallet, merchant_id: MerchantId) -> list[Announcement]:
    """An UPDATED for each live method of `wallet`, to a merchant of whose events some are lost."""
    customer = write_customer(wallet.customer)
    return [
        Announcement(EventName.UPDATED, merchant_id, method.id, RECONCILED, _first_sight(method, customer))
        for method in wallet.live_methods
    ]


def render(announcement: Announcement, event: UUID, wallet_id: WalletId, sequence: int, created_at: str) -> bytes:
    """The body of the event, as signed and sent.

    `sequence` counts for each wallet and merchant; `created_at` is the `timestamp` of the change.
    """
    head = _head(
        event, announcement.name, created_at, wallet_id=wallet_id, sequence=sequence, reason=announcement.reason
    )
    return _with(head, "payload", announcement.payload)


def render_notice(name: EventName, event: UUID, created_at: str, payload: Mapping[str, Any]) -> bytes:
    """The body of an event that speaks of no wallet's change: `walletId`, `sequence` and `reason` are null."""
    return _with(_head(event, name, created_at), "payload", to_json(payload))


def _head(
    event: UUID,
    name: EventName,
    created_at: str,
    *,
    wallet_id: WalletId | None = None,
    sequence: int | None = None,
    reason: str | None = None,
) -> bytes:
    return to_json(
        {
            "id": event_id(event),
            "name": str(name),
            "createdAt": created_at,
            "version": VERSION,
            "walletId": wallet_id,
            "sequence": sequence,
            "reason": reason,
        }
    )


def endpoint_disabled(
    endpoint_id: str, url: str, reason: str | None, disabled_at: str, *, undelivered: int, oldest_at: datetime | None
) -> dict[str, Any]:
    """The payload of ENDPOINT_DISABLED. `oldest_at` is when the oldest undelivered event was made."""
    endpoint = _endpoint(endpoint_id, url) | {"disabledReason": reason, "disabledAt": disabled_at}
    oldest = None if oldest_at is None else timestamp(oldest_at)
    return {"endpoint": endpoint, "undeliveredCount": undelivered, "oldestUndeliveredAt": oldest}


def endpoint_test(endpoint_id: str, url: str) -> dict[str, Any]:
    """The payload of ENDPOINT_TEST."""
    return {"endpoint": _endpoint(endpoint_id, url)}


def _endpoint(endpoint_id: str, url: str) -> dict[str, Any]:
    return {"id": endpoint_id, "urlHost": url_host(url)}


def url_host(url: str) -> str | None:
    """The host of an endpoint's URL, without the rest, which may be secret; None if no request can be sent to it."""
    try:
        return read_url(url).host
    except Refused:
        return None


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def write_customer(customer: Customer) -> dict[str, Any]:
    named = dict(customer.identities)
    return {
        "enterpriseId": named.get("enterpriseId"),
        "hsid": named.get("hsid"),
        "dateOfBirth": None if customer.date_of_birth is None else customer.date_of_birth.isoformat(),
        "metadata": dict(sorted(customer.metadata.items())),
    }


def _announcements(
    change: WalletChange, merchants: Sequence[MerchantId], customer: Mapping[str, Any]
) -> Iterator[Announcement]:
    match change:
        case Replaced(old, new, reason, links):
            current = {"paymentMethod": _method(new), "customer": customer, "deletedPaymentMethodId": old.id}
            tombstone = {"paymentMethod": _method(old), "customer": customer, "replacedByPaymentMethodId": new.id}
            replaced, deleted = to_json(current), to_json(tombstone)
            for merchant in merchants:
                mine = _links_of(links, merchant)
                yield Announcement(
                    EventName.REPLACED, merchant, new.id, str(reason), _with(replaced, "paymentLinks", mine)
                )
                yield Announcement(EventName.DELETED, merchant, old.id, str(reason), deleted)
        case Updated(before, after):
            was, now = _flat(before), _flat(after)
            previous = {key: value for key, value in was.items() if now.get(key) != value}
            payload = to_json({"paymentMethod": _method(after), "customer": customer, "previous": previous})
            for merchant in merchants:
                yield Announcement(EventName.UPDATED, merchant, after.id, _what_changed(previous, after), payload)
        case Merged(method, newcomers):
            payload = _first_sight(method, customer)
            for merchant in filter(newcomers.__contains__, merchants):
                yield Announcement(EventName.UPDATED, merchant, method.id, str(Reason.WALLET_MERGE), payload)
        case Restored(method, links):
            restored = to_json({"paymentMethod": _method(method), "customer": customer, "previous": {}})
            for merchant in merchants:
                mine = _links_of(links, merchant)
                payload = _with(restored, "paymentLinks", mine)
                yield Announcement(EventName.UPDATED, merchant, method.id, str(OwnReason.RETRACTED), payload)
        case Deleted(method, why):
            deletion = {"paymentMethod": _method(method), "customer": customer, "replacedByPaymentMethodId": None}
            payload = to_json(deletion)
            yield from (Announcement(EventName.DELETED, merchant, method.id, why, payload) for merchant in merchants)


def _first_sight(method: Method, customer: Mapping[str, Any]) -> bytes:
    """The payload of an UPDATED that does not say what was before."""
    return to_json({"paymentMethod": _method(method), "customer": customer, "previous": {}})


def _with(written: bytes, key: str, value: bytes) -> bytes:
    """A JSON object with one key more, its value JSON as well."""
    return written[:-1] + b',"' + key.encode() + b'":' + value + b"}"


def _method(method: Method) -> dict[str, Any]:
    details = _details(method)
    return {
        "id": method.id,
        SECTION[method.type]: details,
        "paymentMethodDetails": details,
        "default": method.default,
        "subscriptionDefault": method.subscription_default,
        "paymentMethodType": str(method.type),
        "nickname": method.nickname,
    }


def _details(method: Method) -> dict[str, Any]:
    details = write_details(method.type, method.details)
    details["type"], details["status"] = str(method.type), str(method.status)
    return details


def _flat(method: Method) -> dict[str, Any]:
    """What a merchant sees of it, under one level of keys."""
    return _details(method) | {
        "default": method.default,
        "subscriptionDefault": method.subscription_default,
        "nickname": method.nickname,
    }


def _what_changed(previous: Mapping[str, Any], after: Method) -> str:
    """The reason of an update: a status is what a merchant acts on, so it comes first.

    An expiry that came with another number is not the reason: whoever takes it for that goes on showing the old number.
    """
    if "status" in previous:
        return str(after.status)
    if _NUMBER & previous.keys():
        return "DETAILS_UPDATED"
    if "expiryYear" in previous or "expiryMonth" in previous:
        return "EXPIRY_UPDATED"
    return "DETAILS_UPDATED"


# What is another where another card or account stands behind a method that stays.
_NUMBER = frozenset({"last4", "cardBrand"})


def _links_of(links: Iterable[Link], merchant: MerchantId) -> bytes:
    """The links that are the merchant's, as JSON."""
    return to_json(
        [
            {"id": link.id, "reference": link.reference, "kind": str(link.kind)}
            for link in links
            if link.merchant_id == merchant
        ]
    )
