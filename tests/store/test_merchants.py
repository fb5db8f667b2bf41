"""Merchants and their endpoints, as an import of a merchants file writes them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import secret
from store import deliveries, merchants
from tests.store.outbox import Outbox, sealed

NEW, FORMER = secret(b"n" * 32), secret(b"f" * 32)


@pytest.mark.parametrize(("imported", "secrets"), [(NEW, [NEW, FORMER]), (FORMER, [FORMER])])
async def test_an_import_with_the_current_secret_keeps_the_former_one_while_secrets_rotate(
    engine: AsyncEngine, imported: str, secrets: list[str]
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", secrets=[NEW, FORMER])
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    given = stored[0] if imported == NEW else sealed(imported, "m")
    endpoint = merchants.NewEndpoint("m", "m", "http://127.0.0.1:9/", given, ["PAYMENT_METHOD_DELETED"])
    async with engine.begin() as connection:
        assert await merchants.put(connection, [("m", "m")], [endpoint]) == []
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    assert [BUILT_IN_KEYS.open(one, "secret", "m") for one in stored] == secrets


@pytest.mark.parametrize(("rate", "is_due"), [(None, True), (5.0, True), (0.001, False)])
async def test_another_rate_counts_at_once(engine: AsyncEngine, rate: float | None, is_due: bool) -> None:  # noqa: FBT001
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    await outbox.execute("UPDATE endpoints SET max_per_second = 0.001, paced_until = now() + interval '1000 seconds'")
    await outbox.tell("m", await outbox.add_wallet())
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    endpoint = merchants.NewEndpoint("m", "m", "http://127.0.0.1:9/", stored[0], ["PAYMENT_METHOD_DELETED"], rate)
    async with engine.begin() as connection:
        assert await merchants.put(connection, [("m", "m")], [endpoint]) == []
        assert await deliveries.due(connection, {}) == (["m"] if is_due else [])
