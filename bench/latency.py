"""From an update's being due on the topic to its webhooks' coming in: at a low rate, at a quarter of the top rate, and
all at once.

`repoint run` is a process of its own, on PostgreSQL and Kafka. Updates are produced at even distances whether or not
the former ones have come through, and each one's time counts from when it was due.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Self

from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import ingest, load, processes, topics
from bench.meter import Meter, cpu_seconds
from bench.receiver import Protocol
from testbed.kafka import Broker

# The last of them is given so long.
DEADLINE = 60


# Updates a second of an ordinary hour, far below what one process can take in.
_ORDINARY_RATE = 50
# Updates that are not measured.
_FIRST = 50
# The rate at which all updates are due at once.
_BURST = float("inf")


@dataclass(frozen=True)
class LatencySize:
    """The top rate is the median of `rounds` of `number` updates; then `seconds` at each rate."""

    wallets: int
    number: int
    rounds: int
    seconds: int


async def measure(url: str, broker: Broker, size: LatencySize) -> None:
    """Print median and 99th percentile by the name of the event, and what a delivery costs, at some rates."""
    arrivals = _Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(arrivals.on_body), "127.0.0.1", 0)
    hooks = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
    async with load.seeded(url, "bench_latency", size.wallets, endpoint=hooks) as engine:
        top = await _top_rate(engine, size)
        first = size.number * size.rounds
        for rate, roles in (
            (_ORDINARY_RATE, ["all"]),
            (_ORDINARY_RATE, ["consume", "deliver"]),
            (top / 4, ["all"]),
            (_BURST, ["all"]),
        ):
            number = size.number if rate == _BURST else int(rate * size.seconds)
            updates = list(load.updates(first, number, size.wallets))
            first += len(updates)
            async with (
                topics.temporary(broker, load.TOPIC),
                processes.running(engine, roles, KAFKA_BOOTSTRAP_SERVERS=broker.servers, VENDOR_HOLD_SHARE="0") as ids,
            ):
                await _all_delivered(engine)
                # until its first webhooks come, a process starts, joins its group and makes its connections
                await _produce(broker, updates[:_FIRST], rate, arrivals)
                await arrivals.all()
                arrivals.seconds.clear()
                costs = await _Costs.begin(engine, ids)
                begun = time.monotonic()
                await _produce(broker, updates[_FIRST:], rate, arrivals)
                await arrivals.all()
                seconds = time.monotonic() - begun
                sent = f"{number} updates at once" if rate == _BURST else f"{rate:.0f} updates/s for {size.seconds} s"
                deliveries = sum(map(len, arrivals.seconds.values()))
                print(f"latency: {sent}; {' + '.join(roles)}; {deliveries / seconds:.0f} deliveries/s; "
                      f"Kafka: {broker.origin}")  # fmt: skip
                for name, latencies in sorted(arrivals.seconds.items()):
                    print(f"    {name:24} {len(latencies):6} webhooks   p50 {1000 * median(latencies):6.1f} ms   "
                          f"p99 {1000 * quantiles(latencies, n=100)[98]:6.1f} ms")  # fmt: skip
                await costs.print(deliveries)
        print(f"    (top rate: {top:.0f} updates/s)")
    server.close()


class _Costs:
    """CPU and WAL since `begin`: of the program's processes, and of PostgreSQL with what else it does meanwhile."""

    def __init__(self, engine: AsyncEngine, meter: Meter, processes: Sequence[int]) -> None:
        self._engine = engine
        self._meter = meter
        self._processes = processes
        self._before = (0.0, 0.0, 0.0)

    @classmethod
    async def begin(cls, engine: AsyncEngine, processes: Sequence[int]) -> Self:
        costs = cls(engine, await Meter.of(engine), processes)
        costs._before = await costs._now()
        return costs

    async def print(self, deliveries: int) -> None:
        totals = zip(await self._now(), self._before, strict=True)
        program, server, wal = ((now - before) / deliveries for now, before in totals)
        print(f"    a delivery: CPU {1000 * program:.2f} (program) + {1000 * server:.2f} ms (PostgreSQL), "
              f"WAL {wal / 1000:.1f} kB", flush=True)  # fmt: skip

    async def _now(self) -> tuple[float, float, float]:
        async with self._engine.connect() as connection:
            wal = await connection.scalar(text("SELECT pg_current_wal_lsn() - '0/0'"))
        return sum(map(cpu_seconds, self._processes)), self._meter.server_seconds(), float(wal or 0)


class _Arrivals:
    """When each wallet's update was due, and how long its webhooks took."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._awaited = 0
        self._all = asyncio.Event()
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def expect(self, update: load.UpdateMessage, due: float) -> None:
        customer = f"e{update.wallet}"
        if customer not in self._due:
            self._due[customer] = due
            # REPLACED and DELETED, or UPDATED alone, to each of its merchants
            self._awaited += (1 + update.wallet % 2) * (2 if b"NUMBER_REPLACED" in update.body else 1)

    def on_body(self, body: bytes) -> None:
        event = json.loads(body)
        due = self._due.get(event["payload"]["customer"]["enterpriseId"])
        if due is not None:
            self.seconds[event["name"]].append(asyncio.get_running_loop().time() - due)
            self._awaited -= 1
            if not self._awaited:
                self._all.set()

    async def all(self) -> None:
        """Everything that was expected has come.

        Raises:
            TimeoutError: it has not, after DEADLINE seconds.
        """
        self._all.clear()
        if self._awaited:
            async with asyncio.timeout(DEADLINE):
                await self._all.wait()


async def _top_rate(engine: AsyncEngine, size: LatencySize) -> float:
    meter = await Meter.of(engine)
    for first in range(0, size.number * size.rounds, size.number):
        polls = load.polls(first, size.number, size.wallets, ingest.LANES, ingest.POLLED)
        with meter.measure(ingest.REPOINT, size.number):
            await ingest.take_in(engine, polls)
        await load.analyze(engine)
    return meter.rate(ingest.REPOINT)


async def _all_delivered(engine: AsyncEngine) -> None:
    """What the measuring of the top rate has left to deliver is gone."""
    async with engine.connect() as connection, asyncio.timeout(20 * DEADLINE):
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        while await connection.scalar(text("SELECT EXISTS (SELECT FROM deliveries)")):  # noqa: ASYNC110 - another's work
            await asyncio.sleep(0.5)


async def _produce(broker: Broker, updates: list[load.UpdateMessage], rate: float, arrivals: _Arrivals) -> None:
    loop = asyncio.get_running_loop()
    async with AIOKafkaProducer(bootstrap_servers=broker.servers, acks="all", enable_idempotence=True) as producer:
        await producer.partitions_for(load.TOPIC)
        begun = loop.time()
        for at, update in enumerate(updates):
            due = begun + at / rate
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            arrivals.expect(update, due)
            await producer.send(load.TOPIC, update.body, update.key)
