#!/usr/bin/env python3
"""Make the example files: merchants, their customers' wallets, and a feed of vendor updates; the same on each run.

`repoint demo` plays the first wallet, beginning with the first update.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

HERE = Path(__file__).parent
BEGIN = datetime(2026, 11, 20, 9, 14, 13, 512_000, tzinfo=UTC)
MERCHANTS = {"m-pharmacy": "Pharmacy", "m-streaming": "Streaming", "m-gym": "Gym"}
EVENTS = ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED"]
REASONS = ["EXPIRED", "LOST_OR_STOLEN", "REISSUED", "NETWORK_UPDATE"]
# Which vendors report on which payment methods: two card updaters, a token service, the banks' notices of change.
CARD_VENDORS, WALLET_VENDOR, BANK_VENDOR, PROCESSOR = ("vau", "abu"), "mdes", "nacha", "psp"

Json = dict[str, Any]
Story = list[Json | str]

chance = Random(20261120)  # noqa: S311 - made-up data, the same on each run
wallets: list[Json] = []
stories: list[Story] = []
_update_counts: dict[str, int] = {}


def uuid() -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


def token() -> str:
    return f"tok_{chance.getrandbits(40):010x}"


def digits(count: int) -> str:
    return f"{chance.randrange(10**count):0{count}}"


# --- wallets ------------------------------------------------------------------------------------------------------


def card(vendor: str | None = None) -> Json:
    vendor = vendor or chance.choice(CARD_VENDORS)
    return method(
        "CARD",
        vendor,
        last4=digits(4),
        cardBrand="VISA" if vendor == "vau" else "MASTERCARD",
        expiryMonth=chance.randint(1, 12),
        expiryYear=2026,
        nameOnCard=f"Cardholder {len(wallets) + 1}",
        zipCode=digits(5),
        manufacturerCard=False,
    )


def bank_account() -> Json:
    return method(
        "BANK_ACCOUNT",
        BANK_VENDOR,
        last4=digits(4),
        accountType=chance.choice(["CHECKING", "SAVINGS"]),
        nameOnAccount=f"Account holder {len(wallets) + 1}",
        bankName="First Example Bank",
    )


def digital_wallet() -> Json:
    return method("DIGITAL_WALLET", WALLET_VENDOR, last4=digits(4), cardBrand="VISA", expiryMonth=6, expiryYear=2027)


def method(kind: str, vendor: str, **details: object) -> Json:
    return {
        "id": uuid(),
        "type": kind,
        "status": "ACTIVE",
        "credentials": [{"vendor": vendor, "token": token()}],
        "fingerprint": f"fp_{chance.getrandbits(48):012x}",
        "par": None,
        "details": details,
        "nickname": None,
        "default": False,
        "subscriptionDefault": False,
        "replacedBy": None,
        "deletedReason": None,
    }


def link(merchant: str, to: Json, kind: str, reference: str, status: str = "ACTIVE") -> Json:
    return {
        "id": uuid(),
        "merchantId": merchant,
        "paymentMethodId": to["id"],
        "kind": kind,
        "reference": reference,
        "status": status,
    }


def wallet(*methods: Json, links: list[Json] | None = None, merchants: Iterable[str] = ()) -> Json:
    """A wallet whose first method is the default. Without `links`, each merchant has a link to that method."""
    number = len(wallets) + 1
    shared = sorted(merchants) or sorted(chance.sample(sorted(MERCHANTS), chance.choice([1, 2, 2, 3])))
    methods[0]["default"] = methods[0]["subscriptionDefault"] = True
    if links is None:
        kinds = ["SUBSCRIPTION", "SUBSCRIPTION", "RECURRING", "SAVED_INSTRUCTION", "PAYMENT_PLAN"]
        links = [link(id_, methods[0], chance.choice(kinds), f"ref_{number}_{id_[2:]}") for id_ in shared]
    new_wallet = {
        "id": uuid(),
        "customer": {
            "enterpriseId": f"e-{number:04}",
            "hsid": f"h-{number:04}",
            "dateOfBirth": None,
            "metadata": {"patientId": f"rx-{number:04}"},
        },
        "merchants": shared,
        "paymentMethods": list(methods),
        "paymentLinks": links,
    }
    wallets.append(new_wallet)
    return new_wallet


# --- updates ------------------------------------------------------------------------------------------------------


def update(kind: str, old: Json, new: Json | None = None, *, later: float = 0, **fields: object) -> Json:
    """An update about the payment method `old`, `later` hours after the beginning."""
    vendor, old_token = old["credentials"][0]["vendor"], old["credentials"][0]["token"]
    at = BEGIN + timedelta(hours=later, seconds=chance.randrange(3600), milliseconds=chance.randrange(1000))
    message: Json = {"id": new_id(vendor), "vendor": vendor, "type": kind, "occurredAt": moment(at)}
    message["old"] = {"token": old_token, "methodType": old["type"]}
    if new is not None:
        message["new"] = new
    return message | fields


def moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(vendor: str) -> str:
    _update_counts[vendor] = _update_counts.get(vendor, 0) + 1
    return f"{vendor}-2026-11-20-{_update_counts[vendor]:06}"


def successor(old: Json) -> Json:
    """The method that replaces `old`, as a vendor reports it."""
    new: Json = {"token": token(), "methodType": old["type"], "last4": digits(4)}
    if old["type"] == "BANK_ACCOUNT":
        return new | {"bankName": "Second Example Bank", "accountType": old["details"]["accountType"]}
    expiry = {"expiryMonth": chance.randint(1, 12), "expiryYear": 2029}
    return new | {"brand": old["details"]["cardBrand"], **expiry}


def replaced(old: Json, new: Json | None = None, *, later: float = 0) -> Json:
    reason = "BANK_CHANGE" if old["type"] == "BANK_ACCOUNT" else chance.choice(REASONS)
    return update("NUMBER_REPLACED", old, new or successor(old), later=later, reason=reason)


def repeated(report: Json, *, days: float) -> Json:
    """A second report of the same change, `days` later and under another id."""
    at = datetime.fromisoformat(report["occurredAt"]) + timedelta(days=days)
    return report | {"id": new_id(report["vendor"]), "occurredAt": moment(at)}


def as_method(old: Json, new: Json) -> Json:
    """The method that `new` reports, as the `old` of a further update."""
    return {
        "type": old["type"],
        "details": {"cardBrand": new.get("brand"), "accountType": new.get("accountType")},
        "credentials": [{"vendor": old["credentials"][0]["vendor"], "token": new["token"]}],
    }


# --- stories ------------------------------------------------------------------------------------------------------


def demo_customer() -> Story:
    """A lost card that three merchants charge; the updater reports it again forty days later."""
    old = card("vau")
    old["details"] |= {"last4": "1234", "expiryMonth": 12, "nameOnCard": "John Doe", "zipCode": "12345"}
    old["nickname"] = "Personal Card"
    links = [
        link("m-pharmacy", old, "SUBSCRIPTION", "sub_123"),
        link("m-streaming", old, "SUBSCRIPTION", "family-plan"),
        link("m-gym", old, "RECURRING", "membership"),
        link("m-gym", old, "PAYMENT_PLAN", "rowing-course", "CANCELLED"),
    ]
    john = wallet(old, links=links, merchants=MERCHANTS)
    john["customer"]["dateOfBirth"] = "1980-01-31"
    new = successor(old) | {"last4": "5678", "expiryMonth": 12, "expiryYear": 2028}
    report = replaced(old, new) | {"reason": "LOST_OR_STOLEN"}
    return [report, repeated(report, days=40)]


def plain_replacement() -> Story:
    old = chance.choice([card, card, card, bank_account, digital_wallet])()
    gift = method("GIFT_CARD", PROCESSOR, last4=digits(4), cardBrand="GIFT")
    wallet(old, *([] if chance.randrange(10) else [gift]))
    report = replaced(old)
    repetitions = [repeated(report, days=chance.choice([1, 7, 40])) for _ in range(chance.choice([0, 0, 0, 1, 2]))]
    return [report, *repetitions]


def delivered_twice() -> Story:
    """One message, twice on the topic."""
    old = card()
    wallet(old)
    report = replaced(old)
    return [report, dict(report)]


def new_card_added_by_hand() -> Story:
    """Both cards are in the wallet when the vendor reports that the first became the second."""
    old, new = card("vau"), card("vau")
    new["details"]["expiryYear"] = 2029
    wallet(old, new)
    details = new["details"]
    face = {"token": new["credentials"][0]["token"], "methodType": "CARD", "last4": details["last4"], "brand": "VISA"}
    return [replaced(old, face | {"expiryMonth": details["expiryMonth"], "expiryYear": 2029})]


def chain_backwards() -> Story:
    """A became B, and B became C; the second is reported first."""
    a = card()
    wallet(a)
    b = successor(a)
    return [replaced(as_method(a, b), later=48), replaced(a, b)]


def shared_card() -> Story:
    """A couple has one card in two wallets: one update, two replacements."""
    old = card()
    wallet(old)
    theirs = card(old["credentials"][0]["vendor"])
    theirs |= {"credentials": old["credentials"], "fingerprint": old["fingerprint"]}
    wallet(theirs)
    return [replaced(old)]


def reported_by_two_vendors() -> Story:
    """The network and the processor report the same reissue, each under its own tokens."""
    old = card("vau")
    old["credentials"].append({"vendor": PROCESSOR, "token": token()})
    wallet(old)
    new = successor(old)
    at_processor = old | {"credentials": old["credentials"][1:]}
    return [replaced(old, new), replaced(at_processor, new | {"token": token()}, later=2)]


def expiry_only() -> Story:
    """Sometimes an older expiry comes after the newer one, and changes nothing."""
    old = card()
    wallet(old)
    newer = update("EXPIRY_UPDATED", old, {"expiryMonth": 12, "expiryYear": 2029})
    older = update("EXPIRY_UPDATED", old, {"expiryMonth": 12, "expiryYear": 2028}, later=2)
    return [newer] if chance.randrange(5) else [newer, older]


def closed_account() -> Story:
    old = chance.choice([card, bank_account])()
    wallet(old)
    return [update("CLOSED", old)]


def suspended_and_resumed() -> Story:
    """The resumption is reported first, so the suspension is out of date when it comes."""
    old = digital_wallet()
    wallet(old)
    return [update("RESUMED", old, later=5), update("SUSPENDED", old)]


def contact_cardholder() -> Story:
    old = card()
    wallet(old)
    return [update("CONTACT_CARDHOLDER", old)]


def no_change() -> Story:
    old = card()
    wallet(old)
    return [update(kind, old) for kind in chance.sample(["NO_CHANGE", "NO_MATCH", "OPTED_OUT"], 2)]


def unknown_card() -> Story:
    """No wallet has it (yet)."""
    return [replaced(card())]


def other_customers_card() -> Story:
    """The vendor names a customer whose card it is not."""
    old = card()
    wallet(old)
    return [replaced(old) | {"customer": {"enterpriseId": "e-9999"}}]


def other_account() -> Story:
    """The payment account references contradict the vendor."""
    old = card("vau")
    old["par"] = f"V{digits(28)}"
    wallet(old)
    return [replaced(old, successor(old) | {"par": f"V{digits(28)}"})]


def id_used_twice() -> Story:
    first, second = card("abu"), card("abu")
    wallet(first, second)
    report = replaced(first)
    return [report, replaced(second) | {"id": report["id"]}]


def wallets_merged() -> Story:
    """Two wallets belong to one customer."""
    first, second = wallet(card(), merchants=["m-pharmacy"]), wallet(card(), merchants=["m-streaming"])
    merge_from = {"enterpriseId": first["customer"]["enterpriseId"]}
    merge_into = {"enterpriseId": second["customer"]["enterpriseId"]}
    message = {"id": new_id("crm"), "vendor": "crm", "type": "WALLET_MERGED"}
    message["occurredAt"] = moment(BEGIN + timedelta(hours=1))
    return [message | {"from": merge_from, "into": merge_into}]


def with_a_card_number() -> Story:
    """A test number of the networks', where a token belongs."""
    old = card("vau")
    wallet(old)
    return [replaced(old, successor(old) | {"token": "4111111111111111"})]


