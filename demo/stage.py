"""`repoint demo`: the story end to end, on embedded parts that are removed when it ends.

load wallets → one update, shown line by line → the whole feed → the accounts, which must balance
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from demo import story
from demo.receivers import Receivers, busy_at_first, disabling, healthy, listening
from demo.story import Printer
from ops import json_lines, secret_keys, terminal
from ops.commands import merchants as merchant_files
from ops.jobs import run_together
from ops.retention import retention
from ops.run import Role, assembled
from ops.settings import Settings
from ops.terminal import Failed
from ops.wallet_file import import_file
from producers.topic import ingest, stream
from producers.topic.stream import FeedLine
from schemas.canonical import parse
from schemas.duration import spell
from schemas.merchant import MerchantLine
from schemas.wallet import read_wallet
from store import connectivity, dead_letters, listings
from store.accounting import Totals, take_stock
from store.status import MethodHistory, find

# A default for the setting: REPOINT_RETRY_SCHEDULE in the environment takes precedence, and the demo prints what runs.
RETRY_SCHEDULE = (timedelta(milliseconds=200), timedelta(milliseconds=400), timedelta(seconds=1), timedelta(seconds=2))
LOOPBACK = ip_network("127.0.0.0/8")

_BEHAVIOURS = {"m-pharmacy": healthy, "m-streaming": busy_at_first, "m-gym": disabling}

_KEY = b"demo"
_LOOK_SECONDS = 0.1
# Even a slow machine records an update or a delivery within that time.
_PATIENCE_SECONDS = 30


@dataclass
class _Stage:
    """The state that all acts share. `produced` counts the messages that the broker has acknowledged."""

    write: Printer
    settings: Settings
    examples: Path
    servers: str
    engine: AsyncEngine
    merchants: dict[int, MerchantLine]
    receivers: Receivers
    produced: int = 0
    names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {merchant.id: merchant.name for merchant in self.merchants.values()}

    async def send(
        self, lines: AsyncIterator[FeedLine], on_acknowledged: Callable[[FeedLine], None] = lambda _: None
    ) -> None:
        sent = await stream.send(
            _in_one_partition(lines),
            bootstrap_servers=self.servers,
            topic=self.settings.kafka_topic,
            on_acknowledged=on_acknowledged,
        )
        self.produced += sent.acknowledged
        if sent.refused:
            raise Failed(f"the broker did not take {terminal.counted(sent.refused, 'line')}: {sent.first_refusal}")

    async def accounts(self) -> Totals:
        async with connectivity.snapshot(self.engine) as connection:
            return await take_stock(connection)

    async def status(self, method_id: str) -> MethodHistory:
        async with connectivity.snapshot(self.engine) as connection:
            history = await find(connection, method_id)
        assert history is not None
        return history


def settings_of_the_demo(settings: Settings) -> Settings:
    """The settings with loopback allowed, and with quick retries unless they are set otherwise."""
    changed: dict[str, object] = {
        "egress_allow": (LOOPBACK, *settings.egress_allow),
        "kafka_security_protocol": "PLAINTEXT",
    }
    if "retry_schedule" not in settings.model_fields_set:
        changed["retry_schedule"] = RETRY_SCHEDULE
    return settings.model_copy(update=changed)


async def play(settings: Settings, examples: Path, *, database_url: str, servers: str) -> None:
    """Play the demo: the story on stdout, progress on stderr. Raises Failed unless everything adds up."""
    merchants = merchant_files.read_file(examples / "merchants.jsonl")
    async with (
        listening({merchant.id: merchant.endpoints[0].secret for merchant in merchants.values()}, _BEHAVIOURS) as (
            receivers,
            urls,
        ),
        connectivity.opened(database_url, pool_size=settings.consumer_lanes + 6) as engine,
    ):
        write = Printer(terminal.results())
        stage = _Stage(write, settings, examples, servers, engine, _at(merchants, urls), receivers)
        await _load(stage)
        with (examples / "updates.jsonl").open("rb") as stream:
            lines = ingest.read_updates(stream)
            async with _working(stage):
                await _one_customer(stage, await anext(lines))
                await _whole_feed(stage, lines)
        await _accounts(stage)


# --- the acts -----------------------------------------------------------------------------------------------------


async def _load(stage: _Stage) -> None:
    wallets = stage.examples / "wallets.jsonl"
    keys = secret_keys.keys(stage.settings)
    await merchant_files.put(stage.engine, stage.merchants, wallets, keys, dry_run=False)
    kept = retention(stage.settings)
    done = await import_file(stage.engine, wallets, kept, identifiers=stage.settings.identifiers, dry_run=False)
    schedule = ",".join(map(spell, stage.settings.retry_schedule))
    stage.write.title("Repoint, on an embedded database and broker, with three merchants on loopback")
    stage.write("loaded", f"{terminal.counted(done.wallets, 'wallet')} of {', '.join(stage.names.values())}")
    stage.write("set", f"REPOINT_RETRY_SCHEDULE={schedule} (three days otherwise)")


async def _one_customer(stage: _Stage, first: FeedLine) -> None:
    """Show the first update of the feed, which replaces the first method of the first wallet."""
    _, text = next(json_lines.read(stage.examples / "wallets.jsonl"))
    wallet = read_wallet(text)
    [old] = wallet.methods
    [message] = first.messages
    stage.write.title(f"One customer: {old.details.holder_name}")
    stage.write.all([story.reported_by_vendor(parse(message.value).update)])
    await stage.send(_single(first))
    await _until(stage, lambda accounts: accounts.received == stage.produced)
    after = await stage.status(old.id)
    stage.write.all(story.card_facts(old, after))
    stage.write.all(story.link_facts(after, stage.names))
    written = 0

    def write_webhooks(accounts: Totals) -> bool:
        nonlocal written
        is_finished = _all_finished(accounts, stage.produced)
        for request in stage.receivers.requests[written:]:
            stage.write.all([story.webhook(request, old.id, stage.names)])
            written += 1
        return is_finished

    await _until(stage, write_webhooks)


async def _whole_feed(stage: _Stage, lines: AsyncIterator[FeedLine]) -> None:
    begun = time.monotonic()
    stage.write.title("The whole feed")
    bars = Progress(
        TextColumn("  {task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=terminal.notes(),
        transient=True,
        disable=not terminal.notes().is_terminal,
    )
    with bars:
        sent, recorded, webhooks = (bars.add_task(name, total=None) for name in ("sent", "taken in", "webhooks"))
        await stage.send(lines, lambda _: bars.advance(sent))
        bars.update(sent, total=stage.produced, completed=stage.produced)
        accounts = await _until(stage, lambda accounts: _advance(bars, recorded, webhooks, accounts, stage.produced))
    seconds = time.monotonic() - begun
    attempts = len(stage.receivers.requests)
    counts = ((stage.produced, "update"), (accounts.events, "event"), (attempts, "request"))
    updates, events, requests = (terminal.counted(count, noun) for count, noun in counts)
    stage.write("took", f"{seconds:.1f} s for {updates}, {events} and {requests}")
    async with connectivity.snapshot(stage.engine) as connection:
        letters = await dead_letters.page(connection)
        quarantined = await listings.inbox(connection, outcome="QUARANTINED", vendor=None, update_id=None, limit=100)
    stage.write.all(story.set_aside(letters, quarantined))


async def _accounts(stage: _Stage) -> None:
    accounts, requests = await stage.accounts(), stage.receivers.requests
    stage.write.title("The accounts of updates")
    stage.write.all(story.updates_balance(stage.produced, accounts))
    stage.write.title("The accounts of events")
    stage.write.all(story.events_balance(accounts))
    complaints = story.complaints(stage.produced, accounts, requests)
    if complaints:
        raise Failed("the demo failed: " + "; ".join(complaints))
    stage.write("signatures", f"{len(requests):>6}  {story.RIGHT} of all requests, checked by the merchants themselves")


# --- what they are played with ------------------------------------------------------------------------------------


def _at(merchants: dict[int, MerchantLine], urls: Mapping[str, str]) -> dict[int, MerchantLine]:
    """The merchants, their endpoints moved to the URLs of the demo's receivers."""
    return {
        number: replace(
            merchant, endpoints=tuple(replace(endpoint, url=urls[merchant.id]) for endpoint in merchant.endpoints)
        )
        for number, merchant in merchants.items()
    }


