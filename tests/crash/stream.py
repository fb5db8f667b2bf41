"""What every crash run takes in: merchants, wallets, and some three hundred updates of every kind, always the same.

`MERCHANTS` and `WALLETS` are lines as `repoint merchants import` and `repoint wallets import` read them, but for the
endpoints' URLs; `MESSAGES` are (key, value) pairs for the topic.
"""

import json
import random
from collections.abc import Iterator
from typing import Any, TypeAlias

from schemas.signature import secret

Line: TypeAlias = dict[str, Any]
Message: TypeAlias = tuple[bytes, bytes]

ROUNDS = 9
"""Of each case below, each with customers and credentials of its own: 300 updates and a few."""

_ALL = ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED"]
# The URL of an endpoint is its id under the receiver's address.
MERCHANTS: list[Line] = [
    {"id": merchant, "name": merchant, "endpoints": [{"id": id_, "eventTypes": names} for id_, names in endpoints]}
    for merchant, endpoints in {
        "m1": [("m1-books", _ALL), ("m1-shop", _ALL)],
        "m2": [("m2-shop", _ALL)],
        "m3": [("m3-shop", _ALL[:2])],
    }.items()
]
SECRET = secret(bytes(range(32)))


def _id(kind: int, number: int) -> str:
    return f"{kind:08d}-0000-4000-8000-{number:012d}"


def _last4(token: str) -> str:
    """Whoever tells of a card, tells the same."""
    return f"{sum(token.encode()):04d}"


class _Stream:
    """Collects the wallets and messages of the cases."""

    def __init__(self) -> None:
        self.wallets: list[Line] = []
        self.messages: list[Message] = []
        self._methods = self._links = self._updates = 0

    def wallet(self, customer: str, *methods: Line, merchants: tuple[str, ...] = ("m1", "m2")) -> None:
        """The first method is the default; each has a link that moves for every merchant, and one that does not."""
        links = [
            {
                "id": _id(3, self._count_link()),
                "merchantId": merchant,
                "paymentMethodId": each["id"],
                "kind": kind,
                "reference": f"{kind}-{merchant}-{each['nickname']}",
                "status": status if each["status"] == "ACTIVE" else "CANCELLED",
            }
            for each in methods
            for merchant in merchants
            for kind, status in (("SUBSCRIPTION", "ACTIVE"), ("RECURRING", "PAUSED"), ("PAYMENT_PLAN", "CANCELLED"))
        ]
        if methods[0]["status"] == "ACTIVE":
            methods[0].update(default=True, subscriptionDefault=True)
        self.wallets.append(
            {
                "id": _id(1, len(self.wallets)),
                "customer": {"enterpriseId": customer, "metadata": {"patientId": f"rx-{customer}"}},
                "merchants": list(merchants),
                "paymentMethods": list(methods),
                "paymentLinks": links,
            }
        )

    def method(self, *tokens: str, type_: str = "CARD", status: str = "ACTIVE") -> Line:
        """A method with these credentials, `vendor:token`."""
        self._methods += 1
        card = {
            "cardBrand": "VISA",
            "expiryMonth": 6,
            "expiryYear": 2026,
            "nameOnCard": "John Doe",
            "zipCode": "12345",
            "manufacturerCard": False,
        }
        account = {"accountType": "CHECKING", "nameOnAccount": "John Doe", "bankName": None}
        return {
            "id": _id(2, self._methods),
            "type": type_,
            "status": status,
            "credentials": [dict(zip(("vendor", "token"), token.split(":"), strict=True)) for token in tokens],
            "details": {"last4": _last4(tokens[0].split(":")[1])} | (account if type_ == "BANK_ACCOUNT" else card),
            "nickname": f"no. {self._methods}",
            "default": False,
            "subscriptionDefault": False,
        }

    def replaced(self, old: str, new: str, /, *, day: int, **more: Any) -> Line:
        """`old` and `new` are tokens of one vendor, `vendor:token`."""
        token = new.split(":")[1]
        look = {"last4": _last4(token), "brand": "VISA", "expiryMonth": 12, "expiryYear": 2029}
        more["new"] = {"token": token, **look, **more.get("new", {})}
        return self.told("NUMBER_REPLACED", old, day=day, **more)

    def told(self, type_: str, old: str, /, *, day: int, **more: Any) -> Line:
        self._updates += 1
        vendor, token = old.split(":")
        update = {
            "id": f"{vendor}-{self._updates:05d}",
            "vendor": vendor,
            "type": type_,
            "occurredAt": f"2026-03-{day:02d}T09:00:00Z",
            **more,
        }
        update["old"] = {"token": token, **more.get("old", {})}
        self.send(old, json.dumps(update).encode())
        return update

    def again(self, update: Line, **other: Any) -> None:
        """Under the same key, with these values in place of the update's own."""
        key = f"{update['vendor']}:{update['old']['token']}"
        self.send(key, json.dumps(update | other).encode())

    def send(self, key: str, value: bytes) -> None:
        self.messages.append((key.encode(), value))

    def _count_link(self) -> int:
        self._links += 1
        return self._links


