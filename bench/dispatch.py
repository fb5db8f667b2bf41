"""The dispatcher beside bare HTTP clients: the same receiver, bodies and headers, 100 connections to 200 hosts.

Bare are aiohttp, which takes the least CPU of the clients that are kept by others and let the dialled address be
checked, and the dispatcher's own Sender. `python -m bench.dispatch` compares all that were to choose from instead.
"""

import asyncio
import gc
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from statistics import median

import aiohttp
import httpx
import uvloop
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from bench import databases
from bench.meter import Meter
from bench.receiver import addresses
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher, DispatchPoint
from producers.webhooks.sender import Sender
from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import event_id, secret, signature
from store import events, new_deliveries
from store.ids import uuid7

BARE = "bare aiohttp"
BARE_SENDER = "bare Sender"
WHOLE = "dispatcher"
HOSTS = 200
CONNECTIONS = 100
SECRET = secret(bytes(range(32)))
PAYLOAD = {"paymentMethod": {"card": "x" * 700}, "customer": {"enterpriseId": "e" * 40}}

Post = Callable[[str, dict[str, str], bytes], Awaitable[int]]


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


async def drive(post: Post, urls: list[str], requests: int) -> None:
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

    async def post_in_turn() -> None:
        while (number := next(numbers)) < requests:
            status = await post(urls[number % HOSTS], headers, body)
            assert status == 200

    await asyncio.gather(*(post_in_turn() for _ in range(CONNECTIONS)))


@asynccontextmanager
async def sender_client() -> AsyncIterator[Post]:
    async with Sender(version="bench", allow=parse_networks(["127.0.0.0/8"])) as sender:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            own = {name: headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
            return (await sender.post(url, own, body, endpoint=url)).status_code or 0

        yield post


@asynccontextmanager
async def aiohttp_client() -> AsyncIterator[Post]:
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
    ("producers", sender_client, 1.0, "our own, on httptools; checks every address that is dialled"),
    ("aiohttp", aiohttp_client, 1.0, "socket_factory sees every address that is dialled"),
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

                async def measure(number: int = int(requests * part)) -> tuple[float, float]:
                    async with client() as post:  # noqa: B023 - run before the next turn
                        await drive(post, urls, HOSTS)
                        begun, used = time.perf_counter(), time.process_time()
                        await drive(post, urls, number)
                        return number / (time.perf_counter() - begun), (time.process_time() - used) / number

                rate, cpu = run(measure())
                print(
                    f"{package + ' on ' + loop:34} {rate:8.0f}/s   CPU {1e6 * cpu:7.1f} us each   {remark}", flush=True
                )


# --- the dispatcher ---------------------------------------------------------------------------------------------


async def add_endpoints(engine: AsyncEngine, urls: list[str]) -> list[str]:
    ids = [f"bench-{number:03}" for number in range(len(urls))]
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO merchants (id, name) SELECT id, id FROM unnest(CAST(:ids AS text[])) AS id"),
            {"ids": ids},
        )
        await connection.execute(
            text("""
                INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types)
                SELECT id, id, url, ARRAY[sealed_secret], '{PAYMENT_METHOD_REPLACED, PAYMENT_METHOD_DELETED}'
                FROM unnest(CAST(:ids AS text[]), CAST(:urls AS text[]), CAST(:secrets AS text[]))
                     AS endpoint(id, url, sealed_secret)"""),
            {"ids": ids, "urls": urls, "secrets": [BUILT_IN_KEYS.seal(SECRET, "secret", id_) for id_ in ids]},
        )
    return ids


async def enqueue(engine: AsyncEngine, endpoint_ids: list[str], number: int) -> None:
    """Half as many replacements: a REPLACED and its DELETED for one endpoint each, in batches of 500."""
    for start in range(0, number, 500):
        async with engine.begin() as connection:
            new_events = []
            wallets = [str(uuid7()) for _ in range(250)]
            await connection.execute(
                text("INSERT INTO wallets (id, hsid) SELECT id, id FROM unnest(CAST(:ids AS uuid[])) AS id"),
                {"ids": wallets},
            )
            for place, wallet in enumerate(wallets):
                merchant = endpoint_ids[(start // 2 + place) % len(endpoint_ids)]
                for sequence, name in enumerate(("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"), 1):
                    id_ = uuid7()
                    new_events.append(
                        events.Event(id_, wallet, merchant, sequence, name, str(uuid7()), body_of(event_id(id_)),
                                     datetime.now(UTC))
                    )  # fmt: skip
            await new_deliveries.enqueue(
                connection,
                [new_deliveries.NewDelivery.of(new_event, new_event.merchant_id) for new_event in new_events],
                events=new_events,
            )


async def dispatch(engine: AsyncEngine, number: int) -> float:
    """Deliver all that waits, record and stop; SQL statements per delivery."""
    statements = 0

    def counted(*_call: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(engine.sync_engine, "before_cursor_execute", counted)
    stopping = asyncio.Event()
    remaining = count(number - 1, -1)

    def at(point: DispatchPoint) -> None:
        if point == "read" and not next(remaining):
            stopping.set()

    async with Sender(version="bench", allow=parse_networks(["127.0.0.0/8"])) as sender:
        await Dispatcher(engine, sender, connections=CONNECTIONS, on_point=at).run(stopping)
    event.remove(engine.sync_engine, "before_cursor_execute", counted)
    return statements / number


@dataclass(frozen=True)
class DispatchSize:
    """`number` deliveries a round."""

    number: int
    rounds: int


async def compare(url: str, size: DispatchSize) -> None:
    """Print what each round took, and the medians of their ratios: bare clients and dispatcher on one loop."""
    allow_many_sockets()
    statements = []
    with receiver() as urls:
        async with databases.migrated(url, "bench_dispatch") as engine:
            meter = await Meter.of(engine)
            ids = await add_endpoints(engine, urls)
            async with aiohttp_client() as post:
                await drive(post, urls, 10 * HOSTS)
            await enqueue(engine, ids, 1000)
            await dispatch(engine, 1000)
            for _ in range(size.rounds):
                await enqueue(engine, ids, size.number)
                gc.collect()
                # all of them open their connections in the round
                for name, client in ((BARE, aiohttp_client), (BARE_SENDER, sender_client)):
                    with meter.measure(name, size.number):
                        async with client() as post:
                            await drive(post, urls, size.number)
                with meter.measure(WHOLE, size.number):
                    statements.append(await dispatch(engine, size.number))
            async with engine.connect() as connection:
                delivered = await connection.scalar(
                    text("SELECT count(*) FROM delivery_history WHERE status = 'DELIVERED'")
                )
            assert delivered == 1000 + size.rounds * size.number, delivered
    meter.print()
    print(f"dispatch: {meter.ratio(WHOLE, BARE):.2f} of {BARE} (to reach: 0.85),",
          f"{meter.ratio(WHOLE, BARE_SENDER):.2f} of the {BARE_SENDER},",
          f"{median(statements):.3f} SQL statements a delivery (to reach: 0.1)")  # fmt: skip


def main() -> None:
    """The HTTP clients that were to choose from."""
    allow_many_sockets()
    compare_clients(requests=20_000)


def allow_many_sockets() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))


if __name__ == "__main__":
    main()