async def _in_one_partition(lines: AsyncIterator[FeedLine]) -> AsyncIterator[FeedLine]:
    """The lines with one key for all messages, so that every run reads them in the order of the file.

    Over several partitions the order would vary, and with it the number of events: C in place of A is one replacement
    or two, depending on which of A → B and B → C is read first.
    """
    async for line in lines:
        yield line._replace(messages=[message._replace(key=_KEY) for message in line.messages])


async def _single(line: FeedLine) -> AsyncIterator[FeedLine]:
    yield line


@asynccontextmanager
async def _working(stage: _Stage) -> AsyncIterator[None]:
    """Run consumer and dispatcher meanwhile, as `repoint run` does."""
    stopping = asyncio.Event()
    drain = stage.settings.drain_timeout.total_seconds()
    async with assembled(stage.settings, Role.ALL, stage.engine, stage.servers) as parts:
        work = asyncio.create_task(run_together(parts.jobs, stopping, drain_within=drain))
        try:
            yield
        finally:
            stopping.set()
            await work


def _all_finished(accounts: Totals, produced: int) -> bool:
    return accounts.received == produced and not accounts.deliveries.get("PENDING", 0)


async def _until(stage: _Stage, reached: Callable[[Totals], bool]) -> Totals:
    """The accounts as soon as `reached` holds for them. Raises Failed if they stop changing before."""
    before, since = None, time.monotonic()
    while True:
        accounts = await stage.accounts()
        if reached(accounts):
            return accounts
        if accounts != before:
            before, since = accounts, time.monotonic()
        if time.monotonic() - since > _PATIENCE_SECONDS:
            raise Failed(f"nothing has moved for {_PATIENCE_SECONDS} s: {accounts}")
        await asyncio.sleep(_LOOK_SECONDS)


def _advance(bars: Progress, recorded: TaskID, webhooks: TaskID, accounts: Totals, produced: int) -> bool:
    pending = accounts.deliveries.get("PENDING", 0)
    bars.update(recorded, completed=accounts.received, total=produced)
    bars.update(webhooks, completed=sum(accounts.deliveries.values()) - pending, total=accounts.events)
    return _all_finished(accounts, produced)