# --- the cases ----------------------------------------------------------------------------------------------------


def _chain_told_backwards(stream: _Stream, n: int) -> None:
    stream.wallet(f"chain-{n}", stream.method(f"vau:cA{n}"), stream.method(f"vau:cZ{n}"))
    stream.replaced(f"vau:cC{n}", f"vau:cD{n}", day=3, reason="EXPIRED")
    stream.replaced(f"vau:cB{n}", f"vau:cC{n}", day=2)
    stream.replaced(f"vau:cA{n}", f"vau:cB{n}", day=1, reason="LOST_OR_STOLEN")


def _told_again(stream: _Stream, n: int) -> None:
    """The same message, the same change under another id, and later once more."""
    stream.wallet(f"again-{n}", stream.method(f"vau:aA{n}"), merchants=("m1", "m2", "m3"))
    first = stream.replaced(f"vau:aA{n}", f"vau:aB{n}", day=2)
    stream.again(first)
    stream.again(first, id=f"again-{n}")
    stream.again(first, id=f"late-{n}", occurredAt="2026-04-20T09:00:00Z")


def _told_by_two_vendors(stream: _Stream, n: int) -> None:
    stream.wallet(f"two-{n}", stream.method(f"vau:tA{n}", f"mdes:tA{n}"))
    stream.replaced(f"vau:tA{n}", f"vau:tB{n}", day=2)
    stream.replaced(f"mdes:tA{n}", f"mdes:tB{n}", day=4)


def _fork(stream: _Stream, n: int) -> None:
    stream.wallet(f"fork-{n}", stream.method(f"vau:fA{n}"))
    stream.replaced(f"vau:fA{n}", f"vau:fC{n}", day=5)
    stream.replaced(f"vau:fA{n}", f"vau:fB{n}", day=2)


def _reversal(stream: _Stream, n: int) -> None:
    stream.wallet(f"reversal-{n}", stream.method(f"vau:rA{n}"))
    stream.replaced(f"vau:rA{n}", f"vau:rB{n}", day=2)
    stream.replaced(f"vau:rB{n}", f"vau:rA{n}", day=6)


def _both_there(stream: _Stream, n: int) -> None:
    stream.wallet(f"both-{n}", stream.method(f"vau:bA{n}"), stream.method(f"vau:bB{n}"), merchants=("m1", "m3"))
    stream.replaced(f"vau:bA{n}", f"vau:bB{n}", day=2)


def _in_place(stream: _Stream, n: int) -> None:
    token = f"vau:iA{n}"
    stream.wallet(f"place-{n}", stream.method(token), stream.method(f"vau:iB{n}"), merchants=("m1", "m2", "m3"))
    stream.told("EXPIRY_UPDATED", token, day=2, new={"expiryMonth": 3, "expiryYear": 2031})
    stream.told("DETAILS_UPDATED", token, day=3, new={"zipCode": "54321", "nameOnCard": "Joan Doe"})
    stream.told("SUSPENDED", token, day=4)
    stream.told("RESUMED", token, day=5)
    stream.told("CLOSED", f"vau:iB{n}", day=5)


