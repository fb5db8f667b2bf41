"""A small world of wallets and merchants, and vendors' messages about them, for tests of the consumer."""

import itertools
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from aiokafka import ConsumerRecord
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, take_in
from consumers.letters import Message
from domain.wallet import Wallet
from schemas.wallet import read_wallet, write_wallet
from store import merchants, wallets
from store.failures import DATABASE_ERRORS, Failure, failure
from store.knowledge import Contended
from tests.store.outbox import sealed
from wallets.change import Retention
from wallets.importing import import_wallets

RETENTION = Retention(known=timedelta(days=800), unknown=timedelta(hours=72))
SECRET = "whsec_" + "A" * 32
EVERYTHING = ("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED")

JSON = dict[str, Any]


def named(name: str) -> str:
    """A UUID that is the same for the same name."""
    return str(uuid5(NAMESPACE_OID, name))


def card(name: str, *, wallet: str, token: str | None = None, **more: object) -> JSON:
    """A card known to the vendor vau as `tok_<name>`, and by the fingerprint `fp_<name>`; its id goes by both names."""
    return {
        "id": named(f"{wallet}/{name}"),
        "type": "CARD",
        "status": "ACTIVE",
        "credentials": [{"vendor": "vau", "token": token or f"tok_{name}"}],
        "fingerprint": f"fp_{name}",
        "details": {"last4": "1234", "cardBrand": "VISA", "expiryMonth": 12, "expiryYear": 2026},
        **more,
    }


def link(method: str, *, wallet: str, merchant: str = "shop", status: str = "ACTIVE") -> JSON:
    return {
        "id": named(f"link/{wallet}/{method}/{merchant}/{status}"),
        "merchantId": merchant,
        "paymentMethodId": named(f"{wallet}/{method}"),
        "kind": "SUBSCRIPTION",
        "reference": f"sub-{wallet}-{merchant}",
        "status": status,
    }


def wallet(
    name: str, *methods: JSON, links: Sequence[JSON] = (), told: Sequence[str] = ("shop",), **customer: object
) -> JSON:
    """The wallet of the customer whose enterpriseId is its name."""
    return {
        "id": named(name),
        "customer": {"enterpriseId": name, **customer},
        "merchants": list(told),
        "paymentMethods": list(methods),
        "paymentLinks": list(links),
    }


_ids = itertools.count(1)


def update(kind: str, old: str | None, *, day: int = 1, vendor: str = "vau", **more: Any) -> JSON:
    """What `vendor` tells of the card `old`, under an id of its own unless one is given."""
    message: JSON = {
        "id": f"{vendor}-{next(_ids):06d}",
        "vendor": vendor,
        "type": kind,
        "occurredAt": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)).isoformat(),
    }
    if old is not None:
        message["old"] = {"token": f"tok_{old}", "fingerprint": f"fp_{old}", "methodType": "CARD"}
    return message | more


def replaced(old: str, by: str, *, day: int = 1, **more: Any) -> JSON:
    told = {"token": f"tok_{by}", "fingerprint": f"fp_{by}", "methodType": "CARD", "last4": "5678", "brand": "VISA"}
    told |= {"expiryMonth": 12, "expiryYear": 2028} | more.pop("new", {})
    return update("NUMBER_REPLACED", old, day=day, new=told, **more)


def merged(source: str, target: str) -> JSON:
    named = {"from": {"enterpriseId": source}, "into": {"enterpriseId": target}}
    return update("WALLET_MERGED", None, vendor="crm") | named


class World:
    """The database of one test, and the topic that its messages come from."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._offsets = itertools.count()

    async def merchants(self, *names: str, event_types: Sequence[str] = EVERYTHING) -> None:
        """Merchants with one endpoint each, called `to-<name>`."""
        async with self.engine.begin() as connection:
            await merchants.put(
                connection,
                [(name, name.title()) for name in names],
                [
                    merchants.NewEndpoint(
                        f"to-{name}", name, "http://localhost/", sealed(SECRET, f"to-{name}"), event_types
                    )
                    for name in names
                ],
            )

    async def wallets(self, *lines: JSON) -> None:
        async def batches() -> AsyncIterator[Sequence[Wallet]]:
            yield [read_wallet(json.dumps(line)) for line in lines]

        async with self.engine.begin() as connection:
            await import_wallets(connection, batches(), RETENTION)

    def message(self, body: JSON | bytes, *, partition: int = 0, offset: int | None = None) -> Message:
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        at = next(self._offsets) if offset is None else offset
        return ConsumerRecord("updates", partition, at, 0, 0, None, value, None, 0, len(value), ())

    async def take_in(self, *bodies: JSON | bytes) -> BatchResult:
        """One batch of these messages."""
        return await self.take_messages([self.message(body) for body in bodies])

    async def take_messages(self, messages: Sequence[Message]) -> BatchResult:
        """One batch, taken again as the worker does while others are in the way."""
        within_reach: frozenset[str] = frozenset()
        while True:
            try:
                return await take_in(self.engine, messages, RETENTION, within_reach=within_reach)
            except DATABASE_ERRORS as error:
                if failure(error) is not Failure.CONTENDED:
                    raise
                if isinstance(error, Contended):
                    within_reach |= error.keys

    async def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(statement), values)]

    async def outcomes(self) -> dict[str, tuple[str, str | None]]:
        """The outcome and reason of the original of each update id."""
        rows = await self.rows("SELECT update_id, outcome, reason FROM inbox WHERE original ORDER BY id")
        return {update_id: (outcome, reason) for update_id, outcome, reason in rows}

    async def told(self) -> list[tuple[str, str, int]]:
        """(merchant, event's name, sequence), in the order of each merchant's sequence."""
        return [
            (merchant, name, sequence)
            for merchant, name, sequence in await self.rows(
                "SELECT merchant_id, name, sequence FROM events ORDER BY merchant_id, wallet_id, sequence"
            )
        ]

    async def bodies(self, merchant: str) -> list[JSON]:
        rows = await self.rows(
            "SELECT body FROM events WHERE merchant_id = :m ORDER BY wallet_id, sequence", m=merchant
        )
        return [json.loads(body) for (body,) in rows]

    async def export(self) -> list[JSON]:
        async with self.engine.connect() as connection:
            return [json.loads(write_wallet(each)) for each in await wallets.page(connection)]

    async def live(self) -> JSON:
        """What wallets are, by credential: their live methods with status, expiry, flags and links."""
        return {
            each["customer"]["enterpriseId"]: sorted(_live_methods(each), key=str)
            for each in await self.export()
            if "mergedInto" not in each
        }


def _live_methods(exported: JSON) -> Iterable[JSON]:
    for method in exported["paymentMethods"]:
        if method["status"] == "DELETED":
            continue
        details = method["details"]
        yield {
            "credentials": sorted(str(each) for each in [*method["credentials"], method["fingerprint"]]),
            "type": method["type"],
            "status": method["status"],
            "expiry": (details.get("expiryYear"), details.get("expiryMonth")),
            "flags": (method["default"], method["subscriptionDefault"]),
            "links": sorted(each["id"] for each in exported["paymentLinks"] if each["paymentMethodId"] == method["id"]),
        }
