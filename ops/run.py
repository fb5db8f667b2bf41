"""`repoint run` in one process: the parts of a role, wired together and ended together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from importlib.metadata import version

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from api.feeds import FeedIntake
from api.listener import Listener
from consumers import batch, thin, upkeep
from consumers.delivery_gauges import Measuring
from consumers.halving import OnReplaced
from consumers.held import HeldIntake
from consumers.vendor_watch import VendorWatch
from consumers.worker import Worker
from loops.progress import Stalled
from loops.waiting import event_or_timeout
from ops import edge, egress, kafka, secret_keys, telemetry
from ops.jobs import Job, run_together
from ops.retention import keep, kept, retention
from ops.settings import Settings
from ops.summary import MinuteSummary
from ops.telemetry import Probe
from ops.terminal import Failed
from ops.topic_log import topic_log
from ops.vendor_addresses import vendor_client
from producers.topic.publisher import Publisher
from producers.vendors.client import VendorClient
from producers.vendors.fetcher import Fetcher
from producers.webhooks.destination import Destinations
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.kafka_topics import KafkaTopics
from producers.webhooks.notices import NoticeListener, NoticeSender
from producers.webhooks.replaying import Replaying
from producers.webhooks.sender import Sender
from reconciliation.schedule import Reconciling
from schemas.feeds import FEEDS
from store import connectivity
from store.engine import is_pooled
from wallets import unfinished
from wallets.announcements import OnDue

log = structlog.get_logger()

# How often each loop is asked whether it has stalled, which takes it 180 s.
_LOOK_SECONDS = 5
# After the drain timeout (25 s), within the 30 s that supervisors wait.
_LATE_SECONDS = 2


class Role(StrEnum):
    """The role of a process: `all` is all others. Upkeep goes with consume."""

    ALL = "all"
    CONSUME = "consume"
    DELIVER = "deliver"
    RECONCILE = "reconcile"
    API = "api"

    @property
    def consumes(self) -> bool:
        return self in {Role.ALL, Role.CONSUME}

    @property
    def delivers(self) -> bool:
        return self in {Role.ALL, Role.DELIVER}

    @property
    def reconciles(self) -> bool:
        return self in {Role.ALL, Role.RECONCILE}

    @property
    def listens(self) -> bool:
        return self in {Role.ALL, Role.API}

    @property
    def needs_broker(self) -> bool:
        return self.consumes or self.listens

    @property
    def needs_database(self) -> bool:
        return self.consumes or self.delivers or self.reconciles


@dataclass
class Parts:
    """The parts of a process: `jobs` end when the event they are given is set."""

    jobs: dict[str, Job] = field(default_factory=dict)
    ready: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    stalled: list[Callable[[], str | None]] = field(default_factory=list)

    def stuck(self) -> str | None:
        return next(filter(None, (ask() for ask in self.stalled)), None)


async def run(settings: Settings, role: Role, *, database_url: str, servers: str, stopping: asyncio.Event) -> None:
    """Work in `role` until `stopping` is set, then drain.

    Raises:
        store.connectivity.Unusable: the database does not answer, or was not migrated. Later on it is waited for.
    """
    async with (
        _database(settings, role, database_url) as engine,
        assembled(settings, role, engine, servers) as parts,
        _telling(settings, parts, engine, stopping) as port,
    ):
        log.info("running", role=role.value, port=port)
        await run_together(parts.jobs, stopping, drain_within=settings.drain_timeout.total_seconds() + _LATE_SECONDS)
    log.info("stopped", role=role.value)


@asynccontextmanager
async def _database(settings: Settings, role: Role, url: str) -> AsyncIterator[AsyncEngine | None]:
    """The engine; None for a role that only takes in posts, and goes on while the database is away."""
    if not role.needs_database:
        yield None
        return
    async with connectivity.opened(url, pool_size=settings.consumer_lanes + 8, short=True) as engine:
        yield engine


@asynccontextmanager
async def assembled(settings: Settings, role: Role, engine: AsyncEngine | None, servers: str) -> AsyncIterator[Parts]:
    """The parts of `role`, not started yet. Vendors may post from here on.

    Raises:
        Failed: the port for feeds cannot be had.
    """
    parts = Parts()
    async with AsyncExitStack() as stack:
        publisher = None
        if role.needs_broker:
            publisher = await stack.enter_async_context(_publisher(settings, servers))
        dispatcher = None
        if role.delivers:
            assert engine is not None
            sender = await stack.enter_async_context(_sender(settings))
            topics = await stack.enter_async_context(_topics(settings, servers))
            dispatcher = _dispatcher(settings, engine, sender, {topics.scheme: topics})
            parts.jobs["dispatcher"] = dispatcher.run
            parts.ready["dispatcher"] = dispatcher.ready
            parts.stalled.append(dispatcher.stalled)
            parts.jobs["replays"] = Replaying(engine, dispatcher.wake).run
            if is_pooled(engine):
                log.info("new deliveries of other processes are looked for: a pooler passes no notices on")
            else:
                parts.jobs["notices"] = NoticeListener(engine, dispatcher.wake).run
        if role.consumes:
            assert engine is not None
            on_due = _on_due(parts, engine, dispatcher)
            _add_worker(parts, settings, engine, servers, on_due)
            parts.jobs["delivery gauges"] = Measuring(engine).run
            parts.jobs["upkeep"] = partial(_keep_up, settings, engine)
            parts.jobs["unfinished updates"] = partial(_finish_updates, settings, engine, on_due)
            assert publisher is not None
            fetcher = _fetcher(settings, engine, await stack.enter_async_context(vendor_client(settings)), publisher)
            thin_worker = _thin_worker(settings, engine, servers)
            parts.jobs["thin events"] = thin_worker.run
            parts.ready["thin events"] = thin_worker.ready
            parts.stalled.append(thin_worker.stalled)
            parts.jobs["fetcher"] = fetcher.run
            parts.stalled.append(fetcher.stalled)
        if role.reconciles:
            assert engine is not None
            topic = topic_log(settings, servers)
            parts.jobs["reconciliation"] = Reconciling(
                engine, kept(settings), settings.reconcile_every, topic=topic
            ).run
        if role.listens and settings.feed_secrets is not None:
            assert publisher is not None
            listener = await stack.enter_async_context(_listener(settings, publisher))
            parts.jobs["feeds"] = listener.run
            parts.ready["feeds"] = publisher.ready
        parts.jobs["watchdog"] = partial(_watch, parts)
        parts.jobs["summary"] = MinuteSummary().run
        yield parts


def _add_worker(parts: Parts, settings: Settings, engine: AsyncEngine, servers: str, on_due: OnDue) -> None:
    """Add the worker of updates, and what holds a vendor's updates back and takes them in later."""
    watch = VendorWatch(engine, settings.vendor_hold_share)
    worker = _worker(settings, engine, servers, on_due=on_due, on_replaced=watch.add)
    parts.jobs["consumer"] = worker.run
    parts.ready["consumer"] = worker.ready
    parts.stalled.append(worker.stalled)
    parts.jobs["vendor watch"] = watch.run
    held = _held_intake(settings, engine, on_due=on_due)
    parts.jobs["held updates"] = held.run
    parts.stalled.append(held.stalled)


