"""Lines of the files that the program imports."""

from typing import Any
from uuid import UUID

from schemas.signature import secret

SECRET = secret(bytes(range(32)))
EVENTS = ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED"]

Json = dict[str, Any]


def merchant(id_: str = "m-1", url: str = "https://merchant.example/hooks", **more: object) -> Json:
    endpoint = {"id": f"ep-{id_}", "url": url, "secret": SECRET, "eventTypes": EVENTS}
    return {"id": id_, "name": f"Merchant {id_}", "endpoints": [endpoint]} | more


def method_id(number: int) -> str:
    return str(UUID(int=0x1000 + number))


def wallet(number: int = 1, *, merchants: tuple[str, ...] = ("m-1",)) -> Json:
    """A wallet with one card, whose token is `tok_<number>`, and a subscription on it for each merchant."""
    card = {
        "id": method_id(number),
        "type": "CARD",
        "status": "ACTIVE",
        "credentials": [{"vendor": "vau", "token": f"tok_{number}"}],
        "fingerprint": None,
        "par": None,
        "details": {"last4": "1234", "cardBrand": "VISA", "expiryMonth": 12, "expiryYear": 2026},
        "nickname": "Personal Card",
        "default": True,
        "subscriptionDefault": True,
        "replacedBy": None,
        "deletedReason": None,
    }
    links = [
        {
            "id": str(UUID(int=(number << 16) + at)),
            "merchantId": merchant_id,
            "paymentMethodId": card["id"],
            "kind": "SUBSCRIPTION",
            "reference": f"sub_{number}",
            "status": "ACTIVE",
        }
        for at, merchant_id in enumerate(merchants, 1)
    ]
    return {
        "id": str(UUID(int=number)),
        "customer": {"enterpriseId": f"e-{number}", "hsid": None, "dateOfBirth": None, "metadata": {}},
        "merchants": list(merchants),
        "paymentMethods": [card],
        "paymentLinks": links,
    }


def replaced(number: int, *, update_id: str | None = None, new: str | None = None) -> Json:
    """`tok_<number>` has become another card."""
    return {
        "id": update_id or f"vau-{number}",
        "vendor": "vau",
        "type": "NUMBER_REPLACED",
        "occurredAt": "2026-11-20T09:14:13.512Z",
        "old": {"token": f"tok_{number}"},
        "new": {"token": new or f"tok_{number}_new", "last4": "5678", "brand": "VISA",
                "expiryMonth": 12, "expiryYear": 2028},
    }  # fmt: skip
