"""One batch of messages, one transaction: read → take in → lock → load → decide → apply → announce → record.

It runs a fixed number of statements whatever the size of the batch, one more round only where facts lead to
credentials that were not loaded yet. Whatever fails, fails the whole transaction: nothing of the batch has happened
then, and it is taken again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain import pan
from domain.decide import Decision, Parked, Turn, Verdict, decide
from domain.knowledge import Knowledge
from domain.update import Outcome, Update, UpdateType
from domain.wallet import Key, MethodId, Wallet, WalletId
from schemas import event as wire
from schemas.canonical import Unreadable, masked, parse
from store import dead_letters, deliveries, events, inbox, knowledge, merchants, wallets
from store.dead_letters import DeadLetter
from store.ids import uuid7
from store.inbox import Arrival

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

Message: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"

Point: TypeAlias = Literal["took in", "settled", "applied", "announced", "committed"]
"""Where a crash test may stop a batch."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what was told is kept: of a credential that some wallet knows, and of any other."""

    known: timedelta
    unknown: timedelta


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: how many updates had which outcome, letters, messages met before, and events made."""

    outcomes: Counter[Outcome]
    unreadable: int
    met_before: int
    events: int


async def take(
    engine: AsyncEngine,
    messages: Sequence[Message],
    keeping: Keeping,
    *,
    within_reach: AbstractSet[Key] = frozenset(),
    at: Callable[[Point], None] = lambda _: None,
) -> Taken:
    """Take in `messages`, settle the wallets they touch, and write what is to be told of it, in one transaction.

    `within_reach` are credentials to lock beside those the messages name.

    Raises:
        store.knowledge.Contended: take the batch again, with these credentials within reach.
    """
    letters, arrivals = _read(messages)
    async with engine.begin() as connection:
        met = await inbox.met(connection, arrivals)
        fresh, repeated = _sort_out(arrivals, met)
        at("took in")
        loaded = await _load(connection, [arrival.update for arrival in fresh], within_reach, keeping)
        decision = _decide(fresh, loaded)
        at("settled")
        await apply(connection, decision, loaded, keeping, known_by(loaded.wallets))
        at("applied")
        told = await announce(connection, decision.turns)
        at("announced")
        await _record(connection, fresh, repeated, decision)
        if letters:
            await dead_letters.keep(connection, letters)
    at("committed")
    verdicts = [*decision.verdicts, *(verdict for _, verdict in repeated)]
    return Taken(
        Counter(verdict.outcome for verdict in verdicts),
        len(letters),
        len(arrivals) - len(verdicts),
        told,
    )


# --- read, take in ------------------------------------------------------------------------------------------------


def _read(messages: Sequence[Message]) -> tuple[list[DeadLetter], list[Arrival]]:
    letters, arrivals = [], []
    for message in messages:
        try:
            canonical = parse(message.value or b"", message.headers)
        except Unreadable as reason:
            letters.append(dead_letter(message, str(reason)))
        else:
            arrivals.append(
                Arrival(message.topic, message.partition, message.offset, canonical.digest, canonical.update)
            )
    return letters, arrivals


def dead_letter(message: Message, reason: str) -> DeadLetter:
    """What is kept of a message that could not be used: all of it, card numbers masked."""
    body = masked(message.value or b"").encode()
    key = None if message.key is None else _storable(masked(message.key))
    digest = blake2b(body, digest_size=16).digest()
    headers = [
        (_storable(pan.mask(name)), None if value is None else _storable(masked(value)))
        for name, value in message.headers
    ]
    return DeadLetter(
        message.topic, message.partition, message.offset, digest, _storable(pan.mask(reason)), key, body, headers
    )


def _storable(text: str) -> str:
    """Without what PostgreSQL keeps in no text: a NUL, and half of a surrogate pair."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def _sort_out(arrivals: Sequence[Arrival], met: inbox.Met) -> tuple[list[Arrival], list[tuple[Arrival, Verdict]]]:
    """The updates to decide, and those whose (vendor, id) is taken; what was taken in from its place is left out."""
    originals = dict(met.originals)
    fresh, repeated = [], []
    for arrival in arrivals:
        if arrival.place in met.places:
            continue
        name = (arrival.update.stamp.vendor, arrival.update.stamp.update_id)
        digest = originals.setdefault(name, arrival.digest)
        if digest is arrival.digest:
            fresh.append(arrival)
        elif digest == arrival.digest:
            repeated.append((arrival, Verdict(Outcome.DUPLICATE, "SAME_MESSAGE")))
        else:
            repeated.append((arrival, Verdict(Outcome.QUARANTINED, "ID_REUSED")))
    return fresh, repeated


# --- lock, load, decide -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that a decision is made from, locked as far as it may be written."""

    wallets: Sequence[Wallet]
    knowledge: Knowledge
    parked: Sequence[Parked]


