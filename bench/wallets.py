"""Ingest with many wallets in the database beside ingest with few, in turns, each on memory that is warm."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from bench import databases, ingest, load
from bench.meter import Meter


@dataclass(frozen=True)
class WalletsSize:
    """`number` updates a round."""

    few: int
    many: int
    number: int
    rounds: int


async def compare(url: str, size: WalletsSize) -> None:
    """Print what each round took, and the median of their ratios."""
    with_few, with_many = f"{size.few:,} wallets", f"{size.many:,} wallets"
    async with (
        load.seeded(url, "bench_few", size.few) as few,
        load.seeded(url, "bench_many", size.many) as many,
    ):
        meter = await Meter.of(many)

        async def round_(engine: AsyncEngine, name: str, first: int, wallets: int) -> None:
            """The first half is to warm up."""
            await ingest.take_in(engine, load.polls(first, size.number, wallets, ingest.LANES, ingest.POLLED))
            await load.analyze(engine)
            polls = load.polls(first + size.number, size.number, wallets, ingest.LANES, ingest.POLLED)
            with meter.measure(name, size.number):
                await ingest.take_in(engine, polls)

        for number in range(size.rounds):
            # a new copy, for its wallets would have more and more methods otherwise, and those of the many not
            async with databases.copied(few, "bench_few_again") as copy:
                await round_(copy, with_few, 0, size.few)
            await round_(many, with_many, 2 * size.number * number, size.many)

    meter.print()
    print(f"wallets: {meter.ratio(with_many, with_few):.2f} of the rate with few (to reach: 0.80)")
