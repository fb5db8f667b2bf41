"""Where tests hand messages in as Kafka would, and look at what became of them.

Wallets, methods and links are given names by the tests (`tests.domain.build`); the database wants UUIDs. Each name
has one of its own, and what is read back has its name again. What Repoint made itself keeps the id that it was given.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid5

from aiokafka import ConsumerRecord
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, BatchResult, take_in
from consumers.letters import Message
from domain.update import Credential, Scope, Stamp, Update, UpdateType
from domain.wallet import Key, Link, Method, Wallet
from schemas.wallet import write_wallet
from store import merchants, wallets
from store.knowledge import Contended
from wallets.change import Retention
from wallets.importing import import_wallets

RETENTION = Retention(known=timedelta(days=800), unknown=timedelta(hours=72))
EVERYTHING = ("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED")

_NAMES = UUID("c4d2d8a6-52a4-4c1a-9a0a-5b7c2f6f4f10")

T = TypeVar("T")


class Delivery(NamedTuple):
    endpoint_id: str
    sequence: int
    status: str


class Harness:
    def __init__(self, engine: AsyncEngine, topic: str = "updates") -> None:
        self.engine = engine
        self.topic = topic
        self.offsets: Counter[int] = Counter()
        self._names: dict[str, str] = {}

    # --- handing in -----------------------------------------------------------------------------------------------

    def message(
        self,
        content: Update | Mapping[str, Any] | bytes | None,
        *,
        partition: int = 0,
        offset: int | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> Message:
        """The next message of the partition, or the one at `offset`."""
        if offset is None:
            offset = self.offsets[partition]
        self.offsets[partition] = max(self.offsets[partition], offset + 1)
        if isinstance(content, Update):
            content = written(content)
        value = json.dumps(content).encode() if isinstance(content, Mapping) else content
        return ConsumerRecord(self.topic, partition, offset, 0, 0, key, value, None, 0, 0, tuple(headers))

    async def report(self, *contents: Update | Mapping[str, Any] | bytes, partition: int = 0) -> BatchResult:
        """Hand `contents` in as one batch."""
        return await self.take_in([self.message(content, partition=partition) for content in contents])

    async def take_in(
        self, messages: Sequence[Message], at: Callable[[BatchPoint], None] = lambda _: None
    ) -> BatchResult:
        """One batch, with the credentials it asks for if it asks for some."""
        within_reach: frozenset[Key] = frozenset()
        for _ in range(5):
            try:
                return await take_in(self.engine, messages, RETENTION, within_reach=within_reach, on_point=at)
            except Contended as more:
                within_reach |= more.keys
        raise AssertionError("contended for no reason")

    async def add_merchants(self, *ids: str, endpoints: Mapping[str, Iterable[str]] | None = None) -> None:
        """Merchants, each with an endpoint of its own name that is told everything, or as `endpoints` says."""
        told = dict.fromkeys(ids, EVERYTHING) if endpoints is None else endpoints
        async with self.engine.begin() as connection:
            assert not await merchants.put(
                connection,
                [(each, each.title()) for each in ids],
                [
                    merchants.NewEndpoint(
                        endpoint, endpoint.split("/")[0], "http://127.0.0.1:9/", "sealed:0:", list(names)
                    )
                    for endpoint, names in told.items()
                ],
            )

    async def import_wallets(self, *brought: Wallet, of: int = 1000) -> None:
        """Import the wallets, by batches `of` so many; their merchants are signed up."""
        ids = sorted({merchant for wallet in brought for merchant in wallet.merchants})
        async with self.engine.begin() as connection:
            new = set(ids) - await merchants.known(connection, ids)
        await self.add_merchants(*sorted(new))
        stored = [self.stored(wallet) for wallet in brought]
        async with self.engine.begin() as connection:
            await import_wallets(connection, in_batches(stored, of), RETENTION)

    # --- looking --------------------------------------------------------------------------------------------------

    async def rows(self, statement: str, **values: object) -> Sequence[Any]:
        async with self.engine.begin() as connection:
            done = await connection.execute(text(statement), values)
            return done.all() if done.returns_rows else ()

    async def outcomes(self) -> list[tuple[str, str, str | None]]:
        """(update id, outcome, reason) of every row of the inbox, in the order of their coming."""
        rows = await self.rows("SELECT update_id, outcome, reason FROM inbox ORDER BY partition, kafka_offset, id")
        return [(row.update_id, row.outcome, row.reason) for row in rows]

    async def outcome(self, update_id: str) -> tuple[str, str | None]:
        """Of the original."""
        (row,) = await self.rows("SELECT outcome, reason FROM inbox WHERE original AND update_id = :id", id=update_id)
        return row.outcome, row.reason

    async def dead_letters(self) -> Sequence[Any]:
        return await self.rows(
            "SELECT topic, partition, kafka_offset AS offset, reason, message_key AS key, body FROM dead_letters"
            " ORDER BY partition, kafka_offset"
        )

    async def wallets(self, *names: str) -> dict[str, Wallet]:
        """By name; all of them if none is named."""
        async with self.engine.begin() as connection:
            if names:
                found = await wallets.load(connection, [self.id_of(name) for name in names])
            else:
                found = await wallets.page(connection)
        return {self.name_of(wallet.id): _renamed(wallet, self.name_of) for wallet in found}

    async def wallet(self, customer: str = "e1") -> Wallet:
        """That of the customer of this enterpriseId, if it was given none of another name."""
        (found,) = (await self.wallets(f"w-{customer}")).values()
        return found

    async def exported(self) -> str:
        async with self.engine.begin() as connection:
            return "".join(write_wallet(wallet) + "\n" for wallet in await wallets.page(connection))

    async def events(self, merchant: str, wallet: str = "w-e1") -> list[dict[str, Any]]:
        """The bodies that a merchant is told of a wallet, in order."""
        rows = await self.rows(
            "SELECT body FROM events WHERE merchant_id = :merchant AND wallet_id = :wallet ORDER BY sequence",
            merchant=merchant,
            wallet=self.id_of(wallet),
        )
        return [json.loads(row.body) for row in rows]

    async def told(self, merchant: str, wallet: str = "w-e1") -> list[tuple[str, str]]:
        """(name, payment method by name) of each event."""
        return [
            (each["name"].removeprefix("PAYMENT_METHOD_"), self.name_of(each["payload"]["paymentMethod"]["id"]))
            for each in await self.events(merchant, wallet)
        ]

    async def deliveries(self, wallet: str = "w-e1") -> list[Delivery]:
        rows = await self.rows(
            "SELECT endpoint_id, sequence, status FROM deliveries WHERE wallet_id = :wallet"
            " ORDER BY endpoint_id, sequence",
            wallet=self.id_of(wallet),
        )
        return [Delivery(*row) for row in rows]

    # --- names ----------------------------------------------------------------------------------------------------

    def id_of(self, name: str) -> str:
        id_ = str(uuid5(_NAMES, name))
        self._names[id_] = name
        return id_

    def name_of(self, id_: str) -> str:
        return self._names.get(id_, id_)

    def stored(self, wallet: Wallet) -> Wallet:
        return _renamed(wallet, self.id_of)


def written(update: Update) -> dict[str, Any]:
    """The message that is read as `update`; only for what a vendor can say, who names no other vendor's tokens."""
    stamp = update.stamp
    message: dict[str, Any] = {
        "id": stamp.update_id,
        "vendor": stamp.vendor,
        "type": update.type.value,
        "occurredAt": stamp.occurred_at.isoformat(),
    }
    if update.type is UpdateType.WALLET_MERGED:
        return message | {"from": _customer(update.merge_from), "into": _customer(update.merge_into)}
    assert update.old is not None
    new = update.new
    named = new.credential
    if named is not None and named.alias is not None and named.alias in update.old.keys:
        named = Credential(named.alias, named.key)  # the token stays
    said = {
        **_credential(named, stamp.vendor),
        "last4": new.last4,
        "brand": new.brand,
        "expiryMonth": None if new.expiry is None else new.expiry.month,
        "expiryYear": None if new.expiry is None else new.expiry.year,
        "par": new.par,
        **{_DETAILS[name]: value for name, value in new.details.items() if name in _DETAILS},
    }
    message |= {"reason": update.reason.value, "old": _credential(update.old, stamp.vendor), "new": said}
    if update.method_type is not None:
        message["old"]["methodType"] = update.method_type.value
    if update.scope:
        message["customer"] = _customer(update.scope)
    return message