def broken() -> Story:
    """Half a line, and an update without its date."""
    old = card()
    wallet(old)
    report = replaced(old)
    undated = {key: value for key, value in replaced(old).items() if key != "occurredAt"}
    return [json.dumps(report)[:90], undated]


HOW_MANY: list[tuple[Callable[[], Story], int]] = [
    (plain_replacement, 120),
    (delivered_twice, 12),
    (new_card_added_by_hand, 8),
    (chain_backwards, 5),
    (shared_card, 3),
    (reported_by_two_vendors, 8),
    (expiry_only, 25),
    (closed_account, 10),
    (suspended_and_resumed, 4),
    (contact_cardholder, 4),
    (no_change, 12),
    (unknown_card, 6),
    (other_customers_card, 2),
    (other_account, 1),
    (id_used_twice, 1),
    (wallets_merged, 1),
    (with_a_card_number, 1),
    (broken, 1),
]


def interleaved(all_stories: list[Story]) -> list[Json | str]:
    """The messages of all stories in random order; each story keeps its own order."""
    turns = [number for number, story in enumerate(all_stories) for _ in story]
    chance.shuffle(turns)
    remaining = [iter(story) for story in all_stories]
    return [next(remaining[number]) for number in turns]


def merchant(id_: str, name: str) -> Json:
    secret = "whsec_" + b64encode(f"an example, no secret: {id_:<12}".encode()).decode()
    url = f"https://{name.lower()}.example/webhooks"
    return {
        "id": id_,
        "name": name,
        "endpoints": [{"id": f"ep-{id_[2:]}", "url": url, "secret": secret, "eventTypes": EVENTS}],
    }


def write(name: str, lines: Iterable[Json | str]) -> None:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    (HERE / name).write_text("".join(text + "\n" for text in texts))


if __name__ == "__main__":
    first, *later = demo_customer()
    stories += [story() for story, count in HOW_MANY for _ in range(count)]
    write("merchants.jsonl", (merchant(id_, name) for id_, name in MERCHANTS.items()))
    write("wallets.jsonl", wallets)
    write("updates.jsonl", [first, *interleaved([later, *stories])])
