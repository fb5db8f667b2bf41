"""The dispatcher beside the bare HTTP client: the same receiver, bodies and headers, 100 connections to 200 hosts.

python -m bench.dispatch            the dispatcher against the bare client, in turns
python -m bench.dispatch clients    the HTTP clients that were to choose from

Figures are ratios and CPU time per request: the machine's mood changes both sides of a round alike.
"""

import asyncio
import gc
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from typing import NamedTuple

import aiohttp
import httpx
import uvloop
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from bench.receiver import addresses
from ops import embedded
from producers.dispatcher import Dispatcher, Point
from producers.egress import networks
from producers.sender import Sender
from schemas.signature import event_id, secret, signature
from store import deliveries, events, migrate
from store.engine import connect
from store.ids import uuid7

HOSTS = 200
CONNECTIONS = 100
SECRET = secret(bytes(range(32)))
PAYLOAD = {"paymentMethod": {"card": "x" * 700}, "customer": {"enterpriseId": "e" * 40}}

Post = Callable[[str, dict[str, str], bytes], Awaitable[int]]


class Round(NamedTuple):
    """A round's requests a second, and the CPU microseconds of each in this process."""

    name: str
    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.name:34} {self.rate:8.0f}/s {self.cpu:8.1f} us CPU each"


@contextmanager
def receiver() -> Iterator[list[str]]:
    """URLs on HOSTS addresses, served by a process of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench.receiver", str(HOSTS), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        yield [f"http://{address}:{port}/hooks" for address in addresses(HOSTS)]
        process.stdin.close()


def body_of(id_: str) -> bytes:
    return json.dumps({"id": id_, "payload": PAYLOAD}).encode()


# --- bare clients -----------------------------------------------------------------------------------------------


async def drive(name: str, post: Post, urls: list[str], requests: int) -> Round:
    """CONNECTIONS tasks share the requests; each request goes to the next host."""
    id_ = event_id(uuid7())
    body = body_of(id_)
    now = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Repoint/bench",
        "webhook-id": id_,
        "webhook-timestamp": str(now),
        "webhook-signature": signature([SECRET], id_, now, body),
    }
    numbers = count()

    async def some() -> None:
        while (number := next(numbers)) < requests:
            status = await post(urls[number % HOSTS], headers, body)
            assert status == 200

    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
    took, used = time.perf_counter() - begun, time.process_time() - used
    return Round(name, requests / took, used / requests * 1e6)


@asynccontextmanager
async def aiohttp_client() -> AsyncIterator[Post]:
    """As the Sender sets it up, less all that the Sender does about it."""
    parsed: dict[str, URL] = {}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=15),
    ) as session:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            to = parsed.get(url) or parsed.setdefault(url, URL(url))
            async with session.post(to, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response.status

        yield post


@asynccontextmanager
async def httpx_client() -> AsyncIterator[Post]:
    # it is slow enough here for its pool to close connections, after 5 s by default, that are just being taken
    limits = httpx.Limits(max_connections=2 * HOSTS, max_keepalive_connections=2 * HOSTS, keepalive_expiry=None)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=15) as client:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            return (await client.post(url, headers=headers, content=body)).status_code

        yield post


@asynccontextmanager
async def httpx_aiohttp_client() -> AsyncIterator[Post]:
    from httpx_aiohttp import AiohttpTransport  # type: ignore[import-not-found] # noqa: PLC0415 - only to compare

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        httpx.AsyncClient(transport=AiohttpTransport(client=session), trust_env=False, timeout=15) as client,
    ):

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            return (await client.post(url, headers=headers, content=body)).status_code

        yield post


@asynccontextmanager
async def aiosonic_client() -> AsyncIterator[Post]:
    import aiosonic  # type: ignore[import-not-found] # noqa: PLC0415 - only to compare

    pools = {":default": aiosonic.connectors.PoolConfig(size=HOSTS)}
    async with aiosonic.HTTPClient(connector=aiosonic.TCPConnector(pool_configs=pools)) as client:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            response = await client.post(url, headers=dict(headers), data=body)
            await response.content()
            return int(response.status_code)

        yield post


@asynccontextmanager
async def pyreqwest_client() -> AsyncIterator[Post]:
    from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found] # noqa: PLC0415 - only to compare

    async with ClientBuilder().build() as client:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            response = await client.post(url).headers(headers).body_bytes(body).build().send()
            await response.bytes()
            return int(response.status)

        yield post


@asynccontextmanager
async def wreq_client() -> AsyncIterator[Post]:
    import wreq  # type: ignore[import-not-found] # noqa: PLC0415 - only to compare

    client = wreq.Client()

    async def post(url: str, headers: dict[str, str], body: bytes) -> int:
        response = await client.post(url, headers=headers, body=body)
        await response.bytes()
        return int(response.status.as_int())

    yield post


# A client's package, its context manager, how many of the requests it is given, and what rules it out.
CLIENTS = (
    ("aiohttp", aiohttp_client, 1.0, "chosen: socket_factory sees every address that is dialled"),
    ("httpx", httpx_client, 0.05, "its pool looks at every connection for every request"),
    ("httpx_aiohttp", httpx_aiohttp_client, 0.3, ""),
    ("aiosonic", aiosonic_client, 0.5, "no way to check the dialled address"),
    ("pyreqwest", pyreqwest_client, 1.0, "no way to check the dialled address"),
    ("wreq", wreq_client, 1.0, "no way to check the dialled address"),
)


def compare_clients(requests: int) -> None:
    """Every client on both loops; one that is not installed says so."""
    with receiver() as urls:
        for package, client, part, remark in CLIENTS:
            if find_spec(package) is None:
                print(f"{package:34} not installed here: pip install {package.replace('_', '-')}")
                continue
            for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):

                async def measure(name: str = f"{package} on {loop}") -> Round:
                    async with client() as post:  # noqa: B023 - run before the next turn
                        await drive(name, post, urls, HOSTS)
                        return await drive(name, post, urls, int(requests * part))  # noqa: B023

                print(run(measure()), f"   {remark}", flush=True)


# --- the dispatcher ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def database() -> AsyncIterator[AsyncEngine]:
    """The one that REPOINT_DATABASE_URL names, or an embedded one without fsync."""
    with embedded.postgres(durable=False) if "REPOINT_DATABASE_URL" not in os.environ else _named() as url:
        await migrate.upgrade(url)
        engine = connect(url)
        yield engine
        await engine.dispose()


@contextmanager
def _named() -> Iterator[str]:
    yield os.environ["REPOINT_DATABASE_URL"]


async def add_endpoints(engine: AsyncEngine, urls: list[str]) -> list[str]:
    ids = [f"bench-{number:03}" for number in range(len(urls))]
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO merchants (id, name) SELECT id, id FROM unnest(CAST(:ids AS text[])) AS id"),
            {"ids": ids},
        )
        await connection.execute(
            text("""
                INSERT INTO endpoints (id, merchant_id, url, secrets, event_types)
                SELECT id, id, url, ARRAY[:secret], '{PAYMENT_METHOD_REPLACED, PAYMENT_METHOD_DELETED}'
                FROM unnest(CAST(:ids AS text[]), CAST(:urls AS text[])) AS endpoint(id, url)"""),
            {"ids": ids, "urls": urls, "secret": SECRET},
        )
    return ids


async def enqueue(engine: AsyncEngine, endpoint_ids: list[str], number: int) -> None:
    """Half as many replacements: a REPLACED and its DELETED for one endpoint each, in batches of 500."""
    for start in range(0, number, 500):
        async with engine.begin() as connection:
            made = []
            wallets = [str(uuid7()) for _ in range(250)]
            await connection.execute(
                text("INSERT INTO wallets (id, hsid) SELECT id, id FROM unnest(CAST(:ids AS uuid[])) AS id"),
                {"ids": wallets},
            )
            for place, wallet in enumerate(wallets):
                merchant = endpoint_ids[(start // 2 + place) % len(endpoint_ids)]
                for sequence, name in enumerate(("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"), 1):
                    id_ = uuid7()
                    made.append(
                        events.Event(id_, wallet, merchant, sequence, name, str(uuid7()), body_of(event_id(id_)),
                                     datetime.now(UTC))
                    )  # fmt: skip
            await events.insert(connection, made)
            await deliveries.enqueue(
                connection,
                [deliveries.NewDelivery(one.id, one.merchant_id, one.wallet_id, one.sequence) for one in made],
            )


async def dispatch(engine: AsyncEngine, number: int) -> tuple[Round, float]:
    """Deliver all that waits, record and stop; the round, and SQL statements per delivery."""
    statements = 0

    def counted(*_call: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(engine.sync_engine, "before_cursor_execute", counted)
    stopping = asyncio.Event()
    left = count(number - 1, -1)

    def at(point: Point) -> None:
        if point == "read" and not next(left):
            stopping.set()

    async with Sender(version="bench", allow=networks(["127.0.0.0/8"])) as sender:
        dispatcher = Dispatcher(engine, sender, connections=CONNECTIONS, at=at)
        begun, used = time.perf_counter(), time.process_time()
        await dispatcher.run(stopping)
        took, used = time.perf_counter() - begun, time.process_time() - used
    event.remove(engine.sync_engine, "before_cursor_execute", counted)
    return Round("dispatcher", number / took, used / number * 1e6), statements / number


async def compare_dispatcher(number: int, rounds: int) -> None:
    """The bare client and the dispatcher in turns, in one process on one loop."""
    ratios, costs, statements = [], [], []
    with receiver() as urls:
        async with database() as engine, aiohttp_client() as post:
            ids = await add_endpoints(engine, urls)
            await drive("warming up", post, urls, 10 * HOSTS)
            await enqueue(engine, ids, 1000)
            await dispatch(engine, 1000)
            for _ in range(rounds):
                await enqueue(engine, ids, number)
                gc.collect()
                bare = await drive("bare aiohttp", post, urls, number)
                whole, per_delivery = await dispatch(engine, number)
                ratios.append(whole.rate / bare.rate)
                costs.append(whole.cpu / bare.cpu)
                statements.append(per_delivery)
                print(bare, whole, f"ratio {ratios[-1]:.2f}   {per_delivery:.3f} statements a delivery", sep="\n")
            async with engine.connect() as connection:
                delivered = await connection.scalar(
                    text("SELECT count(*) FROM delivery_history WHERE status = 'DELIVERED'")
                )
            assert delivered == 1000 + rounds * number, delivered
    print(f"dispatcher / bare client: median {statistics.median(ratios):.2f} of its rate (to reach: 0.85),",
          f"{statistics.median(costs):.2f} of its CPU;",
          f"{statistics.median(statements):.3f} SQL statements a delivery (to reach: 0.1)")  # fmt: skip


def main() -> None:
    _allow_many_sockets()
    gc.set_threshold(50_000, 20, 20)  # as ops.run does
    if sys.argv[1:] == ["clients"]:
        compare_clients(requests=20_000)
    else:
        uvloop.run(compare_dispatcher(number=20_000, rounds=5))


def _allow_many_sockets() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))


if __name__ == "__main__":
    main()
