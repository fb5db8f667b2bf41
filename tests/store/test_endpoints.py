"""Endpoints that are disabled, enabled, held back and left out of a file: which of them, and what is kept of it."""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.delivery.circuit import Failures
from schemas.signature import secret
from store import endpoints, lines, merchants
from tests.store.outbox import SECRET, Outbox, sealed


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


async def test_those_with_some_ids_are_read_or_all_of_them_in_order(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.disable(connection, ["spa"], "by hand")
        assert [each.id for each in await endpoints.read(connection)] == ["gym", "shop", "spa"]
        assert await endpoints.read(connection, []) == []
        gym, spa = await endpoints.read(connection, ["spa", "nobody", "gym"])
    assert (gym.id, gym.merchant_id, gym.url, gym.status) == ("gym", "gym", "http://127.0.0.1:9/", "ENABLED")
    assert gym.event_types == ("PAYMENT_METHOD_DELETED",)
    assert (spa.id, spa.status, spa.disabled_reason, spa.held_until) == ("spa", "DISABLED", "by hand", None)


async def test_those_that_are_held_back_at_present_are_named(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.hold(connection, {"spa": timedelta(hours=1), "gym": timedelta(hours=1)})
        await endpoints.hold(connection, {"shop": -timedelta(hours=1)})
        assert await endpoints.held_back(connection, ["spa", "shop", "gym", "nobody"]) == ["gym", "spa"]
        assert await endpoints.held_back(connection, ["spa", "shop"]) == ["spa"]


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
        await endpoints.disable(connection, ["spa"], "by hand")
        assert await endpoints.disabled_for(connection, ["spa", "shop", "gym"], "by hand") == ["shop", "spa"]


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


class Health(NamedTuple):
    """What all dispatchers know of an endpoint."""

    circuit: str
    failures: int
    is_failing: bool
    is_held: bool


async def health(connection: AsyncConnection, id_: str = "shop") -> Health:
    rows = await connection.execute(
        text("""
            SELECT circuit, failures, failing_since IS NOT NULL, coalesce(held_until > now(), false)
            FROM endpoints WHERE id = :id
        """),
        {"id": id_},
    )
    return Health._make(rows.one())


async def test_failures_are_counted_from_the_first_after_the_latest_success(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.count_attempts(connection, {"shop": (False, 2), "gym": (True, 0)})
    await outbox.execute("UPDATE endpoints SET failing_since = failing_since - interval '1 hour' WHERE id = 'shop'")
    async with outbox.engine.begin() as connection:
        counted = await endpoints.count_attempts(
            connection, {"shop": (False, 3), "spa": (True, 1), "nobody": (True, 1)}
        )
        assert counted.keys() == {"shop", "spa"}
        (duration, number), is_open = counted["shop"]
        assert timedelta(hours=1) < duration < timedelta(hours=1, minutes=1)
        assert (number, is_open) == (5, False)
        assert counted["spa"] == (Failures(timedelta(0), 1), False)
        assert await health(connection, "gym") == Health("CLOSED", 0, is_failing=False, is_held=False)
    async with outbox.engine.begin() as connection:
        counted = await endpoints.count_attempts(connection, {"shop": (True, 1)})
        assert counted["shop"] == (Failures(timedelta(0), 1), False), (
            "they begin anew with the failure after the success"
        )
        assert await endpoints.count_attempts(connection, {"shop": (True, 0)}) == {
            "shop": (Failures(timedelta(0), 0), False)
        }
        assert await health(connection) == Health("CLOSED", 0, is_failing=False, is_held=False)


async def test_an_open_circuit_holds_its_endpoint_until_a_success_closes_it(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.count_attempts(connection, {"shop": (False, 10), "gym": (False, 10)})
        await endpoints.open_circuits(connection, {"shop": timedelta(minutes=1)})
        assert await health(connection) == Health("OPEN", 10, is_failing=True, is_held=True)
        assert await health(connection, "gym") == Health("CLOSED", 10, is_failing=True, is_held=False)
        (_, is_open) = (await endpoints.count_attempts(connection, {"shop": (False, 1)}))["shop"]
        assert is_open
        assert await health(connection) == Health("OPEN", 11, is_failing=True, is_held=True)
        await endpoints.count_attempts(connection, {"shop": (True, 0)})
        assert await health(connection) == Health("CLOSED", 0, is_failing=False, is_held=False)


async def test_a_success_does_not_end_the_hold_of_a_closed_circuit(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await endpoints.count_attempts(connection, {"shop": (False, 1)})
        await endpoints.hold(connection, {"shop": timedelta(hours=1)})
        await endpoints.count_attempts(connection, {"shop": (True, 0)})
        assert await health(connection) == Health("CLOSED", 0, is_failing=False, is_held=True)


async def test_a_circuit_that_opens_does_not_shorten_a_hold(outbox: Outbox) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    async with outbox.engine.begin() as connection:
        await endpoints.hold(connection, {"shop": hour, "gym": minute})
        await endpoints.open_circuits(connection, {"shop": minute, "gym": hour})
        held = await connection.scalars(text("SELECT held_until - now() FROM endpoints WHERE held_until IS NOT NULL"))
        assert list(held) == [hour, hour]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://127.0.0.1:9/moved"])
async def test_enabling_and_another_url_forget_failures_and_the_same_url_does_not(outbox: Outbox, url: str) -> None:
    async with outbox.engine.begin() as connection:
        for id_ in ("shop", "gym"):
            await endpoints.count_attempts(connection, {id_: (False, 10)})
            await endpoints.open_circuits(connection, {id_: timedelta(minutes=1)})
        await merchants.put(
            connection, [("shop", "Shop")], [merchants.NewEndpoint("shop", "shop", url, sealed(SECRET, "shop"), [])]
        )
        forgotten = Health("CLOSED", 0, is_failing=False, is_held=False)
        kept = Health("OPEN", 10, is_failing=True, is_held=True)
        assert await health(connection) == (forgotten if "moved" in url else kept)
        await endpoints.enable(connection, ["gym"])
        assert await health(connection, "gym") == forgotten


async def test_of_a_failed_probe_the_hold_for_its_lease_ends(outbox: Outbox) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    async with outbox.engine.begin() as connection:
        await endpoints.hold(connection, {"shop": hour, "gym": hour})
        await endpoints.open_circuits(connection, {"shop": minute, "gym": minute}, probed=["shop"])
        held = await connection.execute(text("SELECT id, held_until - now() FROM endpoints WHERE held_until > now()"))
        assert sorted(held.all()) == [("gym", hour), ("shop", minute)]


async def test_nothing_secret_and_nothing_of_its_health_stays_of_a_removed_endpoint(outbox: Outbox) -> None:
    await outbox.execute(
        "UPDATE endpoints SET sealed_headers = 'sealed:0:', header_names = '{X-Key}', max_per_second = 1,"
        " sealed_secrets = sealed_secrets || sealed_secrets, former_secret_until = now() + interval '1 hour',"
        " circuit = 'OPEN', held_until = now() + interval '1 hour', failing_since = now(), failures = 3"
    )
    async with outbox.engine.begin() as connection:
        assert await endpoints.remove(connection, "shop", "moved")
        assert not await endpoints.remove(connection, "shop", "again")
        assert not await endpoints.remove(connection, "nobody", "moved")
        rows = await connection.execute(
            text("""
                SELECT sealed_secrets, sealed_headers, header_names, former_secret_until, held_until, circuit,
                       failing_since, failures, status, disabled_reason, removed_at = now()
                FROM endpoints WHERE id = 'shop'
            """)
        )
        assert rows.all() == [([], None, [], None, None, "CLOSED", None, 0, "DISABLED", "moved", True)]
        assert await endpoints.enable(connection, ["shop"]) == []
        assert await endpoints.disabled_for(connection, ["shop"], "moved") == []
        assert await endpoints.of_merchants(connection, ["shop"]) == {}
        assert (await lines.number(connection, [(str(uuid4()), "shop")]))[1] == {}
        assert [each.id for each in await endpoints.read(connection)] == ["gym", "spa"]
        assert [each.id for each in await endpoints.read(connection, with_removed=True)] == ["gym", "shop", "spa"]


async def test_what_was_parked_has_its_whole_schedule_again_and_is_due_at_once(outbox: Outbox) -> None:
    await outbox.tell("shop", await outbox.add_wallet(), 2)
    await outbox.tell("gym", await outbox.add_wallet())
    await outbox.execute("UPDATE deliveries SET tries = 7")
    await outbox.execute("UPDATE deliveries SET due_at = now() + interval '1 day' WHERE due_at IS NOT NULL")
    async with outbox.engine.begin() as connection:
        await endpoints.disable(connection, ["shop"], "by hand")
        assert await endpoints.sort(connection) == 2
        await endpoints.enable(connection, ["shop"])
        assert await endpoints.sort(connection) == 2
        rows = await connection.execute(
            text("""
                SELECT endpoint_id, sequence, status, tries, due_at IS NULL, coalesce(due_at <= now(), false)
                FROM deliveries ORDER BY endpoint_id, sequence
            """)
        )
        assert [tuple(row) for row in rows] == [
            ("gym", 1, "PENDING", 7, False, False),
            ("shop", 1, "PENDING", 0, False, True),
            ("shop", 2, "PENDING", 0, True, False),
        ]


async def test_a_file_leaves_out_endpoints_of_its_own_merchants_alone(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        for id_ in ("shop/2", "shop/3"):
            new = merchants.NewEndpoint(id_, "shop", "http://127.0.0.1:9/", sealed(SECRET, id_), [])
            assert await merchants.put(connection, [("shop", "Shop")], [new]) == []
        await endpoints.disable(connection, ["shop/3"], "by hand")
        assert await endpoints.left_out(connection, ["shop", "gym"], ["shop/2", "gym"]) == ["shop"]
        assert await endpoints.left_out(connection, ["gym"], ["gym"]) == []
        assert await endpoints.left_out(connection, ["shop", "gym"], []) == ["gym", "shop", "shop/2"]
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
            id_, merchant, "http://127.0.0.1:9/new", sealed(secret(b"n" * 32), id_), ["PAYMENT_METHOD_UPDATED"]
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
        nowhere = str(uuid4())
        _, subscriptions = await lines.number(connection, [(nowhere, id_) for id_ in ("shop", "spa", "nobody")])
        assert subscriptions == {
            "shop": [("shop", ["PAYMENT_METHOD_UPDATED"])],
            "spa": [("spa", ["PAYMENT_METHOD_DELETED"])],
        }