def _on_due(parts: Parts, engine: AsyncEngine, dispatcher: Dispatcher | None) -> OnDue:
    """What is called with the endpoints of new deliveries: this process's dispatcher, else those of other processes."""
    if dispatcher is not None:
        return dispatcher.wake
    if is_pooled(engine):
        log.info("dispatchers in other processes look for new deliveries twice a second: a pooler passes no notices on")
        return lambda _: None
    sender = NoticeSender(engine)
    parts.jobs["notices"] = sender.run
    return sender.add


def _worker(
    settings: Settings, engine: AsyncEngine, servers: str, *, on_due: OnDue, on_replaced: OnReplaced = lambda _: None
) -> Worker:
    return Worker(
        engine,
        bootstrap_servers=servers,
        topic=settings.kafka_topic,
        group=settings.kafka_group,
        retention=retention(settings),
        batch_size=settings.batch_size,
        batch_wait=settings.batch_wait.total_seconds(),
        lanes=settings.consumer_lanes,
        drain_within=settings.drain_timeout.total_seconds(),
        session_timeout=settings.kafka_session_timeout.total_seconds(),
        security=kafka.security(settings),
        digit_ids=settings.digit_ids,
        take_in=partial(batch.take_in, identifiers=settings.identifiers),
        on_due=on_due,
        on_replaced=on_replaced,
    )


def _held_intake(settings: Settings, engine: AsyncEngine, *, on_due: OnDue) -> HeldIntake:
    return HeldIntake(
        engine,
        retention(settings),
        partial(batch.take_in, identifiers=settings.identifiers),
        batch_size=settings.batch_size,
        digit_ids=settings.digit_ids,
        on_due=on_due,
    )


def _thin_worker(settings: Settings, engine: AsyncEngine, servers: str) -> Worker:
    """The worker of thin events, in a group of its own: a member that joins must not move the partitions of the other
    topic.

    Its topic may be missing, where no feed has thin events.
    """
    return Worker(
        engine,
        bootstrap_servers=servers,
        topic=settings.kafka_thin_topic,
        group=kafka.thin_group(settings.kafka_group),
        retention=retention(settings),
        batch_size=settings.batch_size,
        batch_wait=settings.batch_wait.total_seconds(),
        lanes=1,
        drain_within=settings.drain_timeout.total_seconds(),
        session_timeout=settings.kafka_session_timeout.total_seconds(),
        security=kafka.security(settings),
        digit_ids=settings.digit_ids,
        take_in=thin.take_in,
        optional=True,
    )


