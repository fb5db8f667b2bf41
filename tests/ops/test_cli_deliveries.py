"""`repoint deliveries cancel`, and what the audit says of the acts of people."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ops import chosen_deliveries
from ops.actor import who
from schemas.signature import event_id
from store import cancelled_deliveries, deliveries, new_deliveries
from store.selection import Selected
from tests.acceptance.program import Program
from tests.store.outbox import SECRET, Outbox


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    outbox = Outbox(engine)
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name)
    return outbox


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def ids(outbox: Outbox, endpoint_id: str) -> list[int]:
    rows = await outbox.execute("SELECT id FROM deliveries WHERE endpoint_id = :id ORDER BY sequence", id=endpoint_id)
    return [row.id for row in rows]


async def out(program: Program, *arguments: str) -> str:
    return (await program(*arguments)).well().out


async def acts(program: Program, *arguments: str) -> list[dict[str, Any]]:
    listed = json.loads(await out(program, "audit", "list", "--json", *arguments))
    return [{key: value for key, value in act.items() if key not in {"id", "at"}} for act in listed]


async def test_a_cancelled_head_lets_the_next_of_its_line_go(outbox: Outbox, program: Program) -> None:
    wallet = await outbox.add_wallet()
    made = await outbox.tell("shop", wallet, 3)
    await outbox.tell("gym", wallet)
    first, _, third = await ids(outbox, "shop")
    chosen = (str(first), event_id(made[1]))
    assert (
        await out(program, "deliveries", "cancel", *chosen, "--reason", "sent by mail", "--dry-run")
        == "would cancel 2 deliveries\n"
    )
    assert len(await outbox.live()) == 4
    assert await acts(program) == []
    assert await out(program, "deliveries", "cancel", *chosen, "--reason", "sent by mail") == "cancelled 2 deliveries\n"
    assert await outbox.history() == [(1, "CANCELLED", 0), (2, "CANCELLED", 0)]
    assert await ids(outbox, "shop") == [third]
    assert await outbox.heads("shop") == [3]
    assert await outbox.heads("gym") == [1]
    assert await acts(program) == [
        {
            "actor": who(),
            "action": "deliveries cancelled",
            "subject": "shop",
            "reason": "sent by mail",
            "before": None,
            "after": {"chosen": [first, first + 1]},
        }
    ]


async def test_all_of_an_endpoint_are_cancelled_parked_ones_too(outbox: Outbox, program: Program) -> None:
    for name in ("shop", "gym"):
        await outbox.tell(name, await outbox.add_wallet(), 2)
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE endpoint_id = 'shop'")
    await out(program, "deliveries", "cancel", "--endpoint", "shop", "--reason", "the merchant has left")
    assert [row.endpoint_id for row in await outbox.live()] == ["gym", "gym"]


async def test_a_delivery_under_way_is_left_alone(outbox: Outbox, engine: AsyncEngine) -> None:
    await outbox.tell("shop", await outbox.add_wallet(), 2)
    head, second = await ids(outbox, "shop")
    await outbox.execute("UPDATE deliveries SET leased_until = now() + interval '1 minute' WHERE id = :id", id=head)
    async with engine.begin() as connection:
        assert await cancelled_deliveries.cancel(connection, [head, second, 99]) == [second]
    assert await outbox.heads("shop") == [1]
    await outbox.execute("UPDATE deliveries SET leased_until = now() - interval '1 minute' WHERE id = :id", id=head)
    async with engine.begin() as connection:
        assert await cancelled_deliveries.cancel(connection, [head]) == [head]
    assert await outbox.live() == []


async def test_how_many_are_left_alone_is_said(outbox: Outbox, program: Program) -> None:
    await outbox.tell("shop", await outbox.add_wallet(), 2)
    await outbox.execute("UPDATE deliveries SET leased_until = now() + interval '1 minute' WHERE due_at IS NOT NULL")
    done = (await program("deliveries", "cancel", "--endpoint", "shop", "--reason", "none")).well()
    assert done.out == "cancelled 1 delivery\n"
    assert done.err == "repoint: 1 delivery left alone: an attempt is under way, or was finished\n"


async def test_many_deliveries_are_changed_in_parts_each_with_its_acts(
    outbox: Outbox, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_deliveries, "_AT_ONCE", 2)
    for name, count in (("gym", 1), ("shop", 4)):
        await outbox.tell(name, await outbox.add_wallet(), count)
    rows = await outbox.execute("SELECT id, event_id, endpoint_id FROM deliveries ORDER BY id")
    parts: list[list[int]] = []

    async def change(_: AsyncConnection, part: Collection[int]) -> int:
        parts.append(list(part))
        return 10

    change_of_all = chosen_deliveries.DeliveryChange(change, "tried")
    assert await chosen_deliveries.change_in_parts(engine, [Selected._make(row) for row in rows], change_of_all) == 30
    first, *others = (row.id for row in rows)
    assert parts == [[first, others[0]], others[1:3], others[3:]]
    acts = await outbox.execute("SELECT subject, after FROM audit ORDER BY id")
    assert [(act.subject, act.after["chosen"]) for act in acts] == [
        ("gym", [first]), ("shop", others[:1]), ("shop", others[1:3]), ("shop", others[3:]),
    ]  # fmt: skip


async def test_the_next_of_a_cancelled_head_is_due(outbox: Outbox, engine: AsyncEngine) -> None:
    await outbox.tell("shop", await outbox.add_wallet(), 2)
    async with engine.begin() as connection:
        await cancelled_deliveries.cancel(connection, (await ids(outbox, "shop"))[:1])
        assert await deliveries.due(connection, {}) == ["shop"]


async def listed(program: Program, *arguments: str) -> list[int]:
    return [delivery["id"] for delivery in json.loads(await out(program, "deliveries", "list", "--json", *arguments))]


async def tell_both(outbox: Outbox, *endpoints: str) -> UUID:
    """One event of `shop`, and a delivery of it to each of the endpoints."""
    (delivery,) = await outbox.write("shop", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, [delivery._replace(endpoint_id=name) for name in endpoints])
    return delivery.event_id


async def test_deliveries_are_listed_by_each_option(outbox: Outbox, program: Program) -> None:
    await outbox.add_endpoint("till", merchant="shop")
    await tell_both(outbox, "shop", "till")
    await outbox.tell("gym", await outbox.add_wallet())
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE endpoint_id = 'gym'")
    ((shop,), (till,), (gym,)) = [await ids(outbox, name) for name in ("shop", "till", "gym")]
    assert shop < till < gym
    for arguments, expected in (
        ((), [gym, till, shop]),
        (("--limit", "2"), [gym, till]),
        (("--status", "parked"), [gym]),
        (("--endpoint", "till"), [till]),
        (("--merchant", "shop"), [till, shop]),
    ):
        assert await listed(program, *arguments) == expected


async def test_of_an_event_for_several_endpoints_the_delivery_to_the_named_one_is_cancelled(
    outbox: Outbox, program: Program
) -> None:
    await outbox.add_endpoint("till", merchant="shop")
    event = event_id(await tell_both(outbox, "shop", "till"))
    arguments = ("deliveries", "cancel", event, "--endpoint", "till", "--reason", "none")
    assert await out(program, *arguments) == "cancelled 1 delivery\n"
    assert [row.endpoint_id for row in await outbox.live()] == ["shop"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["4711"], "4711: expected a delivery, or its event, that is PENDING or PARKED"),
        (["--endpoint", "nobody"], "there is no endpoint nobody"),
        ([], "expected an ID or --endpoint"),
        (["x"], "expected the number of a delivery, or the id of an event"),
    ],
)
async def test_what_is_not_there_is_named(
    outbox: Outbox, program: Program, arguments: list[str], expected: str
) -> None:
    await outbox.tell("shop", await outbox.add_wallet())
    done = await program("deliveries", "cancel", *arguments, "--reason", "none")
    assert done.code != 0
    assert expected in done.err
    assert len(await outbox.live()) == 1


async def test_the_audit_says_who_disabled_and_enabled_an_endpoint_and_what_stood_there(
    outbox: Outbox, program: Program
) -> None:
    await outbox.execute("UPDATE endpoints SET circuit = 'OPEN', failures = 12 WHERE id = 'shop'")
    assert await out(program, "endpoints", "disable", "shop", "--reason", "asked by mail") == "disabled shop\n"
    again = (await program("endpoints", "disable", "shop", "--reason", "again")).well()
    assert again.out == ""
    assert "shop was disabled already, and its reason stays: asked by mail\n" in again.err
    await out(program, "endpoints", "enable", "shop", "gym")
    await out(program, "endpoints", "enable", "gym", "--dry-run")
    enabled, disabled = await acts(program, "--subject", "shop")
    state = {"circuit": "OPEN", "failures": 12, "heldUntil": None}
    assert (disabled["action"], disabled["reason"]) == ("endpoint disabled", "asked by mail")
    assert disabled["before"] == {"status": "ENABLED", "disabledReason": None, **state}
    assert (enabled["action"], enabled["reason"]) == ("endpoint enabled", None)
    assert enabled["before"] == {"status": "DISABLED", "disabledReason": "asked by mail", **state}
    assert sorted(act["subject"] for act in await acts(program)) == ["gym", "shop", "shop"]
    assert "asked by mail" in await out(program, "audit", "list")


async def test_the_table_of_the_audit_cuts_what_is_long_and_json_does_not(outbox: Outbox, program: Program) -> None:
    await outbox.execute(
        "INSERT INTO audit (actor, action, subject, after) VALUES ('ann@host', 'deliveries cancelled', 'shop',"
        " jsonb_build_object('chosen', (SELECT jsonb_agg(number) FROM generate_series(1, 1000) number)))"
    )
    head, line = (await out(program, "audit", "list")).splitlines()
    assert line.rstrip().endswith("…")
    assert max(len(head), len(line)) < 250
    (act,) = await acts(program)
    assert act["after"] == {"chosen": list(range(1, 1001))}


async def test_a_dead_delivery_that_a_replay_delivered_is_not_listed_as_dead(outbox: Outbox, program: Program) -> None:
    await outbox.tell("shop", await outbox.add_wallet())
    (row,) = await outbox.execute("SELECT event_id, wallet_id FROM deliveries")
    history = """
        INSERT INTO delivery_history
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
        VALUES (:id, :event_id, 'shop', :wallet_id, 1, :status, 1, now(), now())
    """
    await outbox.execute("DELETE FROM deliveries")
    await outbox.execute(history, id=501, status="DEAD", **row._mapping)
    assert [
        each["id"] for each in json.loads(await out(program, "deliveries", "list", "--status", "DEAD", "--json"))
    ] == [501]
    await outbox.execute(history, id=502, status="DELIVERED", **row._mapping)
    assert json.loads(await out(program, "deliveries", "list", "--status", "DEAD", "--json")) == []
    assert {each["id"] for each in json.loads(await out(program, "deliveries", "list", "--json"))} == {501, 502}


async def test_a_reason_is_kept_and_sent_without_card_numbers_and_secrets(outbox: Outbox, program: Program) -> None:
    await outbox.add_endpoint("till", merchant="shop", event_types=["ENDPOINT_DISABLED"])
    await outbox.tell("shop", await outbox.add_wallet())
    ((delivery,),) = await outbox.execute("SELECT id FROM deliveries")
    reason = f"customer of 4111 1111 1111 1111 asked; was {SECRET}"
    await out(program, "deliveries", "cancel", str(delivery), "--reason", reason)
    await out(program, "endpoints", "disable", "shop", "--reason", reason)
    shown = "customer of **** **** **** **** asked; was whsec_***"
    assert [act["reason"] for act in await acts(program)] == [shown, shown]
    ((body,),) = await outbox.execute("SELECT body FROM events WHERE name = 'ENDPOINT_DISABLED'")
    assert json.loads(body)["payload"]["endpoint"]["disabledReason"] == shown
