"""Ids and tokens of digits, which `REPOINT_DIGIT_IDS` excepts from the search for card numbers.

CyberSource's tokens of 16 and 19 digits look like card numbers, check digit included, and so do some numeric
customer ids. A field is excepted by its name, and only if its whole value is digits:

    a vendor's name    `id`, `old.token`, `new.token` of its updates; its tokens in wallets; the token of a thin event
    `customer`         `enterpriseId`, `hsid` and the values of `metadata`, of customers in updates and in wallets
"""

import base64
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from domain import pan

DigitIds: TypeAlias = AbstractSet[str]
"""Vendors' names, and `CUSTOMER`."""

CUSTOMER = "customer"
NO_DIGIT_IDS: DigitIds = frozenset()

_CUSTOMERS_OF_UPDATE = ("customer", "from", "into")
_CUSTOMERS_IDS = ("enterpriseId", "hsid")


def pan_in_update(update: object, digit_ids: DigitIds) -> str | None:
    """The path of the first card number in an update, alone or in a CloudEvent, as `pan_in_json` gives it."""
    path = pan.pan_in_json(update)
    return path if path is None or not digit_ids else pan.pan_in_json(_update_without_ids(update, digit_ids))


def pan_in_wallet(wallet: object, digit_ids: DigitIds) -> str | None:
    """The path of the first card number in a line of a wallets file."""
    path = pan.pan_in_json(wallet)
    return path if path is None or not digit_ids else pan.pan_in_json(_wallet_without_ids(wallet, digit_ids))


def pan_in_thin_event(event: object, digit_ids: DigitIds) -> str | None:
    """The path of the first card number in a thin event: `feed`, requested `path`, and `record` with its token."""
    path = pan.pan_in_json(event)
    return path if path is None or not digit_ids else pan.pan_in_json(_thin_event_without_ids(event, digit_ids))


def fetch_without_ids(feed: object, path: Any, record: Any, digit_ids: DigitIds) -> tuple[Any, Any]:
    """The path and the record of a thin event, without the token that both contain."""
    token = record.get("token") if isinstance(record, Mapping) else None
    if feed not in digit_ids or not _is_digits(token) or not isinstance(path, str):
        return path, record
    return path.removesuffix(str(token)), _without(record, "token")


def _update_without_ids(update: object, digit_ids: DigitIds) -> object:
    if not isinstance(update, Mapping):
        return update
    if "specversion" in update:
        return _event_without_ids(update, digit_ids)
    remaining = dict(update)
    if update.get("vendor") in digit_ids:
        tokens = [side.get("token") for side in (update.get("old"), update.get("new")) if isinstance(side, Mapping)]
        remaining = _without(update, "id")
        remaining |= {name: _without(remaining[name], "token") for name in ("old", "new") if name in remaining}
        # some vendors' events have one id for many cards, so ours ends with the token
        for token in tokens:
            if _is_digits(token):
                remaining["id"] = str(remaining.get("id", "")).removesuffix(str(token))
    if CUSTOMER in digit_ids:
        remaining |= {
            name: _customer_without_ids(remaining[name]) for name in _CUSTOMERS_OF_UPDATE if name in remaining
        }
    return remaining


def _event_without_ids(event: Mapping[str, Any], digit_ids: DigitIds) -> object:
    """A CloudEvent, with the decoded update in place of its base64."""
    remaining = dict(event)
    if "data_base64" in remaining:
        try:
            remaining["data"] = json.loads(base64.b64decode(remaining["data_base64"], validate=True), parse_float=str)
        except (ValueError, TypeError, RecursionError):
            return event
        del remaining["data_base64"]
    update = remaining.get("data")
    if isinstance(update, Mapping) and update.get("vendor") in digit_ids:
        remaining = _without(remaining, "id")
    is_event = isinstance(update, Mapping) and "specversion" in update  # a nested CloudEvent is no update
    return {**remaining, "data": update if is_event else _update_without_ids(update, digit_ids)}


def _wallet_without_ids(wallet: object, digit_ids: DigitIds) -> object:
    if not isinstance(wallet, Mapping):
        return wallet
    remaining = dict(wallet)
    if CUSTOMER in digit_ids:
        remaining["customer"] = _customer_without_ids(wallet.get("customer"))
    methods = wallet.get("paymentMethods")
    if isinstance(methods, list):
        remaining["paymentMethods"] = [_method_without_tokens(method, digit_ids) for method in methods]
    return remaining


def _method_without_tokens(method: Any, digit_ids: DigitIds) -> Any:
    credentials = method.get("credentials") if isinstance(method, Mapping) else None
    if not isinstance(credentials, list):
        return method
    return {
        **method,
        "credentials": [
            _without(credential, "token")
            if isinstance(credential, Mapping) and credential.get("vendor") in digit_ids
            else credential
            for credential in credentials
        ],
    }


def _thin_event_without_ids(event: object, digit_ids: DigitIds) -> object:
    if not isinstance(event, Mapping):
        return event
    path, record = fetch_without_ids(event.get("feed"), event.get("path"), event.get("record"), digit_ids)
    return {**event, "path": path, "record": record}


def _customer_without_ids(customer: Any) -> Any:
    if not isinstance(customer, Mapping):
        return customer
    remaining = _without(customer, *_CUSTOMERS_IDS)
    metadata = customer.get("metadata")
    if isinstance(metadata, Mapping):
        remaining["metadata"] = _without(metadata, *metadata)
    return remaining


def _without(value: Any, *names: str) -> Any:
    """The object without values of digits under `names`. The keys stay, because a key may be a card number."""
    if not isinstance(value, Mapping):
        return value
    return {name: None if name in names and _is_digits(inner) else inner for name, inner in value.items()}


def _is_digits(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal()
