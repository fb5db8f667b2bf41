"""One batch of messages, one transaction: read → seen before? → change the wallets → record.

It runs a fixed number of statements whatever the size of the batch (`wallets.change`). Whatever fails, fails the whole
transaction: nothing of the batch has happened then, and it is taken again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.letters import LONGEST_BYTES, Message, dead_letter, length, shortened, too_long
from domain.decide import Verdict
from domain.refusal import Refusal, RefusalCode, Refused
from domain.update import Outcome, Update, UpdateType
from domain.wallet import IDENTIFIERS, Key
from schemas.canonical import CanonicalUpdate, parse, with_identifiers
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.intake import MessageHeaders
from store import dead_letters, inbox, topics, unfinished
from store.dead_letters import DeadLetter
from store.inbox import Arrival
from wallets.change import Retention, Step, change
from wallets.loading import ORDINARY, Limits

Point: TypeAlias = Literal["took in", "committed"] | Step
"""Where a crash test may stop a batch."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: how many updates had which outcome, letters, redelivered messages, and events made.

    `empty` messages have no value; nothing is kept of them but their number. `due` are the endpoints with new
    deliveries.
    """

    outcomes: Counter[Outcome]
    unreadable: int
    redelivered: int
    events: int
    empty: int = 0
    due: AbstractSet[str] = frozenset()


# Some vendors date a change by when it comes into force. A clock that is wrong by years would decide about a card until
# then, against all other vendors.
_MOST_AHEAD = timedelta(days=366)
_TOO_FAR_AHEAD = Refusal(RefusalCode.OUT_OF_RANGE, "occurredAt", f"a time at most {_MOST_AHEAD.days} days ahead")


async def take_in(
    engine: AsyncEngine,
    messages: Sequence[Message],
    retention: Retention,
    *,
    within_reach: AbstractSet[Key] = frozenset(),
    limits: Limits = ORDINARY,
    identifiers: AbstractSet[str] = IDENTIFIERS,
    digit_ids: DigitIds = NO_DIGIT_IDS,
    incarnation: int = 0,
    at: Callable[[Point], None] = lambda _: None,
) -> BatchResult:
    """Take in `messages`: change the wallets that they are about, and record what became of each, in one transaction.

    `within_reach` are credentials to lock beside those the messages name, `identifiers` what names a customer;
    `incarnation` is of their topic (`store.topics`).

    Raises:
        store.knowledge.Contended: take the batch again, with these credentials within reach.
        TooMuch: the batch is more than one transaction may take on.
    """
    letters, arrivals = _read(messages, identifiers, digit_ids)
    empties = empty_places(messages)
    async with engine.begin() as connection:
        now = await inbox.enter(connection, within=limits.seconds)
        arrivals, late = _set_late_apart(messages, arrivals, now, digit_ids)
        letters += late
        met = await inbox.met(connection, arrivals, incarnation)
        fresh, repeated = _sort_out(arrivals, met)
        at("took in")
        updates = [arrival.update for arrival in fresh]
        done = await change(connection, updates, retention, within_reach=within_reach, limits=limits, at=at)
        originals = await _record(connection, fresh, repeated, done.verdicts, incarnation)
        if done.left_after is not None:
            await unfinished.leave(connection, _with_more_to_do(originals), after=done.left_after)
        if letters:
            await dead_letters.keep(connection, letters, incarnation)
        if empties:
            await topics.count_empty(connection, topics.Incarnation(messages[0].topic, incarnation), empties)
    at("committed")
    verdicts = [*done.verdicts, *(verdict for _, verdict in repeated)]
    return BatchResult(
        Counter(verdict.outcome for verdict in verdicts),
        len(letters),
        len(arrivals) - len(verdicts),
        done.announced.events,
        len(empties),
        done.announced.due,
    )


# --- read, take in ------------------------------------------------------------------------------------------------


def _read(
    messages: Sequence[Message], identifiers: AbstractSet[str], digit_ids: DigitIds
) -> tuple[list[DeadLetter], list[Arrival]]:
    letters, arrivals = [], []
    for message in messages:
        if message.value is None:
            continue
        if (long := length(message)) > LONGEST_BYTES:
            letters.append(shortened(message, too_long(long)))
            continue
        try:
            canonical = _canonical(message.value, message.headers, identifiers, digit_ids)
        except Refused as refused:
            letters.append(dead_letter(message, str(refused), digit_ids))
        else:
            place = (message.topic, message.partition, message.offset)
            arrivals.append(Arrival(*place, canonical.digest, canonical.update))
    return letters, arrivals


def _canonical(
    value: bytes, headers: MessageHeaders, identifiers: AbstractSet[str], digit_ids: DigitIds
) -> CanonicalUpdate:
    canonical = parse(value, headers, digit_ids)
    return canonical._replace(update=with_identifiers(canonical.update, identifiers))


def _set_late_apart(
    messages: Sequence[Message], arrivals: list[Arrival], now: datetime, digit_ids: DigitIds
) -> tuple[list[Arrival], list[DeadLetter]]:
    """The updates that are not dated too far ahead of `now`, and a dead letter for each other message."""
    late = {arrival.place[:3] for arrival in arrivals if _is_too_far_ahead(arrival.update, now)}
    if not late:
        return arrivals, []
    in_time = [arrival for arrival in arrivals if arrival.place[:3] not in late]
    of_late = [message for message in messages if (message.topic, message.partition, message.offset) in late]
    return in_time, [dead_letter(message, str(_TOO_FAR_AHEAD), digit_ids) for message in of_late]


def refusal(
    value: bytes,
    headers: MessageHeaders,
    *,
    now: datetime,
    identifiers: AbstractSet[str] = IDENTIFIERS,
    digit_ids: DigitIds = NO_DIGIT_IDS,
) -> Refusal | None:
    """The refusal for which a batch would make a dead letter of a message; None for a message that it can read."""
    try:
        canonical = _canonical(value, headers, identifiers, digit_ids)
    except Refused as refused:
        return refused.refusal
    return _TOO_FAR_AHEAD if _is_too_far_ahead(canonical.update, now) else None


def _is_too_far_ahead(update: Update, now: datetime) -> bool:
    return update.stamp.occurred_at > now + _MOST_AHEAD


def empty_places(messages: Sequence[Message]) -> list[topics.Empty]:
    """Where messages without a value stand: tombstones, which Kafka writes and tools send to say that a key is gone."""
    return [topics.Empty(message.partition, message.offset) for message in messages if message.value is None]


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


async def _record(
    connection: AsyncConnection,
    fresh: Sequence[Arrival],
    repeated: Sequence[tuple[Arrival, Verdict]],
    verdicts: Sequence[Verdict],
    incarnation: int,
) -> list[tuple[int, Update, Verdict]]:
    """Write what became of the updates; the rows of the inbox that `fresh` ones have."""
    judged = [(arrival, verdict, True) for arrival, verdict in zip(fresh, verdicts, strict=True)]
    judged += [(arrival, verdict, False) for arrival, verdict in repeated]
    judged.sort(key=lambda each: (each[0].update.stamp.vendor, each[0].update.stamp.update_id))
    ids = await inbox.record(connection, judged, incarnation)
    originals = [
        (inbox_id, arrival.update, verdict)
        for inbox_id, (arrival, verdict, original) in zip(ids, judged, strict=True)
        if original
    ]
    waiting = [(inbox_id, update) for inbox_id, update, verdict in originals if _may_follow(update, verdict)]
    if waiting:
        await inbox.park(connection, waiting)
    return originals


# An update that reported nothing new, or no change, leaves nothing to do in any wallet.
_NOTHING_TO_DO = ("ALREADY_KNOWN", "SAME_CREDENTIAL", "OPTED_OUT", "NO_CHANGE", "NO_MATCH")


def _with_more_to_do(originals: Iterable[tuple[int, Update, Verdict]]) -> list[tuple[int, Update]]:
    return [(inbox_id, update) for inbox_id, update, verdict in originals if verdict.reason not in _NOTHING_TO_DO]


def _may_follow(update: Update, verdict: Verdict) -> bool:
    """Whether another wallet, or a change of its own, may yet let the update be followed: it has been learnt."""
    quarantined = verdict.outcome is Outcome.QUARANTINED and update.type is not UpdateType.WALLET_MERGED
    return verdict.outcome is Outcome.PARKED or quarantined
