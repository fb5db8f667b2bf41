"""Endpoints that a person adds and removes, beside batches and dispatchers that use them at the same time."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import UpdateType
from merchants import endpoint_changes
from ops.actor import who
from producers.webhooks.dispatcher import Dispatcher
from schemas.sealing import BUILT_IN_KEYS
from store import cancelled_deliveries, endpoints, finished_deliveries, new_deliveries
from store.selection import Selection
from tests.acceptance.lines import EVENTS, merchant
from tests.acceptance.program import Ended, Program
from tests.consumers.harness import Harness
from tests.consumers.paused_worker import standing_still
from tests.domain.build import method, reported, wallet
from tests.parts.receiver import Answer, Receiver
from tests.parts.until import until
from tests.store.outbox import SECRET, Outbox

BRIEF = timedelta(0)


async def remove(engine: AsyncEngine, endpoint_id: str) -> int:
    """Remove an endpoint as the command does; how many deliveries were cancelled."""
    async with engine.begin() as connection:
        assert await endpoint_changes.remove(connection, endpoint_id, "left", actor="me") is not None
    return await sweep(engine, endpoint_id)


async def sweep(engine: AsyncEngine, endpoint_id: str | None = None) -> int:
    count = 0
    while True:
        async with engine.begin() as connection:
            cancelled = await cancelled_deliveries.cancel_removed(connection, endpoint_id)
        if not cancelled:
            return count
        count += cancelled


async def acts(program: Program) -> list[dict[str, Any]]:
    listed = (await program("audit", "list", "--json")).json()
    return [{key: value for key, value in act.items() if key not in {"id", "at"}} for act in listed]


# --- adding -----------------------------------------------------------------------------------------------------------


async def test_an_added_endpoint_receives_what_happens_from_then_on(
    program: Program, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m")
    url = receiver.url("/new?token=hidden")
    tried = (await program("endpoints", "add", "m", url, "--id", "new", "--dry-run")).well()
    assert tried.out == "would add new to m\n"
    added = (await program("endpoints", "add", "m", url, "--id", "new", "--max-per-second", "5", "--json")).json()
    assert added["endpoint"] == (await program("endpoints", "list", "--json")).json()[1]
    assert {key: added["endpoint"][key] for key in ("id", "merchantId", "status", "maxPerSecond", "removedAt")} == {
        "id": "new",
        "merchantId": "m",
        "status": "ENABLED",
        "maxPerSecond": 5,
        "removedAt": None,
    }
    assert sorted(added["endpoint"]["eventTypes"]) == sorted(EVENTS)
    [row] = await outbox.execute("SELECT sealed_secrets FROM endpoints WHERE id = 'new'")
    assert [BUILT_IN_KEYS.open(sealed, "secret", "new") for sealed in row.sealed_secrets] == [added["secret"]]
    [act] = await acts(program)
    assert act == {
        "actor": who(),
        "action": "endpoint added",
        "subject": "new",
        "reason": None,
        "before": None,
        "after": {
            "urlHost": "127.0.0.1",
            "merchantId": "m",
            "eventTypes": added["endpoint"]["eventTypes"],
            "headerNames": [],
            "maxPerSecond": 5,
            "retrySchedule": None,
        },
    }
    [delivery] = await outbox.write("m", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, [delivery._replace(endpoint_id="new")])
    assert await dispatcher.run_once() == 1
    assert [request.path for request in receiver.requests] == ["/new"]


async def test_an_id_and_a_secret_are_made_or_given(program: Program, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    program.write("secret", SECRET)
    url = "http://127.0.0.1:9/"
    events = "PAYMENT_METHOD_DELETED, ENDPOINT_DISABLED"
    said = (
        await program(
            *("endpoints", "add", "m", url, "--secret-file", "secret"),
            *("--events", events, "--retry-schedule", "5s,2h"),
        )
    ).well()
    [row] = [row for row in (await program("endpoints", "list", "--json")).json() if row["id"] != "m"]
    assert said.out == f"added {row['id']} to m\n"
    assert row["id"].startswith("ep_")
    assert (row["eventTypes"], row["retrySchedule"]) == (["PAYMENT_METHOD_DELETED", "ENDPOINT_DISABLED"], ["5s", "2h"])
    said = (await program("endpoints", "add", "m", url)).well()
    assert said.out.splitlines()[1].startswith("its secret, which is shown this once: whsec_")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nobody", "http://127.0.0.1:9/"), "nothing was changed: there is no such merchant: nobody"),
        (("m", "http://127.0.0.1:9/", "--id", "m"), "nothing was changed: an endpoint has this id: m"),
        (("m", "http://1.1.1.1/"), "url: expected https: plain http is for addresses in REPOINT_EGRESS_ALLOW"),
        (("m", "https://127.1/"), "url: expected a host name, or an address as 192.0.2.1 or [2001:db8::1]"),
        (("m", "http://127.0.0.1:9/", "--events", "EVERYTHING"), "eventTypes.0: expected"),
        (("m", "http://127.0.0.1:9/", "--retry-schedule", "soon"), "retrySchedule.0: expected"),
        (("m", "http://127.0.0.1:9/", "--id", "4111111111111111"), "id: expected no card number"),
    ],
)
async def test_what_cannot_be_added_is_said(
    program: Program, outbox: Outbox, arguments: tuple[str, ...], expected: str
) -> None:
    await outbox.add_endpoint("m")
    ended = await program("endpoints", "add", *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert expected in ended.err
    assert len(await outbox.execute("SELECT id FROM endpoints")) == 1


# --- removing ---------------------------------------------------------------------------------------------------------


async def test_a_removed_endpoint_leaves_its_history_and_its_id_behind(program: Program, outbox: Outbox) -> None:
    for name in ("m", "other"):
        await outbox.add_endpoint(name)
    await outbox.tell("m", await outbox.add_wallet(), 3)
    await outbox.tell("m", await outbox.add_wallet())
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE sequence = 3")
    await outbox.tell("other", await outbox.add_wallet())
    tried = (await program("endpoints", "remove", "m", "--reason", "moved", "--dry-run")).well()
    assert tried.out == "would remove m, and would cancel 4 undelivered deliveries\n"
    assert len(await outbox.live()) == 5
    said = (await program("endpoints", "remove", "m", "--reason", "moved, whsec_c2VjcmV0")).well()
    assert said.out == "removed m, and cancelled 4 undelivered deliveries\n"
    assert [row.endpoint_id for row in await outbox.live()] == ["other"]
    assert [status for _, status, _ in await outbox.history()] == ["CANCELLED"] * 4
    [act] = await acts(program)
    assert (act["action"], act["subject"], act["reason"]) == ("endpoint removed", "m", "moved, whsec_***")
    assert act["before"] == {
        "urlHost": "127.0.0.1",
        "merchantId": "m",
        "eventTypes": ["PAYMENT_METHOD_DELETED"],
        "headerNames": [],
        "maxPerSecond": None,
        "retrySchedule": None,
        "status": "ENABLED",
        "undelivered": 4,
    }

    [row] = await outbox.execute("SELECT status, sealed_secrets FROM endpoints WHERE id = 'm'")
    assert (row.status, list(row.sealed_secrets)) == ("DISABLED", [])
    assert [row["id"] for row in (await program("endpoints", "list", "--json")).json()] == ["other"]
    [removed] = (await program("endpoints", "list", "--removed", "--json")).json()
    assert removed["id"] == "m"
    assert removed["removedAt"] is not None
    merchants = (await program("merchants", "list", "--json")).json()
    assert [[row["id"] for row in shown["endpoints"]] for shown in merchants] == [[], ["other"]]
    listed = (await program("deliveries", "list", "--endpoint", "m", "--json")).json()
    assert [row["status"] for row in listed] == ["CANCELLED"] * 4
    shown = (await program("deliveries", "show", str(listed[0]["id"]), "--json")).json()
    assert shown["endpointId"] == "m"

    for command in ("enable m", "disable m", "test m", "rotate-secret m", "remove m --reason again"):
        ended = await program("endpoints", *command.split())
        assert (ended.code, "there is no endpoint m" in ended.err) == (1, True), command
    ended = await program("endpoints", "add", "m", "http://127.0.0.1:9/", "--id", "m")
    assert "an endpoint with this id was removed, and its id is not given out again: m" in ended.err


async def test_a_merchants_file_that_names_a_removed_endpoint_is_refused(program: Program, outbox: Outbox) -> None:
    line = merchant(url="http://127.0.0.1:9/")
    file = program.write("merchants.jsonl", line)
    (await program("merchants", "import", file)).well()
    (await program("endpoints", "remove", "ep-m-1", "--reason", "moved", "--json")).json()
    ended: Ended = await program("merchants", "import", file)
    assert ended.code == 1
    assert (
        "endpoints.0.id: expected another id than ep-m-1, which an endpoint that was removed has:"
        " ids are not given out again" in ended.err
    )
    line["endpoints"][0]["id"] = "another"
    said = (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    assert said.out == "imported 1 merchant with 1 endpoint\n"


async def test_the_finished_deliveries_of_a_removed_endpoint_are_not_replayed(
    outbox: Outbox, engine: AsyncEngine
) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    await outbox.execute("""
        WITH gone AS (DELETE FROM deliveries RETURNING *)
        INSERT INTO delivery_history
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
        SELECT id, event_id, endpoint_id, wallet_id, sequence, 'DEAD', 1, created_at, now() FROM gone
    """)
    async with engine.begin() as connection:
        [dead] = await finished_deliveries.select(connection, Selection(merchant="m"))
    assert await remove(engine, "m") == 0
    async with engine.begin() as connection:
        assert await finished_deliveries.select(connection, Selection(merchant="m")) == []
        assert await finished_deliveries.replay(connection, [dead.id]) == 0
    assert await outbox.live() == []


# --- at the same time -------------------------------------------------------------------------------------------------


async def told(engine: AsyncEngine) -> Harness:
    """A wallet of the merchant `m`, whose endpoint `m/gone` is to be removed."""
    harness = Harness(engine)
    await harness.add_merchants("m", endpoints={"m/gone": EVENTS, "m/stays": EVENTS})
    await harness.import_wallets(wallet(method("A"), customer="e1", merchants=("m",)))
    return harness


async def deliveries_of(outbox: Outbox) -> list[tuple[str, str]]:
    rows = await outbox.execute("""
        SELECT endpoint_id, status FROM deliveries UNION ALL SELECT endpoint_id, status FROM delivery_history
        ORDER BY endpoint_id, status
    """)
    return [(row.endpoint_id, row.status) for row in rows]


@pytest.mark.parametrize("at", ["applied", "announced"])
async def test_a_batch_that_meets_a_removal_commits_and_sends_nothing_to_the_endpoint(
    database_url: str, engine: AsyncEngine, outbox: Outbox, at: Any
) -> None:
    """`applied`: the removal commits before the batch enqueues; `announced`: before it commits what it enqueued."""
    harness = await told(engine)
    batch = [harness.message(reported(UpdateType.CLOSED, "A", on=2, id="u"))]
    async with standing_still(database_url, batch, at):
        assert await remove(engine, "m/gone") == 0
    assert await harness.outcome("u") == ("APPLIED", None)
    assert await harness.dead_letters() == []
    late = {"applied": [], "announced": [("m/gone", "CANCELLED")]}[at]
    assert await sweep(engine) == len(late)
    assert await deliveries_of(outbox) == [*late, ("m/stays", "PENDING")]


async def test_a_removal_that_meets_a_batch_of_the_endpoint_waits_for_nothing(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    """A batch has read the endpoint, then the endpoint is removed, then the batch enqueues: nothing is due."""
    await outbox.add_endpoint("m")
    new = await outbox.write("m", await outbox.add_wallet())
    async with engine.connect() as batch, engine.connect() as command:
        await endpoint_changes.remove(command, "m", "left", actor="me")
        enqueueing = asyncio.create_task(new_deliveries.enqueue(batch, new))
        await enqueueing
        await batch.commit()
        await command.commit()
    [row] = await outbox.live()
    assert row.status == "PENDING"
    assert await sweep(engine) == 1
    assert await deliveries_of(outbox) == [("m", "CANCELLED")]
    # and the other way round, with the removal committed
    await outbox.add_endpoint("n")
    new = await outbox.write("n", await outbox.add_wallet())
    assert await remove(engine, "n") == 0
    async with engine.begin() as batch:
        await new_deliveries.enqueue(batch, new)
    assert [(row.endpoint_id, row.status) for row in await outbox.live()] == [("n", "PARKED")]
    assert await sweep(engine) == 1


async def test_of_two_removals_at_the_same_time_the_second_finds_no_endpoint(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    async with engine.connect() as first, engine.connect() as second:
        assert await endpoint_changes.remove(first, "m", "left", actor="me") is not None
        again = asyncio.create_task(endpoint_changes.remove(second, "m", "moved", actor="another"))
        await until(
            lambda: outbox.execute(
                "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
        )
        await first.commit()
        assert await again is None
        await second.commit()
    assert [(row.actor, row.reason) for row in await outbox.execute("SELECT actor, reason FROM audit")] == [
        ("me", "left")
    ]


async def test_batches_and_removals_at_the_same_time_lose_nothing(engine: AsyncEngine, outbox: Outbox) -> None:
    names = [f"m{number}" for number in range(12)]
    for name in names:
        await outbox.add_endpoint(name)
    wallets = [await outbox.add_wallet() for _ in names]
    written = [await outbox.write(name, wallet, 20) for name, wallet in zip(names, wallets, strict=True)]

    async def batches(new: list[new_deliveries.NewDelivery]) -> None:
        for delivery in new:
            async with engine.begin() as connection:
                await new_deliveries.enqueue(connection, [delivery])

    async with asyncio.TaskGroup() as group:
        for name, new in zip(names, written, strict=True):
            group.create_task(batches(new))
            group.create_task(remove(engine, name))
    await sweep(engine)
    assert await outbox.live() == []
    assert [status for _, status, _ in await outbox.history()] == ["CANCELLED"] * 240


@pytest.mark.parametrize(
    ("code", "becomes", "outcome"), [(200, "DELIVERED", "ACCEPTED"), (500, "CANCELLED", "status_refused")]
)
async def test_a_dispatcher_with_an_attempt_under_way_records_it(  # noqa: PLR0917 - fixtures
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, code: int, becomes: str, outcome: str
) -> None:
    engine = outbox.engine
    receiver.answer("/m", Answer(code, delay=0.5))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet(), 2)
    stopping = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stopping))
    await receiver.arrived(1, "/m")
    assert await remove(engine, "m") == 1
    assert await outbox.attempts() == []

    async def finished() -> bool:
        return len(await outbox.history()) == 2

    await until(finished, within=30)
    stopping.set()
    await running
    assert [status for _, status, _ in await outbox.history()] == [becomes, "CANCELLED"]
    assert [name for _, name, _ in await outbox.attempts()] == [outcome]
    assert await outbox.live() == []
    assert len(receiver.requests) == 1


async def test_a_removed_endpoint_is_neither_enabled_nor_counted_as_disabled(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    await remove(engine, "m")
    async with engine.begin() as connection:
        assert await endpoints.enable(connection, ["m"]) == []
        assert await endpoints.disabled_for(connection, ["m"], "left") == []
        assert await endpoints.of_merchants(connection, ["m"]) == {}
        assert await endpoints.remove(connection, "m", "again") is False