def _fetcher(settings: Settings, engine: AsyncEngine, vendors: VendorClient, publisher: Publisher) -> Fetcher:
    return Fetcher(
        engine,
        vendors,
        FEEDS,
        send=publisher.send,
        edge=partial(edge.of, edge.fingerprints(settings), digit_ids=settings.digit_ids),
        digit_ids=settings.digit_ids,
        drain_within=settings.drain_timeout.total_seconds(),
    )


def _publisher(settings: Settings, servers: str) -> Publisher:
    return Publisher(
        bootstrap_servers=servers,
        topic=settings.kafka_topic,
        thin_topic=settings.kafka_thin_topic,
        security=kafka.security(settings),
    )


@asynccontextmanager
async def _listener(settings: Settings, publisher: Publisher) -> AsyncIterator[Listener]:
    assert settings.feed_secrets is not None
    fingerprints = edge.fingerprints(settings)
    intake = FeedIntake(
        FEEDS,
        {feed: [secret.get_secret_value() for secret in secrets] for feed, secrets in settings.feed_secrets.items()},
        edge=lambda: edge.of(fingerprints, datetime.now(UTC), digit_ids=settings.digit_ids),
        send=publisher.send,
        rows=edge.rows,
    )
    listener = Listener(
        intake, settings.api_host, settings.api_port, drain_within=settings.drain_timeout.total_seconds()
    )
    try:
        async with listener:
            log.info("listening for feeds", port=listener.port, feeds=sorted(settings.feed_secrets))
            yield listener
    except OSError as error:
        where = f"{settings.api_host}:{settings.api_port} (REPOINT_API_HOST, REPOINT_API_PORT)"
        raise Failed(f"feeds cannot be listened for on {where}: {error.strerror}") from None


def _sender(settings: Settings) -> Sender:
    permitted = egress.of(settings)
    return Sender(
        version=version("repoint"),
        deadline=settings.delivery_timeout.total_seconds(),
        allow=permitted.allow,
        ports=permitted.ports,
        https_only=permitted.https_only,
        proxy=settings.egress_proxy,
    )


def _topics(settings: Settings, servers: str) -> KafkaTopics:
    """The endpoints that are topics. The broker is not waited for: most installations have no such endpoint."""
    return KafkaTopics(
        bootstrap_servers=servers,
        security=kafka.security(settings),
        deadline=settings.delivery_timeout.total_seconds(),
    )


def _dispatcher(settings: Settings, engine: AsyncEngine, sender: Sender, destinations: Destinations) -> Dispatcher:
    return Dispatcher(
        engine,
        sender,
        schedule=settings.retry_schedule,
        connections=settings.delivery_connections,
        lease=settings.delivery_lease,
        drain_within=settings.drain_timeout.total_seconds(),
        keys=secret_keys.keys(settings),
        signing_keys=secret_keys.signing_keys(settings),
        destinations=destinations,
    )


@asynccontextmanager
async def _telling(
    settings: Settings, parts: Parts, engine: AsyncEngine | None, stopping: asyncio.Event
) -> AsyncIterator[int]:
    """Serve metrics and health on the port of the settings; yields its number."""
    async with AsyncExitStack() as stack:
        serving = telemetry.serve(
            settings.http_host, settings.http_port, stuck=parts.stuck, probes=_probes(parts, engine, stopping)
        )
        try:
            port = await stack.enter_async_context(serving)
        except OSError as error:
            where = f"{settings.http_host}:{settings.http_port} (REPOINT_HTTP_HOST, REPOINT_HTTP_PORT)"
            raise Failed(f"metrics and health cannot be served on {where}: {error.strerror}") from None
        yield port


async def _keep_up(settings: Settings, engine: AsyncEngine, stopping: asyncio.Event) -> None:
    await upkeep.run(engine, keep(settings), stopping=stopping)


async def _finish_updates(settings: Settings, engine: AsyncEngine, on_due: OnDue, stopping: asyncio.Event) -> None:
    await unfinished.run(engine, retention(settings), stopping=stopping, on_due=on_due)


async def _watch(parts: Parts, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        if reason := parts.stuck():
            raise Stalled(reason)
        await event_or_timeout(stopping, _LOOK_SECONDS)


def _probes(parts: Parts, engine: AsyncEngine | None, stopping: asyncio.Event) -> dict[str, Probe]:
    async def database() -> str | None:
        return None if engine is None else await connectivity.answers(engine)

    async def goes_on() -> str | None:
        return "draining: told to stop" if stopping.is_set() else None

    return {"database": database, "stopping": goes_on} | {name: _probe(ask) for name, ask in parts.ready.items()}


def _probe(ask: Callable[[], str | None]) -> Probe:
    async def probe() -> str | None:
        return ask()

    return probe
