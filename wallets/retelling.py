"""Events that merchants lack, found and sent.

A stored event without its delivery is enqueued. For an event that is lost itself, another one is written, with the next
number of its line: the same REPLACED or DELETED, naming the method that is current now. Where it is not known what a
lost event said, the merchant receives the live methods as they are. The numbers of lost events stay gaps, which are
noted.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from domain.resolve import Replaced
from domain.update import Reason
from domain.wallet import Wallet, WalletId
from schemas import event as wire
from schemas.signature import event_id
from store import deliveries, replays, wallets
from store.knowledge import Contended
from store.new_deliveries import NewDelivery
from store.reconciliation import events
from store.reconciliation.events import Gap, LateCounter, LostEvent
from store.reconciliation.page import Page
from store.rows import LINE
from wallets.announcements import write_events


@dataclass(frozen=True, slots=True)
class Lost:
    """What some wallets' lines of events lack."""

    events: Sequence[LostEvent]
    gaps: Sequence[Gap]
    counters: Sequence[LateCounter]
    deliveries: Sequence[NewDelivery]

    def findings(self) -> Iterator[Finding]:
        """Each loss as a finding about its wallet."""
        for event in self.events:
            expected = f"{event.name} of {event.method_id} to {event.merchant_id}"
            yield Finding(FindingKind.CHANGE_WITHOUT_EVENT, event.wallet_id, expected, None)
        for gap in self.gaps:
            numbers = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
            yield Finding(FindingKind.SEQUENCE_GAP, gap.wallet_id, f"{numbers} of {gap.merchant_id}", None)
        for line in self.counters:
            latest, counted = (f"{number} of {line.merchant_id}" for number in (line.latest, line.counted))
            yield Finding(FindingKind.SEQUENCE_BEHIND, line.wallet_id, latest, counted)
        for delivery in self.deliveries:
            expected = f"{event_id(delivery.event_id)} to {delivery.endpoint_id}"
            yield Finding(FindingKind.EVENT_WITHOUT_DELIVERY, delivery.wallet_id, expected, None)


async def examine_wallets(connection: AsyncConnection, ids: Sequence[WalletId], *, kept_for: timedelta) -> Page:
    """The events that these wallets lack. `kept_for` is how long finished deliveries are kept."""
    lost = await _find(connection, ids, kept_for)
    return Page(len(ids), list(lost.findings()), None)


async def _find(connection: AsyncConnection, ids: Collection[WalletId], kept_for: timedelta) -> Lost:
    return Lost(
        await events.lost_events(connection, ids),
        await events.gaps(connection, ids),
        await events.late_counters(connection, ids),
        await events.missing_deliveries(connection, ids, kept_for=kept_for),
    )


async def repair(connection: AsyncConnection, findings: Collection[Finding], *, kept_for: timedelta) -> set[Finding]:
    """Send what the wallets of these findings lack, as it is once they are locked. Return the repaired: all of them.

    Raises:
        store.knowledge.Contended: one of the wallets was merged meanwhile; begin again, in another transaction.
    """
    ids = {finding.subject for finding in findings}
    by_id = await _lock(connection, ids)
    lost = await _find(connection, ids, kept_for)
    if lost.counters:
        await events.count_on(connection, ids)
    if lost.gaps:
        await events.note(connection, lost.gaps)
    if lost.deliveries:
        await _send(connection, lost.deliveries)
    announced = [*_replacements(lost.events, by_id), *_states(lost, by_id)]
    await write_events(connection, announced)
    return set(findings)


async def _lock(connection: AsyncConnection, ids: AbstractSet[WalletId]) -> dict[WalletId, Wallet]:
    """Lock the wallets, and those that they are merged into. Return all of them by id."""
    wanted = ids | _targets(await wallets.load(connection, ids))
    await wallets.lock_by_id(connection, wanted)
    locked = await wallets.load(connection, wanted)
    if not _targets(locked) <= wanted:
        raise Contended(frozenset())
    return {wallet.id: wallet for wallet in locked}


def _targets(merged: Iterable[Wallet]) -> set[WalletId]:
    return {wallet.merged_into for wallet in merged if wallet.merged_into is not None}


async def _send(connection: AsyncConnection, missing: Sequence[NewDelivery]) -> None:
    """Enqueue deliveries. The head of a line may be among those that were lost: the line has none until then."""
    await replays.send_again(connection, missing)
    lines = [LINE.row(*line) for line in {(delivery.endpoint_id, delivery.wallet_id) for delivery in missing}]
    await deliveries.promote(connection, await deliveries.headless(connection, lines))


def _replacements(
    lost: Sequence[LostEvent], by_id: dict[WalletId, Wallet]
) -> Iterator[tuple[WalletId, wire.Announcement]]:
    """The lost events of each replacement, as they are true now."""
    for (wallet_id, method_id, successor_id, reason), group in groupby(lost, key=_REPLACEMENT):
        wallet = by_id[wallet_id]
        methods = {method.id: method for method in wallet.methods}
        links = tuple(link for link in wallet.links if link.method_id == successor_id and link.moves)
        change = Replaced(methods[method_id], methods[successor_id], _reason(reason), links)
        wanted = {(event.merchant_id, event.name) for event in group}
        for announcement in wire.announcements(wallet, (change,)):
            if (announcement.merchant_id, announcement.name.value) in wanted:
                yield wallet_id, announcement


_REPLACEMENT = attrgetter("wallet_id", "method_id", "successor_id", "reason")


_REASONS = {reason.value: reason for reason in Reason}


def _reason(written: str) -> Reason:
    """The reason of a row of lineage, which has a file's words where the replacement was imported."""
    return _REASONS.get(written, Reason.REISSUED)


def _states(lost: Lost, by_id: dict[WalletId, Wallet]) -> Iterator[tuple[WalletId, wire.Announcement]]:
    """The live methods, for each line with gaps of which it is not known what all of the lost events said."""
    unknown = Counter[tuple[WalletId, str]]()
    for gap in lost.gaps:
        unknown[gap.wallet_id, gap.merchant_id] += gap.last - gap.first + 1
    unknown.subtract((event.wallet_id, event.merchant_id) for event in lost.events)
    for wallet_id, merchant_id in +unknown:
        wallet = by_id[wallet_id]
        wallet = by_id[wallet.merged_into or wallet_id]
        if merchant_id in wallet.merchants:
            yield from ((wallet.id, announcement) for announcement in wire.current_state(wallet, merchant_id))
