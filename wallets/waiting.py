"""Updates that wait for a wallet which is there by now: their outcome, as it would have followed when the wallet came.

A wallet that comes to know a credential is resolved together with the updates that wait for it. Here the updates come
first, and the wallets that know their credentials are resolved.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Verdict, WaitingUpdate, decide
from domain.reconciliation import Finding, FindingKind
from domain.update import Outcome
from domain.wallet import Identity, Key, Wallet
from store import inbox, knowledge, wallets
from store.reconciliation import parked
from store.reconciliation.page import Page
from store.reconciliation.parked import WaitingPage, WaitingRow
from wallets.change import Retention, method_ids, resolve
from wallets.loading import ORDINARY, Loaded, known_by, within


async def examine_parked(
    connection: AsyncConnection, after: str, limit: int, *, retention: Retention, since: datetime | None
) -> Page:
    """The next PARKED updates after a place; an empty text is the beginning."""
    page = await parked.parked(connection, after, limit, parked_for=retention.unknown, since=since)
    return await _examined(connection, page)


async def examine_quarantined(connection: AsyncConnection, after: str, limit: int, *, since: datetime | None) -> Page:
    """The next QUARANTINED updates after a place; an empty text is the beginning."""
    return await _examined(connection, await parked.quarantined(connection, after, limit, since=since))


async def _examined(connection: AsyncConnection, page: WaitingPage) -> Page:
    verdicts = await _verdicts(connection, {key for row in page.rows for key in row.known})
    findings = [finding for row in page.rows if (finding := _finding(row, verdicts.get(row.id))) is not None]
    return Page(len(page.rows), findings, page.next_after)


def _finding(row: WaitingRow, verdict: Verdict | None) -> Finding | None:
    """The difference at an update that waits, by the verdict that it would have now. None: it waits for good reason."""
    subject = str(row.id)
    if verdict is not None and verdict.outcome not in {Outcome.PARKED, row.outcome}:
        expected = " ".join(filter(None, (verdict.outcome, verdict.reason)))
        return Finding(FindingKind.WAITING_THOUGH_KNOWN, subject, expected, row.outcome)
    if row.is_over:
        return Finding(FindingKind.PARKED_TOO_LONG, subject, Outcome.IGNORED, row.outcome)
    if row.outcome == Outcome.PARKED and not row.waits:
        return Finding(FindingKind.PARKED_WITHOUT_KEY, subject, None, row.outcome)
    return None


async def _verdicts(connection: AsyncConnection, keys: Collection[Key]) -> dict[int, Verdict]:
    """The verdicts on the updates that wait for `keys`, by their ids in the inbox. Nothing is locked or written."""
    if not keys:
        return {}
    identities = _identities(await inbox.waiting(connection, keys))
    ids = await wallets.find(connection, keys, identities, limit=ORDINARY.of_a_credential)
    affected = await wallets.load(connection, ids)
    loaded = await within(connection, affected, {*keys, *known_by(affected)}, alone=True)
    decision = decide((), loaded.wallets, loaded.knowledge, loaded.waiting, method_ids())
    return {update.inbox_id: verdict for update, verdict in decision.waiting}


def _identities(updates: Sequence[WaitingUpdate]) -> set[Identity]:
    """The customers that merges among the updates name."""
    return {identity for update in updates for identity in (*update.merge_from, *update.merge_into)}


async def repair(connection: AsyncConnection, findings: Collection[Finding], *, retention: Retention) -> set[Finding]:
    """Give updates the outcome that follows, give up those whose time is over, and let others wait again.

    Return the repaired. A parked merge of which nothing is left but its row waits until its time is over.

    Raises:
        store.knowledge.Contended: begin again, in another transaction.
    """
    known = _ids(findings, FindingKind.WAITING_THOUGH_KNOWN)
    if known:
        await _resolve(connection, known, retention)
    await parked.give_up(connection, _ids(findings, FindingKind.PARKED_TOO_LONG), parked_for=retention.unknown)
    waiting = await parked.park_again(connection, _ids(findings, FindingKind.PARKED_WITHOUT_KEY))
    return {
        finding
        for finding in findings
        if finding.kind is not FindingKind.PARKED_WITHOUT_KEY or int(finding.subject) in waiting
    }


def _ids(findings: Collection[Finding], kind: FindingKind) -> list[int]:
    return sorted(int(finding.subject) for finding in findings if finding.kind is kind)


async def _resolve(connection: AsyncConnection, ids: Collection[int], retention: Retention) -> None:
    """Resolve the wallets that the updates wait for, as an import of these wallets would.

    Of a credential that very many wallets know, the first ones: the job `wallets` finds the others.
    """
    await inbox.enter(connection, within=ORDINARY.seconds)
    loaded = await _lock(connection, await parked.keys(connection, ids), retention)
    # what was reported of these credentials was kept for as long as of unknown ones
    await resolve(connection, loaded, retention, known_before=frozenset())


async def _lock(connection: AsyncConnection, waited_for: Sequence[Key], retention: Retention) -> Loaded:
    keys = {key for key in waited_for if not key.startswith("@")}
    identities = _identities(await inbox.waiting(connection, waited_for))
    if identities:
        keys |= await wallets.keys_of(connection, identities)
    keys |= await knowledge.reach(connection, keys)
    await knowledge.lock(connection, keys, keep=retention.unknown)
    locked = await wallets.lock(connection, keys, identities, limit=ORDINARY.of_a_credential)
    affected = await wallets.load(connection, locked)
    if identities and not _are_covered(affected, keys):
        raise knowledge.Contended(known_by(affected) - keys)
    return await within(connection, affected, {*keys, *waited_for})


def _are_covered(merging: Sequence[Wallet], keys: Collection[Key]) -> bool:
    """Whether all is locked that a merge lets a wallet know; another merge may have come in between."""
    targets = {wallet.merged_into for wallet in merging} - {None}
    return known_by(merging) <= set(keys) and targets <= {wallet.id for wallet in merging}
