"""Bodies of events without what they say of a person: ids, names, numbers and states stay.

What stays is listed, so that a key that is added to bodies later goes by itself.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from domain.wallet import Customer
from schemas.event import write_customer
from schemas.payment_method import SECTION

_HEAD = ("id", "name", "createdAt", "version", "walletId", "sequence", "reason")
_METHOD = ("id", "default", "subscriptionDefault", "paymentMethodType")
_DETAILS = ("type", "status")
_SECTIONS = (*SECTION.values(), "paymentMethodDetails")
_LINK = ("id", "kind")
_IDS = ("deletedPaymentMethodId", "replacedByPaymentMethodId")
_NOBODY = write_customer(Customer(frozenset()))


def redacted(body: bytes) -> bytes:
    """The body of an event about a payment method, without the person. Redacting it again changes nothing."""
    event = json.loads(body)
    return to_json(_only(event, _HEAD) | {"payload": _payload(event["payload"])})


def _payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    redacted_payload: dict[str, Any] = {"paymentMethod": _method(payload["paymentMethod"]), "customer": _NOBODY}
    redacted_payload |= _only(payload, _IDS)
    if "previous" in payload:
        redacted_payload["previous"] = {}
    if "paymentLinks" in payload:
        redacted_payload["paymentLinks"] = [_only(link, _LINK) | {"reference": ""} for link in payload["paymentLinks"]]
    return redacted_payload


def _method(method: Mapping[str, Any]) -> dict[str, Any]:
    sections = {name: _only(method[name], _DETAILS) for name in _SECTIONS if name in method}
    return _only(method, _METHOD) | sections | {"nickname": None}


def _only(written: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: written[name] for name in names if name in written}
