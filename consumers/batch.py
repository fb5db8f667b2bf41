"""One batch of messages, one transaction: read → seen before? → change the wallets → record.

The number of statements does not grow with the batch (`wallets.change`). A failure undoes the whole transaction, and
the batch is taken in again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.letters import LONGEST_BYTES, Message, dead_letter, message_size, shortened_letter, too_long_reason
from domain.decide import Verdict
from domain.refusal import Refusal, RefusalCode, Refused
from domain.update import Outcome, Update, UpdateType
from domain.wallet import IDENTIFIERS, Key
from schemas.canonical import CanonicalUpdate, parse, with_identifiers
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.intake import MessageHeaders
from store import dead_letters, inbox, topics, unfinished, vendors
from store.dead_letters import DeadLetter
from store.inbox import Arrival
from store.vendors import HeldMessage
from wallets.change import ChangePoint, Retention, change
from wallets.loading import ORDINARY, Limits

Place: TypeAlias = tuple[str, int, int]
"""The topic, the partition and the offset of a message."""

BatchPoint: TypeAlias = Literal["took in", "committed"] | ChangePoint
"""Where a crash test may stop a batch."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: updates by outcome, dead letters, redelivered messages, new events.

    `empty` messages have no value; only their number is stored. `due` are the endpoints with new deliveries.
    `quarantined` are the updates with that outcome. `replaced` counts the wallets in which each vendor's facts replaced
    a payment method.
    """

    outcomes: Counter[Outcome]
    letters: Sequence[DeadLetter]
    redelivered: int
    events: int
    empty: int = 0
    due: AbstractSet[str] = frozenset()
    quarantined: Sequence[tuple[Arrival, Verdict]] = ()
    replaced: Mapping[str, int] = field(default_factory=dict)

    @property
    def unreadable(self) -> int:
        """The number of dead letters."""
        return len(self.letters)


# Some vendors date a change by the day on which it takes effect. A clock that is years ahead would decide about a card
# for all those years, against every other vendor.
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
    held: Mapping[Place, int] | None = None,
    on_point: Callable[[BatchPoint], None] = lambda _: None,
) -> BatchResult:
    """Take in `messages`: change the wallets that they concern, and record the outcome of each, in one transaction.

    `within_reach` are credentials to lock beside those that the messages name. `identifiers` are the names of customer
    identifiers. `incarnation` is that of the topic (`store.topics`). Updates of paused vendors are held, unless `held`
    says that these are such messages, each with its inbox row, and that their vendor is resumed.

    Raises:
        store.knowledge.Contended: take the batch in again, with its credentials within reach.
        TooMuch: the batch is more than one transaction may do.
    """
    letters, arrivals = _read(messages, identifiers, digit_ids)
    empties = empty_messages(messages)
    async with engine.begin() as connection:
        if held is not None:
            await inbox.enter(connection, within=limits.seconds)
            letters, arrivals = await _let_go(connection, held, letters, arrivals)
        met = await inbox.met(connection, arrivals, incarnation, within=limits.seconds)
        arrivals, late = _split_late(messages, arrivals, met.now, digit_ids)
        letters += late
        fresh, repeated = _split_repeated(arrivals, met)
        on_hold: list[Arrival] = []
        if held is None and any(arrival.update.stamp.vendor in met.paused for arrival in fresh):
            # read again behind the gate: a vendor may have been resumed while this batch waited for it
            fresh, on_hold = _split_paused(fresh, set(await vendors.paused(connection)))
        on_point("took in")
        updates = [arrival.update for arrival in fresh]
        changed = await change(
            connection, updates, retention, within_reach=within_reach, limits=limits, on_point=on_point
        )
        verdicts = [*changed.verdicts, *[_ON_HOLD] * len(on_hold)]
        originals = await _record(connection, [*fresh, *on_hold], repeated, verdicts, incarnation)
        if on_hold:
            await _hold(connection, messages, originals, incarnation)
        if changed.left_after is not None:
            await unfinished.leave(connection, _with_more_to_do(originals), after=changed.left_after)
        if letters:
            await dead_letters.keep(connection, letters, incarnation)
        if empties:
            await topics.count_empty(connection, topics.Incarnation(messages[0].topic, incarnation), empties)
    on_point("committed")
    decided = [*zip([*fresh, *on_hold], verdicts, strict=True), *repeated]
    return BatchResult(
        Counter(verdict.outcome for _, verdict in decided),
        letters,
        len(arrivals) - len(decided),
        changed.announced.events,
        len(empties),
        changed.announced.due,
        [(arrival, verdict) for arrival, verdict in decided if verdict.outcome is Outcome.QUARANTINED],
        changed.replaced,
    )


# --- steps --------------------------------------------------------------------------------------------------------


def _read(
    messages: Sequence[Message], identifiers: AbstractSet[str], digit_ids: DigitIds
) -> tuple[list[DeadLetter], list[Arrival]]:
    letters, arrivals = [], []
    for message in messages:
        if message.value is None:
            continue
        if (size := message_size(message)) > LONGEST_BYTES:
            letters.append(shortened_letter(message, too_long_reason(size)))
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
    return CanonicalUpdate(with_identifiers(canonical.update, identifiers), canonical.digest)


def _split_late(
    messages: Sequence[Message], arrivals: list[Arrival], now: datetime, digit_ids: DigitIds
) -> tuple[list[Arrival], list[DeadLetter]]:
    """The updates that are not dated too far ahead of `now`, and a dead letter for each of the others."""
    late = {arrival.place[:3] for arrival in arrivals if _is_too_far_ahead(arrival.update, now)}
    if not late:
        return arrivals, []
    in_time = [arrival for arrival in arrivals if arrival.place[:3] not in late]
    late_messages = [message for message in messages if (message.topic, message.partition, message.offset) in late]
    return in_time, [dead_letter(message, str(_TOO_FAR_AHEAD), digit_ids) for message in late_messages]


def refusal(update: Update, *, now: datetime, identifiers: AbstractSet[str] = IDENTIFIERS) -> Refusal | None:
    """The refusal for which a batch makes a dead letter of a message although `update` can be read in it, or None."""
    try:
        with_identifiers(update, identifiers)
    except Refused as refused:
        return refused.refusal
    return _TOO_FAR_AHEAD if _is_too_far_ahead(update, now) else None


def _is_too_far_ahead(update: Update, now: datetime) -> bool:
    return update.stamp.occurred_at > now + _MOST_AHEAD


def empty_messages(messages: Sequence[Message]) -> list[topics.Empty]:
    """The places of messages without a value: tombstones, by which Kafka and tools report that a key was removed."""
    return [topics.Empty(message.partition, message.offset) for message in messages if message.value is None]


def _split_repeated(arrivals: Sequence[Arrival], met: inbox.Met) -> tuple[list[Arrival], list[tuple[Arrival, Verdict]]]:
    """The updates to decide, and those whose (vendor, id) is in the inbox. Redelivered messages are left out."""
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


def _split_paused(fresh: Sequence[Arrival], paused: AbstractSet[str]) -> tuple[list[Arrival], list[Arrival]]:
    """The updates to decide, and those of vendors that are paused."""
    on_hold = [arrival for arrival in fresh if arrival.update.stamp.vendor in paused]
    return [arrival for arrival in fresh if arrival.update.stamp.vendor not in paused], on_hold


_ON_HOLD = Verdict(Outcome.PARKED, vendors.VENDOR_PAUSED)


async def _hold(
    connection: AsyncConnection,
    messages: Sequence[Message],
    recorded: Iterable[tuple[int, Arrival, Verdict]],
    incarnation: int,
) -> None:
    """Keep the messages of those updates that are on hold, to be taken in when their vendor is resumed."""
    by_place = {(message.topic, message.partition, message.offset): message for message in messages}
    held = []
    for inbox_id, arrival, verdict in recorded:
        if verdict == _ON_HOLD:
            topic, partition, offset = arrival.place[:3]
            message = by_place[topic, partition, offset]
            assert message.value is not None
            vendor = arrival.update.stamp.vendor
            content = (message.key, message.value, message.headers)
            held.append(HeldMessage(inbox_id, vendor, topic, incarnation, partition, offset, *content))
    await vendors.hold(connection, held)


async def _let_go(
    connection: AsyncConnection, held: Mapping[Place, int], letters: Sequence[DeadLetter], arrivals: Sequence[Arrival]
) -> tuple[list[DeadLetter], list[Arrival]]:
    """Delete the rows of held messages, which are recorded anew; return those that no other process has taken in."""
    letter_places = [(letter.topic, letter.partition, letter.offset) for letter in letters]
    ids = [held[place] for place in (*letter_places, *(arrival.place[:3] for arrival in arrivals))]
    let_go = await vendors.let_go(connection, ids)
    return (
        [letter for letter, place in zip(letters, letter_places, strict=True) if held[place] in let_go],
        [arrival for arrival in arrivals if held[arrival.place[:3]] in let_go],
    )


async def _record(
    connection: AsyncConnection,
    fresh: Sequence[Arrival],
    repeated: Sequence[tuple[Arrival, Verdict]],
    verdicts: Sequence[Verdict],
    incarnation: int,
) -> list[tuple[int, Arrival, Verdict]]:
    """Write the outcomes of the updates. Return the inbox rows of the `fresh` ones."""
    outcomes = [(arrival, verdict, True) for arrival, verdict in zip(fresh, verdicts, strict=True)]
    outcomes += [(arrival, verdict, False) for arrival, verdict in repeated]
    outcomes.sort(key=lambda row: (row[0].update.stamp.vendor, row[0].update.stamp.update_id))
    ids = await inbox.record(connection, outcomes, incarnation)
    originals = [
        (inbox_id, arrival, verdict)
        for inbox_id, (arrival, verdict, original) in zip(ids, outcomes, strict=True)
        if original
    ]
    updates = [(inbox_id, arrival.update, verdict) for inbox_id, arrival, verdict in originals]
    waiting = [(inbox_id, update) for inbox_id, update, verdict in updates if _may_apply_later(update, verdict)]
    if waiting:
        await inbox.park(connection, waiting)
    merges = [(inbox_id, update) for inbox_id, update, verdict in updates if _is_quarantined_merge(update, verdict)]
    if merges:
        await inbox.keep_merges(connection, merges)
    return originals


# Reasons that leave nothing to do in any wallet: the update reported nothing new, or no change.
_NOTHING_TO_DO = ("ALREADY_KNOWN", "SAME_CREDENTIAL", "OPTED_OUT", "NO_CHANGE", "NO_MATCH", vendors.VENDOR_PAUSED)


def _with_more_to_do(originals: Iterable[tuple[int, Arrival, Verdict]]) -> list[tuple[int, Update]]:
    return [
        (inbox_id, arrival.update) for inbox_id, arrival, verdict in originals if verdict.reason not in _NOTHING_TO_DO
    ]


def _may_apply_later(update: Update, verdict: Verdict) -> bool:
    """Whether the update may still apply: its facts are known, so another wallet or a change of its own may follow."""
    if verdict.outcome is Outcome.QUARANTINED:
        return not _is_quarantined_merge(update, verdict)
    return verdict.outcome is Outcome.PARKED and verdict != _ON_HOLD


def _is_quarantined_merge(update: Update, verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.QUARANTINED and update.type is UpdateType.WALLET_MERGED
