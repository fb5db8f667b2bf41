"""Take back the replacement facts that a vendor alone reported in a span of time, in short transactions.

A fact is taken back if no other update reported it: none of another vendor, and none from outside of the span. The
wallets that followed it are as if it had not come (`domain.undo`), and merchants are told. The update's row becomes
IGNORED, `RETRACTED`, in the transaction that takes its fact back: a run that is interrupted goes on with the rest.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from domain.account import Accounts
from domain.decide import ChangedWallet, Decision, decide
from domain.effort import TooMuch
from domain.knowledge import Fact, FactId
from domain.resolve import Replaced
from domain.retraction import TakenBack, take_back_facts
from domain.undo import Restored, concerned, undo
from domain.update import Credential, Update, UpdateType
from domain.wallet import Key, Wallet, WalletId
from store import connectivity, inbox, reports, retractions, wallets
from store.failures import Failure, failure
from store.knowledge import Contended
from store.retractions import ReportedFact, ReportSpan
from wallets.change import ChangePoint, Retention, carry_out, method_ids
from wallets.loading import ORDINARY, Loaded, load

RetractionPoint: TypeAlias = Literal["taken back", "retracted"] | ChangePoint
"""Where a crash test may stop a page."""

# Updates of one transaction, whose wallets are locked until it commits. A page that is too much is halved.
_PAGE = 200
# Rows of the inbox that one statement looks at for them.
_ROWS = 20_000


@dataclass
class Retracted:
    """What was taken back. `refused` are updates whose fact is in more wallets than one transaction changes.

    `alone`: of facts from before all reports were kept, only the first report is known.
    """

    updates: int = 0
    facts: set[FactId] = field(default_factory=set)
    wallets: set[WalletId] = field(default_factory=set)
    methods: int = 0
    events: int = 0
    alone: int = 0
    refused: list[ReportedFact] = field(default_factory=list)


async def retract(
    engine: AsyncEngine,
    span: ReportSpan,
    retention: Retention,
    *,
    dry_run: bool = False,
    on_updates: Callable[[int], None] = lambda _: None,
    on_point: Callable[[RetractionPoint], None] = lambda _: None,
) -> Retracted:
    """Take the facts of the span back; a dry run counts what that would be. `on_updates` gets the size of each page."""
    retracted = Retracted()
    async with connectivity.snapshot(engine) as connection:
        after, last = await retractions.bounds(connection, span.since)
    while after < last:
        bound = min(after + _ROWS, last)
        async with connectivity.snapshot(engine) as connection:
            page = await retractions.page(connection, span, after=after, last=bound, limit=_PAGE)
        await _in_parts(engine, span, page, _RetractionRun(retention, dry_run, retracted, on_point))
        on_updates(len(page))
        after = page[-1].inbox_id if len(page) == _PAGE else bound
    return retracted


@dataclass(frozen=True)
class _RetractionRun:
    """What is the same for each page."""

    retention: Retention
    dry_run: bool
    retracted: Retracted
    on_point: Callable[[RetractionPoint], None]


async def _in_parts(engine: AsyncEngine, span: ReportSpan, page: Sequence[ReportedFact], run: _RetractionRun) -> None:
    """Take back a page in one transaction, or in halves if it is more than one may do."""
    if not page:
        return
    try:
        await _in_transaction(engine, span, page, run)
    except Exception as error:
        if failure(error) is not Failure.TOO_MUCH:
            raise
        if len(page) == 1:
            run.retracted.refused.append(page[0])
            return
        middle = len(page) // 2
        await _in_parts(engine, span, page[:middle], run)
        await _in_parts(engine, span, page[middle:], run)


def _is_contended(error: BaseException) -> bool:
    return failure(error) is Failure.CONTENDED


async def _in_transaction(
    engine: AsyncEngine, span: ReportSpan, page: Sequence[ReportedFact], run: _RetractionRun
) -> None:
    within_reach: frozenset[Key] = frozenset()
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_contended), stop=stop_after_attempt(20), wait=wait_random(0, 0.5), reraise=True
    )
    async for attempt in retrying:
        with attempt:
            try:
                async with connectivity.transaction(engine, dry_run=run.dry_run) as connection:
                    done = await _take_back(connection, span, page, run, within_reach)
            except Contended as error:
                within_reach |= error.keys
                raise
            run.on_point("retracted")
            done(run.retracted)


async def _take_back(
    connection: AsyncConnection,
    span: ReportSpan,
    page: Sequence[ReportedFact],
    run: _RetractionRun,
    within_reach: AbstractSet[Key],
) -> Callable[[Retracted], None]:
    """Take back the facts of a page; a function that counts them, for after the commit."""
    await inbox.enter(connection, within=ORDINARY.seconds)
    keys = {update.old_key for update in page}
    about = [Update(update.stamp, UpdateType.NUMBER_REPLACED, Credential(update.old_key)) for update in page]
    loaded = await load(connection, about, within_reach, ORDINARY, keep=run.retention.unknown)
    if loaded.left_after is not None:
        raise TooMuch(f"a credential is in more than {ORDINARY.of_a_credential} wallets")
    before = {wallet.id: Accounts(wallet, loaded.knowledge) for wallet in loaded.wallets}
    alone = await retractions.without_reports(connection, span.vendor, page)
    updates, taken_back = await _facts(connection, span, page, keys, loaded)
    run.on_point("taken back")
    lost_facts = [*taken_back.forgotten, *taken_back.narrowed]
    decision = await _decide(connection, loaded, before, lost_facts, {update.inbox_id for update in updates})
    run.on_point("decided")
    announced = await carry_out(connection, decision, loaded, run.retention, on_point=run.on_point)
    await reports.forget(connection, taken_back)
    if decision.waiting:
        await inbox.update_outcomes(connection, decision.waiting)
    await retractions.record(connection, updates)

    def count(retracted: Retracted) -> None:
        retracted.updates += len(updates)
        retracted.facts.update(fact.id for fact in taken_back.forgotten)
        retracted.wallets.update(wallet.after.id for wallet in decision.changed)
        retracted.methods += sum(
            isinstance(change, Replaced | Restored) for wallet in decision.changed for change in wallet.changes
        )
        retracted.events += announced.events
        retracted.alone += alone

    return count


async def _facts(
    connection: AsyncConnection, span: ReportSpan, page: Sequence[ReportedFact], keys: AbstractSet[Key], loaded: Loaded
) -> tuple[list[ReportedFact], TakenBack]:
    """Take back what the page reported, and what else the span reported of the same facts; return all these updates."""
    known_reports = await reports.load(connection, keys)
    stamps = {update.stamp for update in page}
    about_the_same = {
        stamp
        for key in keys
        for fact in loaded.knowledge.facts_from(key)
        if not stamps.isdisjoint(of_fact := known_reports.of_fact(fact))
        for stamp in of_fact
    }
    updates = [*page, *await retractions.among(connection, span, about_the_same - stamps)]
    taken_back = take_back_facts(loaded.knowledge, known_reports, {update.stamp for update in updates}, keys)
    reported = {stamp for _, stamp in taken_back.fact_reports}
    return [update for update in updates if update.stamp in reported], taken_back


async def _decide(
    connection: AsyncConnection,
    loaded: Loaded,
    before: dict[WalletId, Accounts],
    lost_facts: Sequence[Fact],
    retracted: AbstractSet[int],
) -> Decision:
    """Undo the lost facts in each wallet that followed them. Then resolve all wallets, and what waits for them."""
    past = await wallets.past(connection, loaded.wallets)
    name = method_ids()
    undone: dict[WalletId, ChangedWallet] = {}
    for wallet in loaded.wallets:
        accounts = concerned(before[wallet.id], lost_facts)
        after, changes = undo(wallet, accounts, loaded.knowledge, past, lambda key, id_=wallet.id: name(id_, key))  # type: ignore[misc]
        if after is not wallet:
            undone[wallet.id] = ChangedWallet(wallet, after, changes)
    now: list[Wallet] = [undone[wallet.id].after if wallet.id in undone else wallet for wallet in loaded.wallets]
    waiting = [update for update in loaded.waiting if update.inbox_id not in retracted]
    decision = decide((), now, loaded.knowledge, waiting, name)
    resolved = {wallet.before.id: wallet for wallet in decision.changed}
    changed = [_joined(undone.get(wallet_id), resolved.get(wallet_id)) for wallet_id in sorted({*undone, *resolved})]
    return Decision((), decision.waiting, tuple(changed), decision.known)


def _joined(undone: ChangedWallet | None, resolved: ChangedWallet | None) -> ChangedWallet:
    if undone is None or resolved is None:
        only = undone or resolved
        assert only is not None
        return only
    return ChangedWallet(undone.before, resolved.after, (*undone.changes, *resolved.changes))
