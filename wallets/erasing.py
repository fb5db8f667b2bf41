"""Erase a person: `repoint wallets erase`.

What speaks of the person beside the wallet is changed first, a page in a transaction, and the wallet last. As long as
the wallet says whose it is, the next call finds everything again: whatever dies in between, it goes on. The last
transaction locks the wallet as a batch does, and takes in what was written meanwhile:

    events, answers      page by page: bodies without the person; answers of merchants are removed
    dead letters         page by page: those that speak of the person are emptied and closed
    thin events          page by page: those that speak of the person are removed
    held updates         page by page: as thin events
    inbox                page by page: which credential an update was about
    the wallets          in one transaction: new events; PAYMENT_METHOD_DELETED for live methods; knowledge and waiting
                         updates; methods, links and customer; the row of the audit

Deliveries under way go on, in their order, with the body that is left. An attempt that began before sends the former.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.decide import ChangedWallet
from domain.erasure import Person, erase, is_erased, person, speaks_of
from domain.wallet import Identity, Key, Wallet, WalletId
from schemas.redaction import redacted
from store import audit, connectivity, erasures, knowledge, wallets
from store.audit import Act
from store.erasures import Letters
from store.knowledge import Contended
from wallets.announcements import announce
from wallets.change import Retention
from wallets.loading import known_by

ErasurePoint: TypeAlias = Literal["events", "letters", "thin events", "held updates", "inbox", "wallets"]
"""A point after a commit, or before the last one, at which a crash test may stop an erasure."""

# The wallet comes to know other credentials meanwhile only if vendors report of it.
_TRIES = 10

_Find: TypeAlias = Callable[[AsyncConnection, Collection[bytes], int], Awaitable[Letters]]
_Change: TypeAlias = Callable[[AsyncConnection, Collection[int]], Awaitable[None]]


class NoCustomer(Exception):
    """No wallet belongs to this customer."""


class SeveralCustomers(Exception):
    """Several wallets that were not merged have this identifier: they may be several people's."""

    def __init__(self, wallet_ids: Sequence[WalletId]) -> None:
        super().__init__(f"{len(wallet_ids)} wallets")
        self.wallet_ids = wallet_ids


class AlreadyErased(Exception):
    """The wallet's person was erased before."""


