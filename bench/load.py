"""Wallets and vendor updates that are made up, the same ones every time, from a number each.

A wallet has a card (default, with a link to each of its merchants), a bank account and, every second one, a digital
wallet; each with a token and a fingerprint. One merchant shares it, or two. Ids, tokens and fingerprints are random to
look at, so that neighbours by number are nowhere neighbours in an index.
"""

import json
import random
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import md5
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import asyncpg
from aiokafka import ConsumerRecord
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import databases
from consumers.letters import Message
from schemas.sealing import BUILT_IN_KEYS
from store import merchants

MERCHANTS = 50
TOPIC = "vendor.payment-method-updates"
EVENT_NAMES = ("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED")
SECRET = "whsec_" + "QUJD" * 8

# --- wallets ------------------------------------------------------------------------------------------------------

# In this order: each refers to the ones before it.
_SEED = (
    """INSERT INTO wallets (id, enterprise_id, hsid, date_of_birth, metadata)
       SELECT md5('wallet' || n)::uuid, 'e' || n, 'h' || n, '1980-01-31', jsonb_build_object('patientId', 'rx-' || n)
       FROM generate_series($1::int, $2::int) AS n""",
    """INSERT INTO customer_identities (name, value, wallet_id)
       SELECT name, value, md5('wallet' || n)::uuid
       FROM generate_series($1::int, $2::int) AS n,
            LATERAL (VALUES ('enterpriseId', 'e' || n), ('hsid', 'h' || n), ('metadata.patientId', 'rx-' || n))
                    AS identity(name, value)""",
    """INSERT INTO wallet_merchants (wallet_id, merchant_id)
       SELECT md5('wallet' || n)::uuid, 'm-' || (n + k) % $3::int
       FROM generate_series($1::int, $2::int) AS n, generate_series(0, n % 2) AS k""",
    """INSERT INTO payment_methods (id, wallet_id, type, status, last4, brand, expiry_month, expiry_year, holder_name,
                                    zip_code, manufacturer_card, account_type, bank_name, nickname, is_default,
                                    is_subscription_default)
       SELECT md5('method' || n || role)::uuid, md5('wallet' || n)::uuid, type, 'ACTIVE', '1234',
              CASE WHEN type <> 'BANK_ACCOUNT' THEN 'VISA' END, CASE WHEN type <> 'BANK_ACCOUNT' THEN 12 END,
              CASE WHEN type <> 'BANK_ACCOUNT' THEN 2026 END, 'John Doe',
              CASE WHEN type <> 'BANK_ACCOUNT' THEN '12345' END, CASE WHEN type <> 'BANK_ACCOUNT' THEN false END,
              CASE WHEN type = 'BANK_ACCOUNT' THEN 'CHECKING' END, CASE WHEN type = 'BANK_ACCOUNT' THEN 'Bank' END,
              CASE WHEN type = 'CARD' THEN 'Personal Card' END, type = 'CARD', type = 'CARD'
       FROM generate_series($1::int, $2::int) AS n,
            (VALUES ('card', 'CARD'), ('bank', 'BANK_ACCOUNT'), ('pay', 'DIGITAL_WALLET')) AS kind(role, type)
       WHERE role <> 'pay' OR n % 2 = 0""",
    """INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live)
       SELECT md5('method' || n || role)::uuid, vendor || md5(n || role || 0), md5('wallet' || n)::uuid, type, true
       FROM generate_series($1::int, $2::int) AS n,
            (VALUES ('card', 'CARD', 'vau:tok_'), ('card', 'CARD', ':fp_'),
                    ('bank', 'BANK_ACCOUNT', 'ach:tok_'), ('bank', 'BANK_ACCOUNT', ':fp_'),
                    ('pay', 'DIGITAL_WALLET', 'vts:tok_'), ('pay', 'DIGITAL_WALLET', ':fp_'))
                    AS kind(role, type, vendor)
       WHERE role <> 'pay' OR n % 2 = 0""",
    """INSERT INTO payment_links (id, wallet_id, merchant_id, payment_method_id, kind, reference, status)
       SELECT md5('link' || n || k)::uuid, md5('wallet' || n)::uuid, 'm-' || (n + k) % $3::int,
              md5('method' || n || 'card')::uuid, 'SUBSCRIPTION', 'sub_' || n, 'ACTIVE'
       FROM generate_series($1::int, $2::int) AS n, generate_series(0, n % 2) AS k""",
)
_AT_ONCE = 50_000

# What is made up keeps the rules. Foreign keys and indexes, row by row, are most of what a million wallets cost.
_WITHOUT_CHECKS = (
    "SET session_replication_role = replica",
    """UPDATE pg_index SET indisready = false, indisvalid = false
       WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)""",
)
_WITH_INDEXES = (
    "SET maintenance_work_mem = '512MB'",
    "REINDEX SCHEMA public",
    "VACUUM ANALYZE",
)


