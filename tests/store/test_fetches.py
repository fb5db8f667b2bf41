"""Thin events from their arrival to their end: what counts as a failure, and what a late claimer may still write."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import fetches
from store.fetches import ClaimedFetch, NewFetch

HOUR, NOW = timedelta(hours=1), timedelta(0)


def new(offset: int = 0, *, feed: str = "adyen", digest: bytes = b"d" * 16) -> NewFetch:
    return NewFetch(feed, digest, b"event", "thin", 0, offset)


async def claim(connection: AsyncConnection, *, lease: timedelta = HOUR, feed: str = "adyen") -> ClaimedFetch:
    [claimed] = await fetches.claim(connection, {feed: 1}, lease=lease)
    return claimed


async def row(connection: AsyncConnection) -> tuple[Any, ...]:
    """(failures, failure, waits for an address, is due, is leased) of the only one."""
    rows = await connection.execute(
        text(
            "SELECT failures, failure, waits_for_address, due_at <= now(),"
            " leased_until IS NOT NULL AND leased_until > now() FROM fetches"
        )
    )
    return tuple(rows.one())


async def test_an_event_that_comes_twice_in_one_batch_has_the_place_where_it_came_first(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fetches.keep(connection, [new(4), new(5), new(6, digest=b"e" * 16)])
        await fetches.keep(connection, [new(7)])
        rows = await connection.execute(text("SELECT kafka_offset, told FROM fetches ORDER BY kafka_offset"))
        assert [tuple(each) for each in rows] == [(4, 2), (6, 1)]


async def test_one_that_is_claimed_is_nobody_elses_until_the_lease_ends(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fetches.keep(connection, [new()])
        first = await claim(connection)
        assert await fetches.claim(connection, {"adyen": 1}, lease=HOUR) == []
        assert await fetches.extend(connection, first, NOW)
    async with engine.begin() as connection:
        second = await claim(connection)
        assert (first.attempt, second.attempt) == (1, 2)
        # it would hold the event for a claimer that has gone on long ago
        assert not await fetches.extend(connection, first, 9 * HOUR)
        assert await fetches.extend(connection, second, HOUR)


async def test_who_is_too_late_writes_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fetches.keep(connection, [new()])
        late = await claim(connection, lease=NOW)
    async with engine.begin() as connection:
        await claim(connection)
        before = await row(connection)
        await fetches.finish(connection, late)
        await fetches.postpone(connection, late, HOUR, "too late")
        await fetches.wait_for_address(connection, late, HOUR, "too late")
        assert not await fetches.give_up(connection, late)
        assert await row(connection) == before == (0, None, False, True, True)


async def test_only_what_the_vendor_failed_at_is_a_failure_and_the_latest_is_named(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fetches.keep(connection, [new()])
        for failed, state in (
            ("answered 503", (1, "answered 503", False, True, False)),
            (None, (1, "answered 503", False, True, False)),
            ("answered 500", (2, "answered 500", False, True, False)),
        ):
            await fetches.postpone(connection, await claim(connection), NOW, failed)
            assert await row(connection) == state
        await fetches.postpone(connection, await claim(connection), HOUR, None)
        assert await row(connection) == (2, "answered 500", False, False, False)


async def test_one_that_came_again_meanwhile_is_due_at_once_with_its_whole_schedule_before_it(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as connection:
        await fetches.keep(connection, [new()])
        await fetches.postpone(connection, await claim(connection), NOW, "answered 503")
        claimed = await claim(connection)
        assert claimed.failures == 1
        await fetches.keep(connection, [new(9)])
        await fetches.finish(connection, claimed)
        assert await row(connection) == (0, None, False, True, False)
        await fetches.finish(connection, await claim(connection))
        assert (await connection.execute(text("SELECT count(*) FROM fetches"))).scalar_one() == 0


async def waiting_for_address(connection: AsyncConnection, feed: str, *, failures: Collection[str] = ()) -> None:
    await fetches.keep(connection, [new(feed=feed, digest=feed.encode())])
    for failed in failures:
        await fetches.postpone(connection, await claim(connection, feed=feed), NOW, failed)
    await fetches.wait_for_address(connection, await claim(connection, feed=feed), HOUR, "no address")


async def test_an_address_that_is_missing_is_no_failure_and_is_named(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await waiting_for_address(connection, "adyen")
        assert await row(connection) == (0, "no address", True, False, False)
        await fetches.release(connection, ["adyen"])
        assert await row(connection) == (0, None, False, True, False)
        # what hindered it next is not the address
        await fetches.postpone(connection, await claim(connection), HOUR, None)
        assert await row(connection) == (0, None, False, False, False)


async def test_what_waited_for_an_address_and_then_for_kafka_has_not_failed(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await waiting_for_address(connection, "adyen")
        await connection.execute(text("UPDATE fetches SET due_at = now()"))
        await fetches.postpone(connection, await claim(connection), HOUR, None)
        assert await row(connection) == (0, None, False, False, False)


async def test_what_failed_after_a_wait_for_an_address_waits_for_its_schedule_alone(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await waiting_for_address(connection, "adyen")
        await connection.execute(text("UPDATE fetches SET due_at = now()"))
        for failed, state in (("answered 503", (1, "answered 503", False, False, False)),):
            await fetches.postpone(connection, await claim(connection), HOUR, failed)
            assert await row(connection) == state
        await fetches.release(connection, ["adyen"])
        assert await row(connection) == state


async def test_a_process_with_an_address_makes_due_what_waited_for_that_one_alone(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for feed in ("adyen", "braintree"):
            await waiting_for_address(connection, feed, failures=["answered 500"])
        await fetches.keep(connection, [new(feed="adyen", digest=b"failed")])
        await fetches.postpone(connection, await claim(connection), HOUR, "answered 503")
        await fetches.release(connection, ["adyen", "visa-tms"])
        rows = await connection.execute(
            text("SELECT feed, failures, failure, waits_for_address, due_at <= now() FROM fetches ORDER BY id")
        )
        assert [tuple(each) for each in rows] == [
            ("adyen", 1, "no address", False, True),
            ("braintree", 1, "no address", True, False),
            ("adyen", 1, "answered 503", False, False),
        ]


async def test_only_so_many_of_each_feed_are_claimed_the_longest_due_first(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for feed in ("adyen", "visa-tms"):
            await fetches.keep(connection, [new(n, feed=feed, digest=bytes([n])) for n in range(3)])
        await connection.execute(text("UPDATE fetches SET due_at = now() - make_interval(secs => kafka_offset)"))
        claimed = await fetches.claim(connection, {"adyen": 2, "visa-tms": 1}, lease=HOUR)
        assert sorted((one.feed, one.offset) for one in claimed) == [("adyen", 1), ("adyen", 2), ("visa-tms", 2)]
        assert {(one.attempt, one.times_received, one.failures) for one in claimed} == {(1, 1, 0)}