@dataclass(slots=True)
class Erased:
    """What was erased, or would be. `too_short` are identifiers that dead letters were not searched for."""

    wallets: Sequence[WalletId]
    payment_methods: int
    deleted: int
    payment_links: int
    events: int = 0
    dead_letters: int = 0
    thin_events: int = 0
    held_updates: int = 0
    too_short: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to erase: by identities, or by wallet; who wants it, and why."""

    identities: Collection[Identity]
    wallet_ids: Collection[WalletId]
    actor: str
    reason: str


@dataclass(slots=True)
class _Work:
    """An erasure under way, from transaction to transaction."""

    engine: AsyncEngine
    order: Order
    dry_run: bool
    on_point: Callable[[ErasurePoint], None]
    wallets: Sequence[Wallet] = ()
    seen: Counter[str] = field(default_factory=Counter)
    last_update: int = 0

    @property
    def ids(self) -> list[WalletId]:
        return [wallet.id for wallet in self.wallets]


async def erase_person(
    engine: AsyncEngine,
    order: Order,
    retention: Retention,
    *,
    dry_run: bool = False,
    on_point: Callable[[ErasurePoint], None] = lambda _: None,
) -> Erased:
    """Erase the customer of `order`, in all of their wallets. A dry run counts.

    Raises:
        NoCustomer: no wallet is theirs.
        SeveralCustomers: the identifier is not theirs alone.
        AlreadyErased: nothing is left to erase.
    """
    work = _Work(engine, order, dry_run, on_point)
    async with connectivity.snapshot(engine) as connection:
        work.wallets = await _find(connection, order)
    whom = person(work.wallets)
    if not dry_run:  # the last transaction counts them all
        await _erase_events(work)
    on_point("events")
    await _erase_letters(work, whom, "dead_letters", erasures.dead_letters, erasures.blank_letters)
    on_point("letters")
    await _erase_letters(work, whom, "thin_events", erasures.thin_events, erasures.forget_thin_events)
    on_point("thin events")
    await _erase_letters(work, whom, "held_updates", erasures.held_updates, erasures.forget_held)
    on_point("held updates")
    await _erase_inbox(work)
    on_point("inbox")
    return await _erase_wallets(work, retention)


async def _find(connection: AsyncConnection, order: Order) -> list[Wallet]:
    ids = await erasures.family(connection, order.identities, order.wallet_ids)
    if not ids:
        raise NoCustomer
    family = await wallets.load(connection, ids)
    if len(heads := [wallet.id for wallet in family if wallet.merged_into is None]) > 1:
        raise SeveralCustomers(heads)
    if all(map(is_erased, family)):
        raise AlreadyErased
    return family


async def _erase_events(work: _Work) -> None:
    after = erasures.FIRST_EVENT
    while True:
        async with connectivity.transaction(work.engine, dry_run=work.dry_run) as connection:
            page = await _erase_page(connection, work, after)
        if len(page) < erasures.PAGE:
            return
        after = page[-1]


async def _erase_page(connection: AsyncConnection, work: _Work, after: UUID) -> list[UUID]:
    """Redact the next events, and count those that were not redacted yet; their ids."""
    page = await erasures.events(connection, work.ids, after)
    changed = [(id_, blank) for id_, body in page if (blank := redacted(body)) != body]
    await erasures.write_bodies(connection, changed)
    ids = [id_ for id_, _ in page]
    await erasures.forget_answers(connection, ids)
    work.seen["events"] += len(changed)
    return ids


async def _erase_letters(work: _Work, whom: Person, name: str, find: _Find, change: _Change) -> None:
    values = {form.encode() for value in whom.values for form in (value, json.dumps(value)[1:-1])}
    after: int | None = 0
    while after is not None and values:
        async with connectivity.transaction(work.engine, dry_run=work.dry_run) as connection:
            page = await find(connection, values, after)
            ids = [letter.id for letter in page.letters if _speaks_of(letter.parts, values)]
            if ids:
                await change(connection, ids)
        work.seen[name] += len(ids)
        after = page.last


async def _erase_inbox(work: _Work) -> None:
    keys = known_by(work.wallets)
    is_full = True
    while is_full:
        async with connectivity.transaction(work.engine, dry_run=work.dry_run) as connection:
            own = await erasures.own_keys(connection, work.ids, keys)
            work.last_update, is_full = await erasures.forget_old_keys(connection, own, work.last_update)


def _speaks_of(parts: Sequence[bytes], values: Collection[bytes]) -> bool:
    words = [value.decode() for value in values]
    return any(speaks_of(part.decode(errors="replace"), words) for part in parts)


async def _erase_wallets(work: _Work, retention: Retention) -> Erased:
    keys = known_by(work.wallets)
    for tries_left in reversed(range(_TRIES)):
        try:
            return await _try_wallets(work, keys, retention)
        except Contended as contended:
            if not tries_left:
                raise
            keys = keys | contended.keys
    raise AssertionError  # the last try returns or raises


async def _try_wallets(work: _Work, keys: set[Key], retention: Retention) -> Erased:
    """The last transaction. Raises Contended where the wallets know credentials that are not locked."""
    async with connectivity.transaction(work.engine, dry_run=work.dry_run) as connection:
        await knowledge.lock(connection, keys, keep=retention.unknown)
        await wallets.lock_by_id(connection, work.ids)
        current = await _find(connection, work.order)
        if missing := known_by(current) - keys:
            raise Contended(missing)
        if [wallet.id for wallet in current] != work.ids:  # merged meanwhile
            work.wallets = current
            raise Contended(keys)
        erased = await _erase_locked(connection, work, current, keys)
        work.on_point("wallets")
    return erased


async def _erase_locked(
    connection: AsyncConnection, work: _Work, current: Sequence[Wallet], keys: Collection[Key]
) -> Erased:
    after = erasures.FIRST_EVENT
    while len(page := await _erase_page(connection, work, after)) == erasures.PAGE:
        after = page[-1]
    own = await erasures.own_keys(connection, work.ids, keys)
    await erasures.forget_old_keys(connection, own, work.last_update)
    identities = {pair for wallet in current for pair in wallet.customer.identities | wallet.former_identities}
    await erasures.forget_reports(connection, work.ids, keys, identities)
    blank = {wallet.id: erase(wallet) for wallet in current}
    await erasures.blank_wallets(connection, work.ids)
    changed = [ChangedWallet(wallet, blank[wallet.id].wallet, blank[wallet.id].deleted) for wallet in current]
    await announce(connection, changed)
    erased = Erased(
        wallets=work.ids,
        payment_methods=sum(len(wallet.methods) for wallet in current),
        deleted=sum(len(erasure.deleted) for erasure in blank.values()),
        payment_links=sum(len(wallet.links) for wallet in current),
        events=work.seen["events"],
        dead_letters=work.seen["dead_letters"],
        thin_events=work.seen["thin_events"],
        held_updates=work.seen["held_updates"],
        too_short=len(person(current).too_short),
    )
    await audit.record(connection, [_act(work.order, erased, current)])
    return erased


def _act(order: Order, erased: Erased, current: Sequence[Wallet]) -> Act:
    """The row of the audit: it says which wallets, and nothing of whose they were, whatever the reason says."""
    whom = person(current)
    reason = order.reason
    for value in sorted((*whom.values, *whom.too_short), key=len, reverse=True):
        reason = reason.replace(value, "***")
    counts = {
        "paymentMethods": erased.payment_methods,
        "paymentLinks": erased.payment_links,
        "events": erased.events,
        "deadLetters": erased.dead_letters,
        "thinEvents": erased.thin_events,
        "heldUpdates": erased.held_updates,
    }
    head = next((wallet.id for wallet in current if wallet.merged_into is None), current[0].id)
    return Act(order.actor, "wallet erased", head, reason, after={"wallets": list(erased.wallets), **counts})