_DETAILS = {
    "holder_name": "name",
    "zip_code": "zipCode",
    "account_type": "accountType",
    "bank_name": "bankName",
    "manufacturer_card": "manufacturerCard",
}


def can_be_written(update: Update) -> bool:
    """Whether a vendor can say it: of tokens of its own, and an expiry where it says that the expiry changed."""
    tokens = [key for key in update.keys if not key.startswith(":")]
    if update.type is UpdateType.EXPIRY_UPDATED and update.new.expiry is None:
        return False
    return all(key.split(":")[0] == update.stamp.vendor for key in tokens)


def merging(source: Scope, target: Scope, *, on: datetime | None = None, id: str = "merge") -> Update:  # noqa: A002
    at = on or datetime(2026, 6, 1, tzinfo=UTC)
    return Update(Stamp(at, "crm", id), UpdateType.WALLET_MERGED, old=None, merge_from=source, merge_into=target)


async def in_batches(all_of_them: Sequence[T], of: int) -> AsyncIterator[Sequence[T]]:
    for start in range(0, len(all_of_them), of):
        yield all_of_them[start : start + of]


def _credential(credential: Credential | None, vendor: str) -> dict[str, str]:
    named = {}
    for key in credential.keys if credential is not None else ():
        told_by, name = key.split(":", 1)
        assert told_by in {"", vendor}, f"{vendor} does not know {key}"
        named["token" if told_by else "fingerprint"] = name
    return named


def _customer(scope: Scope) -> dict[str, Any]:
    metadata = {name.removeprefix("metadata."): value for name, value in scope if name.startswith("metadata.")}
    return {name: value for name, value in scope if not name.startswith("metadata.")} | {"metadata": metadata}


def _renamed(wallet: Wallet, name: Callable[[str], str]) -> Wallet:
    def maybe(id_: str | None) -> str | None:
        return None if id_ is None else name(id_)

    def method(each: Method) -> Method:
        return each._replace(id=name(each.id), replaced_by=maybe(each.replaced_by))

    def link(each: Link) -> Link:
        return each._replace(id=name(each.id), method_id=name(each.method_id))

    return wallet._replace(
        id=name(wallet.id),
        methods=tuple(map(method, wallet.methods)),
        links=tuple(map(link, wallet.links)),
        merged_into=maybe(wallet.merged_into),
    )
