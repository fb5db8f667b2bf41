"""The jobs of reconciliation: how each examines a page of its subjects, and repairs what it found."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from domain.wallet import WalletId
from reconciliation.accounting import OffsetAccounts, TopicLog, examine_ledger
from store import finished_deliveries, wallets
from store.reconciliation import dead_deliveries, deliveries, lineage, links, parked
from store.reconciliation.page import Examine, Page, in_turn
from wallets import retelling, revising, waiting
from wallets.change import Retention

Repair: TypeAlias = Callable[[AsyncConnection, Collection[Finding]], Awaitable[set[Finding]]]
PageOfIds: TypeAlias = Callable[[AsyncConnection, WalletId, int], Awaitable[Sequence[WalletId]]]
"""Return the ids after one, so many at most, in order."""
ExamineWallets: TypeAlias = Callable[[AsyncConnection, Sequence[WalletId]], Awaitable[Page]]


class Job(NamedTuple):
    """How a job examines the page after a subject, and repairs findings; `repair` returns the repaired.

    `examine_wallets` examines the subjects of some wallets, for a run that is limited to what changed since a time. A
    job without it has no subjects of wallets, and `examine` keeps to that time. `table` has a row for each subject, or
    for most.
    """

    examine: Examine
    repair: Repair
    table: str
    examine_wallets: ExamineWallets | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """How long rows are kept: knowledge that a repaired wallet gives away or takes on, and finished deliveries."""

    knowledge: Retention
    history: timedelta


def jobs(kept: Kept, scope: Scope, log: TopicLog | None = None) -> Mapping[JobName, Job]:
    """All jobs, for a run of this scope. `log` is the update topic; without it, offsets are not compared."""
    return {
        JobName.LINKS: Job(links.examine, links.repair, "payment_links", links.examine_wallets),
        JobName.LINEAGE: Job(lineage.examine, lineage.repair, "payment_methods", lineage.examine_wallets),
        JobName.WALLETS: _wallets(kept.knowledge),
        JobName.DELIVERIES: _deliveries(scope),
        JobName.EVENTS: _events(kept.history),
        JobName.PARKED: _parked(kept.knowledge, scope),
        JobName.ACCOUNTING: _accounting(scope, log),
    }


def _wallets(retention: Retention) -> Job:
    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        await revising.resolve_again(connection, [finding.subject for finding in findings], retention)
        return set(findings)

    return Job(each_wallet(revising.examine_wallets), repair, "wallets", revising.examine_wallets)


def _deliveries(scope: Scope) -> Job:
    """Live deliveries, and then those that died. A person asks for dead ones to be sent again."""

    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        dead = {finding for finding in findings if finding.kind is FindingKind.DEAD_DELIVERY}
        repaired = await deliveries.repair(connection, [finding for finding in findings if finding not in dead])
        if dead and scope.replays_dead:
            await finished_deliveries.replay(connection, [int(finding.subject) for finding in dead])
            repaired |= dead
        return repaired

    examine = in_turn(
        partial(deliveries.examine, since=scope.since), partial(dead_deliveries.examine, since=scope.since)
    )
    return Job(examine, repair, "deliveries")


def _events(kept_for: timedelta) -> Job:
    examine_wallets = partial(retelling.examine_wallets, kept_for=kept_for)
    repair = partial(retelling.repair, kept_for=kept_for)
    return Job(each_wallet(examine_wallets), repair, "wallets", examine_wallets)


def _parked(retention: Retention, scope: Scope) -> Job:
    """Updates that wait, and then the rows by which they are found."""
    of_no_update = {FindingKind.WAITING_WITHOUT_UPDATE, FindingKind.WAITING_THOUGH_DECIDED}

    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        rows = {finding for finding in findings if finding.kind in of_no_update}
        await parked.delete_rows(connection, [int(finding.subject) for finding in rows])
        updates = [finding for finding in findings if finding not in rows]
        return rows | await waiting.repair(connection, updates, retention=retention)

    examine = in_turn(
        partial(waiting.examine_parked, retention=retention, since=scope.since),
        partial(waiting.examine_quarantined, since=scope.since),
        parked.rows,
    )
    return Job(examine, repair, "parked_updates")


def _accounting(scope: Scope, log: TopicLog | None) -> Job:
    """It reports. What a topic has lost, or the group has passed, cannot be made up here."""

    async def repair(_connection: AsyncConnection, _findings: Collection[Finding]) -> set[Finding]:
        return set()

    return Job(in_turn(OffsetAccounts(log, scope.since).examine, examine_ledger), repair, "inbox")


def each_wallet(examine_wallets: ExamineWallets, page_of_ids: PageOfIds = wallets.page_of_ids) -> Examine:
    """Examine wallets in the order of their ids: all of them, or those that `page_of_ids` gives."""

    async def examine(connection: AsyncConnection, after: str, limit: int) -> Page:
        ids = await page_of_ids(connection, after or wallets.BEFORE_ALL, limit)
        page = await examine_wallets(connection, ids)
        return replace(page, next_after=ids[-1] if len(ids) == limit else None)

    return examine
