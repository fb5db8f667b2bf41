"""Which metadata names a customer, as the setting says: what is added and removed, and who has no name left."""

import json
from collections import Counter
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from store import identities
from store.identities import Followed
from tests.store.outbox import Outbox


def wallet_id(number: int) -> str:
    return str(UUID(int=number))


async def add_wallet(
    outbox: Outbox,
    number: int,
    *,
    enterprise_id: str | None = None,
    hsid: str | None = None,
    merged_into: int | None = None,
    **metadata: str,
) -> None:
    await outbox.execute(
        "INSERT INTO wallets (id, enterprise_id, hsid, metadata, merged_into)"
        " VALUES (:id, :enterprise_id, :hsid, CAST(:metadata AS jsonb), :merged_into)",
        id=UUID(int=number),
        enterprise_id=enterprise_id,
        hsid=hsid,
        metadata=json.dumps(metadata),
        merged_into=None if merged_into is None else UUID(int=merged_into),
    )
    for name, value in (("enterpriseId", enterprise_id), ("hsid", hsid)):
        if value is not None:
            await outbox.execute(
                "INSERT INTO customer_identities (name, value, wallet_id) VALUES (:name, :value, :id)",
                name=name,
                value=value,
                id=UUID(int=number),
            )


async def named(outbox: Outbox) -> list[tuple[str, str, int]]:
    rows = await outbox.execute("SELECT name, value, wallet_id FROM customer_identities ORDER BY wallet_id, name")
    return [(row.name, row.value, row.wallet_id.int) for row in rows]


async def test_the_setting_adds_and_removes_names_of_metadata_alone(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await add_wallet(outbox, 1, enterprise_id="e", tier="gold", rx="1")
    await add_wallet(outbox, 2, hsid="h", tier="gold")
    await add_wallet(outbox, 3, rx="3")
    async with engine.begin() as connection:
        followed = await identities.follow(connection, ["enterpriseId", "hsid", "metadata.rx"])
        assert followed == Followed(Counter({"metadata.rx": 2}), Counter(), [])
        assert await identities.follow(connection, ["metadata.rx"]) == Followed(Counter(), Counter(), [])
    async with engine.begin() as connection:
        followed = await identities.follow(connection, ["metadata.tier"])
        assert followed == Followed(Counter({"metadata.tier": 2}), Counter({"metadata.rx": 2}), [wallet_id(3)])
    assert await named(outbox) == [
        ("enterpriseId", "e", 1),
        ("metadata.tier", "gold", 1),
        ("hsid", "h", 2),
        ("metadata.tier", "gold", 2),
    ]


async def test_a_wallet_that_was_merged_or_has_another_name_is_not_left_without_one(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await add_wallet(outbox, 1, enterprise_id="e")
    await add_wallet(outbox, 2, hsid="h")
    await add_wallet(outbox, 3, tier="gold", merged_into=1)
    for number in (5, 4):
        await add_wallet(outbox, number, tier="gold")
    async with engine.begin() as connection:
        followed = await identities.follow(connection, ["metadata.rx"])
    assert followed.nameless == [wallet_id(4), wallet_id(5)]
