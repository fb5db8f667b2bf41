"""Merchants and their endpoints, as an import of a merchants file writes them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import secret
from store import deliveries, endpoints, merchants
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


@pytest.mark.parametrize("moves", [False, True], ids=["the same URL", "another URL"])
async def test_what_was_seen_of_a_server_is_forgotten_where_the_url_is_another_one(
    engine: AsyncEngine,
    moves: bool,  # noqa: FBT001
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", "http://127.0.0.1:9/")
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    await outbox.execute(
        "UPDATE endpoints SET circuit = 'OPEN', held_until = '2030-01-01Z', failing_since = '2026-01-01Z', failures = 7"
    )
    url = "http://127.0.0.1:10/" if moves else "http://127.0.0.1:9/"
    endpoint = merchants.NewEndpoint("m", "m", url, stored[0], ["PAYMENT_METHOD_REPLACED"])
    async with engine.begin() as connection:
        before = (await endpoints.read(connection))[0]
        assert await merchants.put(connection, [("m", "another name")], [endpoint]) == []
        (now,) = await endpoints.read(connection)
    kept = (now.circuit, now.held_until, now.failing_since, now.failures)
    assert kept == (("CLOSED", None, None, 0) if moves else ("OPEN", before.held_until, before.failing_since, 7))
    assert (now.url, now.event_types) == (url, ("PAYMENT_METHOD_REPLACED",))
    assert await outbox.execute("SELECT name FROM merchants") == [("another name",)]


async def test_an_endpoint_of_another_merchant_is_left_as_it_is_and_named(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    for name in ("m", "n"):
        await outbox.add_endpoint(name)
    before = await outbox.execute("SELECT * FROM endpoints ORDER BY id")
    taken = [merchants.NewEndpoint(id_, "o", "http://127.0.0.1:10/", "sealed:0:", ["X"]) for id_ in ("n", "m")]
    async with engine.begin() as connection:
        assert await merchants.put(connection, [("o", "o")], taken) == ["m", "n"]
    assert await outbox.execute("SELECT * FROM endpoints ORDER BY id") == before
