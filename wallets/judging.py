"""A person's judgement of an update that waits, in the caller's transaction: lock → load → decide → apply → announce.

What follows of it is decided by the rules of `domain.judgement`. A dry run decides the same without a lock.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import ChangedWallet, Verdict
from domain.judgement import Choice, Judged, Known, Obstacle, discard, release
from domain.knowledge import Fact, Knowledge
from domain.update import Credential, Update
from domain.wallet import Key, Wallet, WalletId
from store import audit, inbox, judgements, reports, wallets
from store.audit import Act
from store.judgements import JudgedUpdate
from wallets.change import ChangePoint, Retention, carry_out, method_ids
from wallets.loading import ORDINARY, Loaded, known_by, load, within

JudgingPoint: TypeAlias = Literal["locked", "judged"] | ChangePoint
"""Where a crash test may stop a judgement."""


class Release(NamedTuple):
    """Apply the update: to the wallet `to`, or in spite of a conflict, or both."""

    to: WalletId | None = None
    accept: bool = False


class Discard(NamedTuple):
    """Never apply the update."""


Answer: TypeAlias = Release | Discard


class Author(NamedTuple):
    """Who judges, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of an update by an answer: before and after, the wallets that changed, and the facts taken back."""

    update: JudgedUpdate
    verdict: Verdict
    changed: Sequence[ChangedWallet]
    forgotten: Sequence[Fact]
    events: int = 0


def subject(inbox_id: int) -> str:
    """What the audit calls an update."""
    return f"update {inbox_id}"


def action(answer: Answer) -> str:
    """What the audit calls an answer."""
    return "update released" if isinstance(answer, Release) else "update discarded"


async def judge(
    connection: AsyncConnection,
    inbox_id: int,
    answer: Answer,
    author: Author,
    retention: Retention,
    *,
    within_reach: AbstractSet[Key] = frozenset(),
    on_point: Callable[[JudgingPoint], None] = lambda _: None,
) -> Judgement | Obstacle | None:
    """Judge the update of that row of the inbox; None if there is none. Obstacle: the caller rolls back.

    Raises:
        store.knowledge.Contended: begin again, with these credentials within reach.
    """
    await inbox.enter(connection, within=ORDINARY.seconds)
    judged_update = await judgements.find(connection, inbox_id)
    if judged_update is None:
        return None
    loaded = await _load(connection, judged_update, within_reach, retention)
    on_point("locked")
    judged = await judgements.lock(connection, inbox_id)
    if judged is None:  # taken in anew: its row has another id now
        return None
    if loaded.left_after is not None and isinstance(answer, Release):
        return Obstacle.TOO_MANY_WALLETS
    decided = await _decide(connection, judged, answer, loaded)
    if isinstance(decided, Obstacle):
        return decided
    on_point("decided")
    announced = await carry_out(connection, decided.decision, loaded, retention, on_point=on_point)
    await reports.forget(connection, decided.taken_back)
    other_outcomes = [(update, verdict) for update, verdict in decided.decision.waiting if update.inbox_id != inbox_id]
    if other_outcomes:
        await inbox.update_outcomes(connection, other_outcomes)
    await judgements.end(connection, inbox_id, decided.verdict)
    judgement = replace(_judgement(judged, decided), events=announced.events)
    await audit.record(connection, [_act(judgement, answer, author)])
    on_point("judged")
    return judgement


async def foresee(
    connection: AsyncConnection, judged: JudgedUpdate, answer: Answer, affected: Sequence[Wallet]
) -> Judgement | Obstacle:
    """What would become of the update by an answer, as far as `affected` goes: nothing is locked or written."""
    keys = known_by(affected).union(judged.update.keys)
    decided = await _decide(connection, judged, answer, await within(connection, affected, keys, alone=True))
    return decided if isinstance(decided, Obstacle) else _judgement(judged, decided)


async def _load(
    connection: AsyncConnection, judged_update: JudgedUpdate, within_reach: AbstractSet[Key], retention: Retention
) -> Loaded:
    """Lock and load what the update is about, as a batch does."""
    update = judged_update.update
    if not update.keys and not update.merge_from:
        return Loaded((), Knowledge(), (), frozenset())
    old = Credential(*update.keys) if update.keys else None
    about = Update(update.stamp, judged_update.type, old, merge_from=update.merge_from, merge_into=update.merge_into)
    return await load(connection, [about], within_reach, ORDINARY, keep=retention.unknown)


async def _decide(
    connection: AsyncConnection, judged: JudgedUpdate, answer: Answer, loaded: Loaded
) -> Judged | Obstacle:
    update = judged.update
    waiting_updates = [waiting for waiting in loaded.waiting if waiting.inbox_id != update.inbox_id]
    known = Known(
        loaded.wallets, loaded.knowledge, await reports.load(connection, update.keys), waiting_updates, method_ids()
    )
    if isinstance(answer, Discard):
        return discard(update, judged.verdict, known, is_original=judged.is_original)
    to = None if answer.to is None else await _wallet(connection, answer.to)
    if answer.to is not None and to is None:
        return Obstacle.NO_WALLET
    return release(update, judged.verdict, Choice(to, answer.accept), known)


async def _wallet(connection: AsyncConnection, wallet_id: WalletId) -> Wallet | None:
    """The wallet of this id; of a merged one, the wallet that its methods are in."""
    for wallet in await wallets.load(connection, [wallet_id]):
        return wallet if wallet.merged_into is None else await _wallet(connection, wallet.merged_into)
    return None


def _judgement(judged: JudgedUpdate, decided: Judged) -> Judgement:
    return Judgement(judged, decided.verdict, decided.decision.changed, decided.taken_back.forgotten)


def _act(judgement: Judgement, answer: Answer, author: Author) -> Act:
    update, verdict = judgement.update, judgement.verdict
    about: dict[str, Any] = {"vendor": update.update.stamp.vendor, "updateId": update.update.stamp.update_id}
    released = {"to": answer.to, "accept": answer.accept} if isinstance(answer, Release) else {}
    return Act(
        author.actor,
        action(answer),
        subject(update.update.inbox_id),
        author.reason,
        before={"outcome": update.verdict.outcome, "reason": update.verdict.reason, **about},
        after={
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            **released,
            "wallets": [wallet.after.id for wallet in judgement.changed],
            "events": judgement.events,
            "factsTakenBack": len(judgement.forgotten),
        },
    )