async def _load(
    connection: AsyncConnection, updates: Sequence[Update], within_reach: AbstractSet[Key], keeping: Keeping
) -> Loaded:
    keys = {key for update in updates for key in update.keys} | within_reach
    customers = {pair for update in updates for pair in (*update.merge_from, *update.merge_into)}
    if customers:
        keys |= await wallets.keys_of(connection, customers)
    await knowledge.lock(connection, keys, keep=keeping.unknown)
    olds = {key for update in updates if update.old is not None for key in update.old.keys}
    found = await wallets.load(connection, await wallets.lock(connection, olds, customers))
    known = known_by(found)
    if customers:
        # a merge lets one wallet come to know what is in another; it does not matter which of them here
        heirs = {wallet.merged_into for wallet in found} - {None}
        if not known <= keys or not heirs <= {wallet.id for wallet in found}:
            # heirs not found came with the merge that we waited for
            raise knowledge.Contended(known - keys)
    return await within(connection, found, keys | known)


async def within(
    connection: AsyncConnection, found: Sequence[Wallet], keys: AbstractSet[Key], *, alone: bool = False
) -> Loaded:
    """Load all that is known within reach of `keys`, for the wallets `found`.

    Both are locked, and so is what is met further on, unless we are `alone` behind the closed gate.
    """
    knows = Knowledge()
    loaded: set[Key] = set()
    reached: AbstractSet[Key] = keys
    while unloaded := reached - loaded:
        if loaded and not alone:
            await knowledge.try_lock(connection, unloaded)
        await knowledge.load(connection, unloaded, knows)
        loaded |= unloaded
        reached = knows.reach(loaded)
    return Loaded(found, knows, await inbox.waiting(connection, loaded))


def known_by(found: Iterable[Wallet]) -> set[Key]:
    return {key for wallet in found for key in wallet.knows()}


def _decide(fresh: Sequence[Arrival], loaded: Loaded) -> Decision:
    updates = [arrival.update for arrival in fresh]
    return decide(updates, loaded.wallets, loaded.knowledge, loaded.parked, new_names())


def new_names() -> Callable[[WalletId, Key], MethodId]:
    """Ids for methods to be made: asked again for the same wallet and credential, the same id."""

    @cache
    def name(_wallet_id: WalletId, _key: Key) -> MethodId:
        return str(uuid7())

    return name


# --- apply, announce, record --------------------------------------------------------------------------------------


async def apply(
    connection: AsyncConnection, decision: Decision, loaded: Loaded, keeping: Keeping, known_before: AbstractSet[Key]
) -> None:
    """Write what was learnt and what became of the wallets.

    `known_before` are the credentials that wallets knew when what is loaded of them was told.
    """
    knows = loaded.knowledge
    await knowledge.save(connection, knows, decision.known, keep=keeping.known, keep_unknown=keeping.unknown)
    came_to_know = {key for key in decision.known - known_before if knows.told.get(key) or knows.facts_from(key)}
    if came_to_know:
        await knowledge.keep_longer(connection, came_to_know, keep=keeping.known)
    await wallets.save(connection, decision.turns)


async def announce(connection: AsyncConnection, turns: Sequence[Turn]) -> int:
    """Write the events of all turns, and a delivery for each endpoint that subscribed to them; how many events."""
    told = [(turn.after.id, each) for turn in turns for each in wire.tell(turn.after, turn.changes)]
    if not told:
        return 0
    numbers = dict(await events.number(connection, ((wallet, each.merchant_id) for wallet, each in told)))
    now = datetime.now(UTC)
    created_at = wire.timestamp(now)
    written = []
    for wallet_id, each in told:
        line = (wallet_id, each.merchant_id)
        sequence = numbers[line]
        numbers[line] = sequence + 1
        event_id = uuid7()
        body = wire.render(each, event_id, sequence, created_at)
        written.append(
            events.Event(event_id, wallet_id, each.merchant_id, sequence, each.name.value, each.method_id, body, now)
        )
    await events.insert(connection, written)
    await _enqueue(connection, written)
    return len(written)


async def _enqueue(connection: AsyncConnection, written: Sequence[events.Event]) -> None:
    subscribed = await merchants.subscribed(connection, {event.merchant_id for event in written})
    await deliveries.enqueue(
        connection,
        [
            deliveries.NewDelivery(event.id, endpoint_id, event.wallet_id, event.sequence)
            for event in written
            for endpoint_id, event_types in subscribed.get(event.merchant_id, ())
            if event.name in event_types
        ],
    )


async def _record(
    connection: AsyncConnection,
    fresh: Sequence[Arrival],
    repeated: Sequence[tuple[Arrival, Verdict]],
    decision: Decision,
) -> None:
    judged = [(arrival, verdict, True) for arrival, verdict in zip(fresh, decision.verdicts, strict=True)]
    judged += [(arrival, verdict, False) for arrival, verdict in repeated]
    judged.sort(key=lambda each: (each[0].update.stamp.vendor, each[0].update.stamp.update_id))
    ids = await inbox.record(connection, judged)
    waiting = [
        (inbox_id, arrival.update)
        for inbox_id, (arrival, verdict, original) in zip(ids, judged, strict=True)
        if original and _may_follow(arrival.update, verdict)
    ]
    if waiting:
        await inbox.park(connection, waiting)
    if decision.resolved:
        await inbox.resolve(connection, decision.resolved)


def _may_follow(update: Update, verdict: Verdict) -> bool:
    """Whether another wallet, or a change of its own, may yet let the update be followed: it has been learnt."""
    quarantined = verdict.outcome is Outcome.QUARANTINED and update.type is not UpdateType.WALLET_MERGED
    return verdict.outcome is Outcome.PARKED or quarantined
