"""Endpoints that are disabled, enabled, held back and left out of a file: which of them, and what is kept of it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.signature import secret
from store import endpoints, merchants
from tests.store.outbox import Outbox


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    outbox = Outbox(engine)
    for name in ("gym", "shop", "spa"):
        await outbox.add_endpoint(name)
    return outbox


async def states(connection: AsyncConnection) -> dict[str, Any]:
    """(is enabled, why not, is held) by id."""
    rows = await connection.execute(
        text("SELECT id, status = 'ENABLED', disabled_reason, coalesce(held_until > now(), false) FROM endpoints")
    )
    return {id_: tuple(state) for id_, *state in rows}


async def test_one_that_is_disabled_already_keeps_its_reason(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        assert await endpoints.disable(connection, ["shop"], "by hand") == ["shop"]
        assert sorted(await endpoints.disable(connection, ["gym", "shop", "nobody"], "answered 410 Gone")) == ["gym"]
        assert await states(connection) == {
            "gym": (False, "answered 410 Gone", False),
            "shop": (False, "by hand", False),
            "spa": (True, None, False),
        }
        assert await endpoints.disabled_for(connection, ["gym", "shop", "spa"], "by hand") == ["shop"]
        assert await endpoints.disabled_for(connection, ["gym", "spa"], "by hand") == []


async def test_one_that_is_enabled_is_not_held_back_any_more(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.hold(connection, {"gym": timedelta(hours=1), "shop": timedelta(hours=1)})
        await endpoints.disable(connection, ["shop"], "by hand")
        assert sorted(await endpoints.enable(connection, ["shop", "spa", "nobody"])) == ["shop", "spa"]
        assert await states(connection) == {
            "gym": (True, None, True),
            "shop": (True, None, False),
            "spa": (True, None, False),
        }


async def test_a_hold_is_never_cut_short_by_a_shorter_one(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        for hours in (2, 1, 3):
            await endpoints.hold(connection, {"shop": timedelta(hours=hours), "gym": timedelta(seconds=hours)})
            held = await connection.scalar(text("SELECT held_until - now() FROM endpoints WHERE id = 'shop'"))
            assert held == timedelta(hours=max(2, hours))


async def test_a_file_leaves_out_endpoints_of_its_own_merchants_alone(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        for id_ in ("shop/2", "shop/3"):
            new = merchants.NewEndpoint(id_, "shop", "http://127.0.0.1:9/", secret(bytes(32)), [])
            assert await merchants.put(connection, [("shop", "Shop")], [new]) == []
        await endpoints.disable(connection, ["shop/3"], "by hand")
        assert await endpoints.left_out(connection, ["shop", "gym"], ["shop/2", "gym"]) == ["shop"]
        assert await endpoints.left_out(connection, ["gym"], ["gym"]) == []
        by_merchant = await endpoints.of_merchants(connection, ["shop", "gym"])
        assert {id_: [each.id for each in own] for id_, own in by_merchant.items()} == {
            "gym": ["gym"],
            "shop": ["shop", "shop/2", "shop/3"],
        }


async def test_what_waits_is_parked_and_let_go_again_of_that_endpoint_alone(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    for name in ("gym", "shop"):
        await outbox.tell(name, wallet, 2)
    async with outbox.engine.begin() as connection:
        assert await endpoints.sort(connection) == 0
        await endpoints.disable(connection, ["shop"], "by hand")
        assert (await endpoints.sort(connection), await endpoints.sort(connection)) == (2, 0)
    assert [(row.endpoint_id, row.status) for row in await outbox.live()] == [
        ("gym", "PENDING"), ("gym", "PENDING"), ("shop", "PARKED"), ("shop", "PARKED"),
    ]  # fmt: skip
    async with outbox.engine.begin() as connection:
        await endpoints.enable(connection, ["shop"])
        assert (await endpoints.sort(connection), await endpoints.sort(connection)) == (2, 0)
    assert {row.status for row in await outbox.live()} == {"PENDING"}


async def test_a_file_brings_a_merchant_and_its_endpoints_up_to_date_and_no_other_s(outbox: Outbox) -> None:
    def endpoint(id_: str, merchant: str) -> merchants.NewEndpoint:
        return merchants.NewEndpoint(
            id_, merchant, "http://127.0.0.1:9/new", secret(b"n" * 32), ["PAYMENT_METHOD_UPDATED"]
        )

    async with outbox.engine.begin() as connection:
        refused = await merchants.put(
            connection, [("shop", "The shop")], [endpoint("shop", "shop"), endpoint("gym", "shop")]
        )
        assert refused == ["gym"]
        rows = await connection.execute(
            text(
                "SELECT endpoints.id, name, url, event_types"
                " FROM endpoints JOIN merchants ON merchant_id = merchants.id"
            )
        )
        assert sorted(tuple(row) for row in rows) == [
            ("gym", "gym", "http://127.0.0.1:9/", ["PAYMENT_METHOD_DELETED"]),
            ("shop", "The shop", "http://127.0.0.1:9/new", ["PAYMENT_METHOD_UPDATED"]),
            ("spa", "spa", "http://127.0.0.1:9/", ["PAYMENT_METHOD_DELETED"]),
        ]
        assert await merchants.known(connection, ["shop", "nobody"]) == {"shop"}
        subscribed = await merchants.subscribed(connection, ["shop", "spa", "nobody"])
        assert subscribed == {
            "shop": [("shop", ["PAYMENT_METHOD_UPDATED"])],
            "spa": [("spa", ["PAYMENT_METHOD_DELETED"])],
        }
