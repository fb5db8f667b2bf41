"""The details of each type of payment method in JSON: one form for merchants and for wallets files."""

from collections.abc import Mapping
from typing import Any

from domain.wallet import Details, Expiry, MethodType

_CARD = {
    "last4": "last4",
    "cardBrand": "brand",
    "expiryMonth": "expiry_month",
    "expiryYear": "expiry_year",
    "nameOnCard": "holder_name",
    "zipCode": "zip_code",
    "manufacturerCard": "manufacturer_card",
}
FIELDS: Mapping[MethodType, Mapping[str, str]] = {
    MethodType.CARD: _CARD,
    MethodType.BANK_ACCOUNT: {
        "last4": "last4",
        "accountType": "account_type",
        "nameOnAccount": "holder_name",
        "bankName": "bank_name",
    },
    MethodType.DIGITAL_WALLET: _CARD,
    MethodType.GIFT_CARD: _CARD,
}
"""JSON key → name of the detail. `Details.extra` holds the keys that a type does not have."""

SECTION: Mapping[MethodType, str] = {
    MethodType.CARD: "card",
    MethodType.BANK_ACCOUNT: "bankAccount",
    MethodType.DIGITAL_WALLET: "digitalWallet",
    MethodType.GIFT_CARD: "giftCard",
}
"""The key of a webhook's payload under which the details stand, beside `paymentMethodDetails`."""


def write_details(method_type: MethodType, details: Details) -> dict[str, Any]:
    """Every key of the type, null if unknown. Without `extra`, which only wallets files have."""
    year, month = details.expiry or (None, None)
    values = {
        "last4": details.last4,
        "brand": details.brand,
        "expiry_month": month,
        "expiry_year": year,
        "holder_name": details.holder_name,
        "zip_code": details.zip_code,
        "manufacturer_card": details.manufacturer_card,
        "account_type": details.account_type,
        "bank_name": details.bank_name,
    }
    return {key: values[name] for key, name in FIELDS[method_type].items()}


def read_details(method_type: MethodType, written: Mapping[str, Any]) -> Details:
    """The reverse of `write_details`, for values already checked."""
    fields = FIELDS[method_type]
    values = {name: written.get(key) for key, name in fields.items()}
    month, year = values.pop("expiry_month", None), values.pop("expiry_year", None)
    return Details(
        expiry=None if month is None or year is None else Expiry(year, month),
        extra={key: value for key, value in sorted(written.items()) if key not in fields},
        **values,
    )
