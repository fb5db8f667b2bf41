"""One change of wallets, in the caller's transaction: lock → load → decide → apply → announce.

All changes of wallets pass through here: vendor updates, imports, and the unfinished updates of large credentials. A
change runs a fixed number of statements, whatever the number of updates and wallets. It runs one more round only if
facts lead to credentials that are not loaded yet. Any failure fails the caller's transaction.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Decision, Verdict, decide
from domain.effort import Effort
from domain.resolve import Replaced
from domain.update import Update
from domain.wallet import Key, MethodId, WalletId
from store import inbox, knowledge, wallets
from store.ids import uuid7
from wallets.announcements import Announced, announce
from wallets.loading import ORDINARY, Limits, Loaded, load

ChangePoint: TypeAlias = Literal["decided", "applied", "announced"]
"""A point at which a crash test may stop a change."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long knowledge is kept: `known` if some wallet knows the credential, else `unknown`."""

    known: timedelta
    unknown: timedelta


@dataclass(frozen=True, slots=True)
class Change:
    """The result of a change: the verdict on each update, in their order, and what was announced.

    `left_after`: wallets with a greater id that know the updates' credential are left to `wallets.unfinished`; None if
    all were changed. `replaced` counts the wallets in which each vendor's facts replaced a payment method.
    """

    verdicts: Sequence[Verdict]
    announced: Announced
    left_after: WalletId | None
    replaced: Mapping[str, int]


async def change(
    connection: AsyncConnection,
    updates: Sequence[Update],
    retention: Retention,
    *,
    within_reach: AbstractSet[Key] = frozenset(),
    limits: Limits = ORDINARY,
    on_point: Callable[[ChangePoint], None] = lambda _: None,
) -> Change:
    """Change the wallets that `updates` are about; `within_reach` are credentials to lock beside those they name.

    Waiting updates whose credential becomes known here get their outcome as well.

    Raises:
        store.knowledge.Contended: begin again, with these credentials within reach.
        TooMuch: the updates are more than one transaction may take on.
    """
    loaded = await load(connection, updates, within_reach, limits, keep=retention.unknown)
    decision, announced = await resolve(connection, loaded, retention, updates=updates, on_point=on_point)
    return Change(decision.verdicts, announced, loaded.left_after, _replaced(decision))


def _replaced(decision: Decision) -> Mapping[str, int]:
    return Counter(
        vendor
        for wallet in decision.changed
        for vendor in {
            change.fact.stamp.vendor
            for change in wallet.changes
            if isinstance(change, Replaced) and change.fact is not None
        }
    )


async def resolve(
    connection: AsyncConnection,
    loaded: Loaded,
    retention: Retention,
    *,
    updates: Sequence[Update] = (),
    known_before: AbstractSet[Key] | None = None,
    effort: Effort | None = None,
    on_point: Callable[[ChangePoint], None] = lambda _: None,
) -> tuple[Decision, Announced]:
    """Change the wallets of `loaded` by `updates`, by earlier reports, and by the waiting updates.

    Return the decision and what was announced. `known_before` is as for `carry_out`.
    """
    decision = decide(updates, loaded.wallets, loaded.knowledge, loaded.waiting, method_ids(), effort=effort)
    on_point("decided")
    announced = await carry_out(connection, decision, loaded, retention, known_before=known_before, on_point=on_point)
    if decision.waiting:
        await inbox.update_outcomes(connection, decision.waiting)
    return decision, announced


async def carry_out(
    connection: AsyncConnection,
    decision: Decision,
    loaded: Loaded,
    retention: Retention,
    *,
    known_before: AbstractSet[Key] | None = None,
    on_point: Callable[[ChangePoint], None] = lambda _: None,
) -> Announced:
    """Write and announce a decision.

    `known_before` are the credentials that wallets knew when the knowledge of them was reported; by default, those that
    the loaded wallets know.
    """
    await _apply(connection, decision, loaded, retention, loaded.known if known_before is None else known_before)
    on_point("applied")
    announced = await announce(connection, decision.changed)
    on_point("announced")
    return announced


def method_ids() -> Callable[[WalletId, Key], MethodId]:
    """A function that returns new ids for methods: the same id for the same wallet and credential."""

    @cache
    def method_id(_wallet_id: WalletId, _key: Key) -> MethodId:
        return str(uuid7())

    return method_id


async def _apply(
    connection: AsyncConnection,
    decision: Decision,
    loaded: Loaded,
    retention: Retention,
    known_before: AbstractSet[Key],
) -> None:
    facts = loaded.knowledge
    await knowledge.save(connection, facts, decision.known, keep=retention.known, keep_unknown=retention.unknown)
    newly_known = {key for key in decision.known - known_before if facts.states.get(key) or facts.facts_from(key)}
    if newly_known:
        await knowledge.keep_longer(connection, newly_known, keep=retention.known)
    await wallets.save(connection, decision.changed)