@asynccontextmanager
async def seeded(
    server: str, name: str, wallets: int, *, endpoint: str = "http://127.0.0.1:9/hooks"
) -> AsyncIterator[AsyncEngine]:
    """An engine on a new database of that name, with wallets 0 to `wallets` - 1; it goes at the end.

    There are MERCHANTS merchants, with an endpoint each.
    """
    async with databases.migrated(server, name) as engine:
        await _seed(engine, wallets, endpoint)
        yield engine


async def _seed(engine: AsyncEngine, wallets: int, endpoint: str) -> None:
    async with engine.begin() as connection:
        await merchants.put(
            connection,
            [(f"m-{number}", f"Merchant {number}") for number in range(MERCHANTS)],
            [
                merchants.NewEndpoint(
                    f"e-{number}",
                    f"m-{number}",
                    endpoint,
                    BUILT_IN_KEYS.seal(SECRET, "secret", f"e-{number}"),
                    EVENT_NAMES,
                )
                for number in range(MERCHANTS)
            ],
        )
    await _fill(engine.url.set(drivername="postgresql").render_as_string(hide_password=False), wallets)


async def _fill(url: str, wallets: int) -> None:
    """On a connection of its own, for an engine's give a statement 30 s."""
    connection = await asyncpg.connect(url)
    for statement in _WITHOUT_CHECKS:
        await connection.execute(statement)
    for first in range(0, wallets, _AT_ONCE):
        last = min(first + _AT_ONCE, wallets) - 1
        for statement in _SEED:
            numbers = (first, last, MERCHANTS) if "$3" in statement else (first, last)
            await connection.execute(statement, *numbers)
    for statement in _WITH_INDEXES:
        await connection.execute(statement)
    await connection.close()


async def analyze(engine: AsyncEngine) -> None:
    """What autovacuum would do in its own time."""
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE"))


# --- updates ------------------------------------------------------------------------------------------------------


class UpdateMessage(NamedTuple):
    """A message's key and value, and which wallet it is about."""

    key: bytes
    body: bytes
    wallet: int


def updates(first: int, count: int, wallets: int) -> Iterator[UpdateMessage]:
    """`count` updates, of which 85 in 100 replace a card; the others extend one, suspend one, or come twice.

    Wallets come in an order of chance, in which `first` says where to begin; when all have come they come again, with
    the card that they have by then.
    """
    order = _order(wallets)
    for place in range(first, first + count):
        generation, at = divmod(place, wallets)
        wallet = order[at]
        match place % 20:
            case 5:
                content = {"type": "EXPIRY_UPDATED", "new": {"expiryMonth": 12, "expiryYear": 2029 + generation}}
            case 10:
                content = {"type": "SUSPENDED"}
            case 15:
                yield _update(f"u-{place - 1}", order[at - 1], generation, _replacement(order[at - 1], generation))
                continue
            case _:
                content = _replacement(wallet, generation)
        yield _update(f"u-{place}", wallet, generation, content)


@cache
def _order(wallets: int) -> Sequence[int]:
    order = array("I", range(wallets))
    random.Random(wallets).shuffle(order)
    return order


def _update(id_: str, wallet: int, generation: int, content: dict[str, Any]) -> UpdateMessage:
    name = _name(wallet, generation)
    message: dict[str, Any] = {
        "id": id_,
        "vendor": "vau",
        "reason": "LOST_OR_STOLEN",
        "occurredAt": f"2026-11-{1 + generation:02}T09:14:13.512Z",
        "old": {"token": f"tok_{name}", "fingerprint": f"fp_{name}", "methodType": "CARD"},
    }
    return UpdateMessage(f"vau:tok_{name}".encode(), json.dumps(message | content).encode(), wallet)


def _replacement(wallet: int, generation: int) -> dict[str, Any]:
    name = _name(wallet, generation + 1)
    new = {"token": f"tok_{name}", "fingerprint": f"fp_{name}", "methodType": "CARD", "last4": "5678", "brand": "VISA"}
    return {"type": "NUMBER_REPLACED", "new": new | {"expiryMonth": 12, "expiryYear": 2028}}


def _name(wallet: int, generation: int) -> str:
    return md5(f"{wallet}card{generation}".encode(), usedforsecurity=False).hexdigest()


Polls: TypeAlias = list[list[list[Message]]]
"""What is polled at a time, shared out over the lanes."""


def polls(first: int, count: int, wallets: int, lanes: int, size: int) -> Polls:
    """`count` updates from the one at `first` on, as messages: `size` at a time, every key in one lane.

    Their place in the order of updates is their offset, in whichever partition.
    """
    polls: Polls = []
    for at, update in enumerate(updates(first, count, wallets)):
        if at % size == 0:
            polls.append([[] for _ in range(lanes)])
        key, body, _ = update
        partition = crc32(key) % lanes
        record = ConsumerRecord(TOPIC, partition, first + at, 0, 0, key, body, None, len(key), len(body), ())
        polls[-1][partition].append(record)
    return polls


def number(polls: Polls) -> int:
    """How many messages these are."""
    return sum(len(batch) for polled in polls for batch in polled)
