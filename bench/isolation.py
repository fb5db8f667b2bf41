"""How endpoints that hang delay the deliveries to all others: the same traffic with and without them, by turns.

`repoint run --role deliver` is a process of its own, begun anew for each turn. Events are written at even distances, as
a worker writes them, and each one's time counts from when it was due.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median, quantiles

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import databases, processes
from bench.dispatch import add_endpoints, allow_many_sockets, body_of
from bench.receiver import Protocol
from producers.webhooks.notices import NoticeSender
from schemas.signature import event_id
from store import new_deliveries
from store.events import Event
from store.ids import uuid7
from store.new_deliveries import NewDelivery

_ENDPOINTS = 100
# Deliveries to every endpoint that are not measured: connections are opened by them.
_FIRST = 2
# After the last event, the others' deliveries may take so long.
_DEADLINE = 30


@dataclass(frozen=True)
class IsolationSize:
    """`rounds` turns of `seconds` for each rate, of events a second."""

    rates: Sequence[int]
    seconds: int
    rounds: int


@dataclass(frozen=True)
class _Scenario:
    """The first `number` endpoints get `share` of the events, and leave `unanswered` of their requests so."""

    name: str
    number: int
    share: float
    unanswered: float


_SCENARIOS = (
    _Scenario("1 of 100 endpoints hangs, with a fifth of the events", 1, 0.2, 1.0),
    _Scenario("4 of 100 endpoints leave nine of ten requests unanswered", 4, 0.2, 0.9),
)


@dataclass(frozen=True)
class _Turn:
    """The traffic of one dispatcher's life: `rate` events a second for `seconds`, to the endpoints `ids`."""

    scenario: _Scenario
    ids: Sequence[str]
    rate: int
    seconds: int

    def receivers(self) -> Iterator[str]:
        """Yield the endpoint of each event."""
        chance, number = random.Random(1), self.scenario.number
        while True:
            hangs = chance.random() < self.scenario.share
            yield chance.choice(self.ids[:number] if hangs else self.ids[number:])


class _Arrivals:
    """The times of the events that were expected, by event."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self.seconds: list[float] = []
        self.unanswered = 0.0
        self._all = asyncio.Event()

    def expect(self, id_: str, due: float) -> None:
        self._due[id_] = due
        self._all.clear()

    def on_body(self, body: bytes) -> None:
        due = self._due.pop(json.loads(body)["id"], None)
        if due is not None:
            self.seconds.append(asyncio.get_running_loop().time() - due)
            if not self._due:
                self._all.set()

    async def all(self) -> None:
        """Every expected event has come. Raises TimeoutError."""
        if self._due:
            async with asyncio.timeout(_DEADLINE):
                await self._all.wait()


class _Hanging(Protocol):
    """Leaves the share `arrivals.unanswered` of its requests without an answer."""

    def __init__(self, arrivals: _Arrivals) -> None:
        super().__init__()
        self._arrivals = arrivals

    def data_received(self, data: bytes) -> None:
        if random.random() >= self._arrivals.unanswered:
            super().data_received(data)


async def compare(url: str, size: IsolationSize) -> None:
    """Print the others' median and 99th percentile without and with hanging endpoints: medians of the rounds."""
    allow_many_sockets()
    arrivals = _Arrivals()
    loop = asyncio.get_running_loop()
    prompt = await loop.create_server(lambda: Protocol(arrivals.on_body), "127.0.0.1", 0, backlog=512)
    hanging = await loop.create_server(lambda: _Hanging(arrivals), "127.0.0.1", 0, backlog=512)
    for scenario in _SCENARIOS:
        urls = [
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{number}"
            for number in range(_ENDPOINTS)
            for server in [hanging if number < scenario.number else prompt]
        ]
        print(scenario.name)
        for rate in size.rates:
            async with databases.migrated(url, "bench_isolation") as engine:
                turn = _Turn(scenario, await add_endpoints(engine, urls), rate, size.seconds)
                before, after = await _by_turns(engine, arrivals, turn, size.rounds)
            print(f"    {rate:5} events/s   p50 {before[0]:6.1f} -> {after[0]:6.1f} ms   "
                  f"p99 {before[1]:6.1f} -> {after[1]:6.1f} ms (x {after[1] / before[1]:.2f})", flush=True)  # fmt: skip
    prompt.close()
    hanging.close()


async def _by_turns(engine: AsyncEngine, arrivals: _Arrivals, turn: _Turn, rounds: int) -> list[list[float]]:
    """The medians of `_measure` over the rounds: without hanging endpoints, and with them."""
    results: tuple[list[tuple[float, float]], ...] = ([], [])
    for _ in range(rounds):
        for unanswered, measured in zip((0.0, turn.scenario.unanswered), results, strict=True):
            arrivals.unanswered = unanswered
            measured.append(await _measure(engine, arrivals, turn))
    return [[median(values) for values in zip(*measured, strict=True)] for measured in results]


async def _measure(engine: AsyncEngine, arrivals: _Arrivals, turn: _Turn) -> tuple[float, float]:
    """The median and the 99th percentile of the times to the endpoints that answer, in milliseconds."""
    loop = asyncio.get_running_loop()
    async with (
        _noticing(engine) as notices,
        processes.running(engine, ["deliver"], DRAIN_TIMEOUT="1s", LOG_LEVEL="ERROR"),
    ):
        first = [(id_, loop.time()) for id_ in turn.ids for _ in range(_FIRST)]
        await _write(engine, notices, first, arrivals, turn.scenario)
        await arrivals.all()
        arrivals.seconds.clear()
        begun, written, all_of_them = loop.time(), 0, turn.rate * turn.seconds
        receivers = turn.receivers()
        while written < all_of_them:
            due = min(int((loop.time() - begun) * turn.rate) + 1, all_of_them)
            new = [(next(receivers), begun + number / turn.rate) for number in range(written, due)]
            await _write(engine, notices, new, arrivals, turn.scenario)
            written = due
            await asyncio.sleep(max(0.0, begun + written / turn.rate - loop.time()))
        await arrivals.all()
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE deliveries"))
    return 1000 * median(arrivals.seconds), 1000 * quantiles(arrivals.seconds, n=100)[98]


@asynccontextmanager
async def _noticing(engine: AsyncEngine) -> AsyncIterator[NoticeSender]:
    sender, stopping = NoticeSender(engine), asyncio.Event()
    running = asyncio.create_task(sender.run(stopping))
    yield sender
    stopping.set()
    await running


async def _write(
    engine: AsyncEngine,
    notices: NoticeSender,
    receivers: Sequence[tuple[str, float]],
    arrivals: _Arrivals,
    scenario: _Scenario,
) -> None:
    """Write an event of a new wallet for each endpoint, due then, and expect those of the endpoints that answer."""
    hanging = {f"bench-{number:03}" for number in range(scenario.number)}
    events = []
    for endpoint_id, due in receivers:
        id_ = uuid7()
        name, body = "PAYMENT_METHOD_DELETED", body_of(event_id(id_))
        events.append(Event(id_, str(uuid7()), endpoint_id, 1, name, str(uuid7()), body, datetime.now(UTC)))
        if endpoint_id not in hanging:
            arrivals.expect(event_id(id_), due)
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO wallets (id, hsid) SELECT id, id FROM unnest(CAST(:ids AS uuid[])) AS id"),
            {"ids": [event.wallet_id for event in events]},
        )
        await new_deliveries.enqueue(
            connection, [NewDelivery.of(event, event.merchant_id) for event in events], events=events
        )
    notices.add({endpoint_id for endpoint_id, _ in receivers})
