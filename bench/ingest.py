"""Ingest: Repoint's batch path, the same work as one ORM transaction per update, and the same writes in SQL alone.

All in one process, from messages as they are polled (Kafka itself is left out) to the commit, on copies of one
database. Repoint and SQL write the same rows in the same batches, SQL on one connection, as one function is called, and
beside it on as many as Repoint has lanes. The ORM, which is slower by far, has those too, and gets fewer updates of the
same mix.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from bench import databases, decided, load, orm
from bench.meter import Meter
from consumers import batch
from consumers.letters import Message
from consumers.worker import AHEAD
from wallets.change import Retention

LANES = 2
BATCH = 500
POLLED = LANES * BATCH * AHEAD
RETENTION = Retention(known=timedelta(days=800), unknown=timedelta(hours=72))

REPOINT = "Repoint"
SQL = "one SQL function, decided already"
SQL_IN_LANES = f"the same on {LANES} connections"
ORM = "one ORM transaction per update"


@dataclass(frozen=True)
class IngestSize:
    """`number` updates a round by Repoint and by SQL, `by_orm` by the ORM."""

    wallets: int
    number: int
    by_orm: int
    rounds: int


async def compare(url: str, size: IngestSize) -> None:
    """Print what each round took, and the medians of their ratios."""
    async with (
        load.seeded(url, "bench_ingest", size.wallets) as seeded,
        databases.copied(seeded, "bench_ingest_repoint") as repoint,
        databases.copied(seeded, "bench_ingest_sql") as sql,
        databases.copied(seeded, "bench_ingest_sql_lanes") as sql_in_lanes,
        databases.copied(seeded, "bench_ingest_orm") as by_orm,
        decided.connections(sql, 1) as single_connection,
        decided.connections(sql_in_lanes, LANES) as connections,
    ):
        meter = await Meter.of(repoint)

        async def by_repoint_and_sql(polls: load.Polls) -> None:
            """SQL writes what Repoint has written."""
            number = load.number(polls)
            since = await decided.latest(repoint)
            with meter.measure(REPOINT, number):
                await take_in(repoint, polls)
            await load.analyze(repoint)
            written = await decided.harvest(repoint, since)
            with meter.measure(SQL, number):
                await decided.write(single_connection, written)
            await load.analyze(sql)
            with meter.measure(SQL_IN_LANES, number):
                await decided.write(connections, written)
            await load.analyze(sql_in_lanes)

        async def one_by_one(polls: load.Polls) -> None:
            with meter.measure(ORM, load.number(polls)):
                await orm.take_in(by_orm, polls)
            await load.analyze(by_orm)

        # to warm up, and to see that all of them write the same
        polls = load.polls(0, size.by_orm, size.wallets, LANES, POLLED)
        await by_repoint_and_sql(polls)
        await one_by_one(polls)
        written = await decided.contents(repoint)
        assert decided.numbers(written) == decided.numbers(await decided.contents(by_orm))
        print("rows written by each of them, for the same updates:", decided.numbers(written))

        meter.rounds.clear()
        for round_ in range(size.rounds):
            await one_by_one(load.polls(size.by_orm * (1 + round_), size.by_orm, size.wallets, LANES, POLLED))
            await by_repoint_and_sql(
                load.polls(size.by_orm + size.number * round_, size.number, size.wallets, LANES, POLLED)
            )
        written = await decided.contents(repoint)
        assert written == await decided.contents(sql) == await decided.contents(sql_in_lanes)

    meter.print()
    print(f"ingest: {meter.ratio(REPOINT, SQL):.2f} of {SQL} (to reach: 0.60),",
          f"{meter.ratio(REPOINT, SQL_IN_LANES):.2f} of {SQL_IN_LANES},",
          f"{meter.ratio(REPOINT, ORM):.1f} times {ORM} (to reach: 20)")  # fmt: skip


async def take_in(engine: AsyncEngine, polls: load.Polls) -> None:
    """As the Worker does: what is polled together is taken in in its lanes, batch by batch, and then its offsets go."""

    async def take_one_after_another(messages: Sequence[Message]) -> None:
        for first in range(0, len(messages), BATCH):
            await batch.take_in(engine, messages[first : first + BATCH], RETENTION)

    for polled in polls:
        async with asyncio.TaskGroup() as lanes:
            for messages in polled:
                lanes.create_task(take_one_after_another(messages))
