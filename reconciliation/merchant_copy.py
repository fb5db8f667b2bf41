"""A merchant's copy of payment method ids, compared with what is current, page after page in memory of one page.

What the merchant evidently missed is sent again on request: the stored events, through new deliveries. An event that is
on its way, or arrived after the export was made, is not missed: a second run with the same export sends nothing.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import CopyState, copy_state
from domain.wallet import MerchantId, MethodId
from reconciliation.contention import retried
from store import connectivity, replays
from store.new_deliveries import NewDelivery
from store.reconciliation import merchant_methods
from store.reconciliation.merchant_methods import CopyDelivery, CopyDeliveryState, StoredMethod

# The wallets of what a page sends again are locked until it commits.
_PAGE = 1000


class CopyLine(NamedTuple):
    """A payment method that the merchant stores, on line `number` of its export."""

    number: int
    method_id: MethodId


class ComparedLine(NamedTuple):
    """What a stored method is to the merchant, and how many deliveries about it are `missed` and `pending`.

    `pending` deliveries are on their way, or arrived after the export was made. `sent` ones were missed, and are
    enqueued now. A delivery counts for each method of the page that it tells of.
    """

    line: int
    method_id: MethodId
    state: CopyState
    current_method_id: MethodId | None
    missed: int
    pending: int
    sent: int

    @property
    def is_settled(self) -> bool:
        """Whether the merchant has the current state, or receives it without anybody's help."""
        if self.state is CopyState.CURRENT:
            return True
        return self.sent + self.pending > 0 and self.sent >= self.missed


class ComparedPage(NamedTuple):
    """The lines of a page, and how many deliveries the merchant missed and were sent again."""

    lines: Sequence[ComparedLine]
    missed: int
    sent: int


class Copy(NamedTuple):
    """Whose export it is, and when it was made."""

    merchant_id: MerchantId
    exported_at: datetime


async def compare(
    engine: AsyncEngine, copy: Copy, lines: Iterable[CopyLine], *, emits: bool
) -> AsyncIterator[ComparedPage]:
    """Compare the lines, in order; with `emits`, send again what was missed, a transaction a page."""
    remaining = iter(lines)
    while page := list(islice(remaining, _PAGE)):
        yield await _page(engine, copy, page, emits=emits)


@retried
async def _page(engine: AsyncEngine, copy: Copy, page: Sequence[CopyLine], *, emits: bool) -> ComparedPage:
    async with connectivity.transaction(engine, dry_run=not emits) as connection:
        methods = await merchant_methods.find(connection, copy.merchant_id, [line.method_id for line in page])
        stale = {
            line.method_id for line, method in zip(page, methods, strict=True) if method.is_known and not method.is_live
        }
        deliveries = await _deliveries(connection, copy, stale, emits=emits) if stale else []
        missed = {row.delivery for row in deliveries if row.state is CopyDeliveryState.MISSED}
        sent = set(await replays.send_again(connection, list(missed))) if emits and missed else set()
    return ComparedPage(_compared(page, methods, deliveries, sent), len(missed), len(sent))


async def _deliveries(
    connection: AsyncConnection, copy: Copy, stale: Collection[MethodId], *, emits: bool
) -> list[CopyDelivery]:
    """The deliveries about stale methods; those of locked lines if they are to be sent.

    Another run may have sent them again before the lines were locked, so they are looked for again.
    """
    deliveries = await merchant_methods.deliveries(connection, copy.merchant_id, stale, copy.exported_at)
    wallet_ids = {row.delivery.wallet_id for row in deliveries if row.state is CopyDeliveryState.MISSED}
    if not (emits and wallet_ids):
        return deliveries
    await replays.lock_lines(connection, list(wallet_ids))
    return await merchant_methods.deliveries(connection, copy.merchant_id, stale, copy.exported_at)


def _compared(
    page: Sequence[CopyLine],
    methods: Sequence[StoredMethod],
    deliveries: Sequence[CopyDelivery],
    sent: Collection[NewDelivery],
) -> list[ComparedLine]:
    counts = Counter((row.method_id, row.state) for row in deliveries)
    sent_for = Counter(row.method_id for row in deliveries if row.delivery in sent)
    return [
        ComparedLine(
            line.number,
            line.method_id,
            copy_state(is_known=method.is_known, is_live=method.is_live, has_current=method.current_id is not None),
            method.current_id,
            counts[line.method_id, CopyDeliveryState.MISSED],
            counts[line.method_id, CopyDeliveryState.ON_ITS_WAY] + counts[line.method_id, CopyDeliveryState.RECEIVED],
            sent_for[line.method_id],
        )
        for line, method in zip(page, methods, strict=True)
    ]