def _shared(stream: _Stream, n: int) -> None:
    """One card in two wallets; the second replacement is about one customer."""
    stream.wallet(f"shared-{n}", stream.method(f"vau:sA{n}"))
    stream.wallet(f"sharing-{n}", stream.method(f"vau:sA{n}"), merchants=("m2", "m3"))
    stream.replaced(f"vau:sA{n}", f"vau:sB{n}", day=2)
    stream.replaced(f"vau:sB{n}", f"vau:sC{n}", day=3, customer={"enterpriseId": f"sharing-{n}"})


def _merged(stream: _Stream, n: int) -> None:
    """Both hold one card, and one of them another; all are replaced, and the wallets become one."""
    stream.wallet(f"from-{n}", stream.method(f"vau:mX{n}"), stream.method(f"vau:mA{n}"), merchants=("m1", "m2"))
    stream.wallet(f"into-{n}", stream.method(f"vau:mA{n}"), merchants=("m2", "m3"))
    stream.replaced(f"vau:mA{n}", f"vau:mB{n}", day=2)
    stream.replaced(f"vau:mX{n}", f"vau:mY{n}", day=3)
    merge = {
        "id": f"merge-{n}",
        "vendor": "crm",
        "type": "WALLET_MERGED",
        "occurredAt": "2026-03-03T09:00:00Z",
        "from": {"enterpriseId": f"from-{n}"},
        "into": {"enterpriseId": f"into-{n}"},
    }
    stream.send(f"crm:from-{n}", json.dumps(merge).encode())
    stream.told("CONTACT_CARDHOLDER", f"vau:mY{n}", day=7)


def _bank_account(stream: _Stream, n: int) -> None:
    stream.wallet(f"bank-{n}", stream.method(f"ach:kA{n}", type_="BANK_ACCOUNT"))
    stream.replaced(
        f"ach:kA{n}",
        f"ach:kB{n}",
        day=2,
        reason="BANK_CHANGE",
        old={"methodType": "BANK_ACCOUNT"},
        new={"accountType": "SAVINGS", "bankName": "First Bank"},
    )


def _of_no_effect(stream: _Stream, n: int) -> None:
    """Removed by the customer, known to nobody, of a stranger, of another type, no change, an id used twice."""
    stream.wallet(f"calm-{n}", stream.method(f"vau:nA{n}"), stream.method(f"vau:nR{n}", status="DELETED"))
    stream.replaced(f"vau:nR{n}", f"vau:nS{n}", day=2)
    stream.replaced(f"vau:nU{n}", f"vau:nV{n}", day=2)
    stream.replaced(f"vau:nA{n}", f"vau:nB{n}", day=2, customer={"enterpriseId": "a stranger"})
    stream.replaced(f"vau:nA{n}", f"vau:nT{n}", day=2, old={"methodType": "BANK_ACCOUNT"})
    first = stream.told("NO_CHANGE", f"vau:nA{n}", day=2)
    stream.again(first, type="OPTED_OUT")


def _unreadable(stream: _Stream, n: int) -> None:
    stream.send(f"vau:u{n}", b'{"id": "%d", "vendor": "vau", "type": "CLOSED"' % n)
    stream.send(f"vau:u{n}", json.dumps({"id": f"u-{n}", "vendor": "vau", "note": "4111 1111 1111 1111"}).encode())


_CASES = (
    _chain_told_backwards,
    _told_again,
    _told_by_two_vendors,
    _fork,
    _reversal,
    _both_there,
    _in_place,
    _shared,
    _merged,
    _bank_account,
    _of_no_effect,
    _unreadable,
)


def _made() -> _Stream:
    stream = _Stream()
    for n in range(ROUNDS):
        for case in _CASES:
            case(stream, n)
    # so that what belongs together comes in different batches, chains in any order
    random.Random(20).shuffle(stream.messages)
    return stream


_stream = _made()
WALLETS: list[Line] = _stream.wallets
MESSAGES: list[Message] = _stream.messages


def merchants_at(url: str) -> Iterator[Line]:
    """The merchants, with endpoints under `url`."""
    for merchant in MERCHANTS:
        endpoints = [each | {"url": f"{url}{each['id']}", "secret": SECRET} for each in merchant["endpoints"]]
        yield merchant | {"endpoints": endpoints}
