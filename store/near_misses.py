"""Wallets that an update is nearly about: no wallet knows its credential, and these have something else of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Key, Method, Wallet, WalletId, belongs_to, is_fingerprint
from store import wallets
from store.failures import Failure, failure
from store.inbox_update import MOST_WALLETS, InboxUpdate, known_wallets

# Card faces have no index: a person looks for one now and then, and each update would write it.
_SOON = text("SET LOCAL statement_timeout = '2s'")
_BY_FACE = text("""
    SELECT DISTINCT CAST(wallet_id AS text)
    FROM (SELECT wallet_id FROM payment_methods WHERE live AND last4 = :last4 AND brand = :brand LIMIT :most) AS method
    ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A live method that an update may have meant, and what they have in common."""

    wallet_id: WalletId
    method: Method
    because: tuple[str, ...]


async def find(connection: AsyncConnection, update: InboxUpdate, vendors: Collection[str]) -> list[NearMiss]:
    """The near misses of an update that is parked; `vendors` are names under which its token may be known, too.

    Cards with the same face are searched among all wallets if the update names no customer, for two seconds at most.
    """
    other_names = _other_names(update.old_keys, vendors)
    candidates = {wallet.id: wallet for wallet in update.wallets}
    candidates.update((wallet.id, wallet) for wallet in await known_wallets(connection, sorted(other_names)))
    if "customer" not in update.customers:
        candidates.update((wallet.id, wallet) for wallet in await _by_face(connection, update))
    misses = [
        NearMiss(wallet.id, method, because)
        for _, wallet in sorted(candidates.items())
        for method in wallet.live_methods
        if (because := _in_common(update, wallet, method, other_names))
    ]
    return misses[:MOST_WALLETS]


def _other_names(keys: Sequence[Key], vendors: Collection[str]) -> set[Key]:
    """The same tokens, as other vendors' tokens."""
    tokens = [key.partition(":")[2] for key in keys if not is_fingerprint(key)]
    return {f"{vendor}:{token}" for token in tokens for vendor in vendors}.difference(keys)


async def _by_face(connection: AsyncConnection, update: InboxUpdate) -> list[Wallet]:
    ids: set[WalletId] = set()
    for new in update.reported:
        if new.last4 is None or new.brand is None:
            continue
        face = {"last4": new.last4, "brand": new.brand, "most": MOST_WALLETS}
        try:
            async with connection.begin_nested():
                await connection.execute(_SOON)
                ids.update(await connection.scalars(_BY_FACE, face))
        except DBAPIError as error:
            if failure(error) is not Failure.TOO_MUCH:
                raise
    return await wallets.load(connection, sorted(ids)[:MOST_WALLETS])


def _in_common(update: InboxUpdate, wallet: Wallet, method: Method, other_names: Collection[Key]) -> tuple[str, ...]:
    new = {key for credential in update.reported for key in (credential.key, credential.alias)}
    faces = {(credential.last4, credential.brand) for credential in update.reported}
    common = {
        "same fingerprint": any(is_fingerprint(key) and key in new for key in method.keys),
        "same new token": any(not is_fingerprint(key) and key in new for key in method.keys),
        "same token of another vendor": not method.keys.isdisjoint(other_names),
        "same last4 and brand": None not in (method.details.last4, method.details.brand)
        and (method.details.last4, method.details.brand) in faces,
        "same customer": bool(update.judged.update.scope) and belongs_to(update.judged.update.scope, wallet),
    }
    return tuple(name for name, is_so in common.items() if is_so)
