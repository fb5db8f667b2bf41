"""Wallets with their methods, links and merchants: found by credential or customer, locked, loaded, written back."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Turn
from domain.settle import Replaced
from domain.wallet import (
    Customer,
    Details,
    Expiry,
    Key,
    Link,
    LinkKind,
    LinkStatus,
    Method,
    MethodStatus,
    MethodType,
    Wallet,
    WalletId,
)
from store.inbox import GATE

# --- finding and locking ------------------------------------------------------------------------------------------

_LOCK = text("""
    WITH named AS (
        SELECT wallet_id FROM payment_method_credentials WHERE key = ANY(CAST(:keys AS text[]))
        UNION
        SELECT wallet_id FROM wallet_leads WHERE key = ANY(CAST(:keys AS text[]))
        UNION
        SELECT coalesce(merged_into, id)
        FROM wallets JOIN customer_identities ON wallet_id = id
        WHERE (name, value) IN (SELECT * FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])))
    )
    SELECT CAST(id AS text) FROM wallets WHERE id IN (SELECT wallet_id FROM named) ORDER BY wallets.id FOR NO KEY UPDATE
""")


async def lock(
    connection: AsyncConnection, keys: Collection[Key], identities: Collection[tuple[str, str]] = ()
) -> list[WalletId]:
    """Lock the wallets that know any of `keys`, and those of the customers so identified; their ids.

    The credentials of `keys` are locked already (`store.knowledge.lock`), so no further wallet can come to know one.
    """
    rows = await connection.execute(
        _LOCK,
        {
            "keys": list(keys),
            "names": [name for name, _ in identities],
            "values": [value for _, value in identities],
        },
    )
    return list(rows.scalars())


_KEYS_OF = text("""
    WITH named AS (
        SELECT coalesce(merged_into, id) AS wallet_id
        FROM wallets JOIN customer_identities ON wallet_id = id
        WHERE (name, value) IN (SELECT * FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])))
    )
    SELECT key FROM payment_method_credentials WHERE wallet_id IN (SELECT wallet_id FROM named)
    UNION
    SELECT key FROM wallet_leads WHERE wallet_id IN (SELECT wallet_id FROM named)
""")


async def keys_of(connection: AsyncConnection, identities: Collection[tuple[str, str]]) -> set[Key]:
    """The credentials in the wallets of these customers: a merge lets another wallet come to know them."""
    rows = await connection.execute(
        _KEYS_OF, {"names": [name for name, _ in identities], "values": [value for _, value in identities]}
    )
    return set(rows.scalars())


# --- loading ------------------------------------------------------------------------------------------------------

_WALLETS = text("""
    SELECT CAST(id AS text), enterprise_id, hsid, date_of_birth, CAST(metadata AS text), CAST(merged_into AS text),
           ARRAY(SELECT merchant_id FROM wallet_merchants WHERE wallet_id = id ORDER BY merchant_id),
           ARRAY(SELECT key FROM wallet_leads WHERE wallet_id = id),
           ARRAY(SELECT ARRAY[identity.name, identity.value]
                 FROM wallets AS former JOIN customer_identities AS identity ON identity.wallet_id = former.id
                 WHERE former.merged_into = wallets.id)
    FROM wallets WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY wallets.id
""")
_METHODS = text("""
    SELECT CAST(wallet_id AS text), CAST(id AS text), type, status, last4, brand, expiry_year, expiry_month,
           holder_name, zip_code, manufacturer_card, account_type, bank_name, CAST(extra_details AS text),
           nickname, par,
           is_default, is_subscription_default, CAST(replaced_by AS text), deleted_reason,
           ARRAY(SELECT key FROM payment_method_credentials WHERE payment_method_id = id)
    FROM payment_methods WHERE wallet_id = ANY(CAST(:ids AS uuid[])) ORDER BY payment_methods.id
""")
_LINKS = text("""
    SELECT CAST(wallet_id AS text), CAST(id AS text), merchant_id, CAST(payment_method_id AS text), kind, reference,
           status
    FROM payment_links WHERE wallet_id = ANY(CAST(:ids AS uuid[])) ORDER BY payment_links.id
""")


async def load(connection: AsyncConnection, ids: Collection[WalletId]) -> list[Wallet]:
    """The wallets of `ids`, whole, ordered by id; so are their methods and links."""
    parameters = {"ids": list(ids)}
    methods: dict[WalletId, list[Method]] = {}
    for row in await connection.execute(_METHODS, parameters):
        methods.setdefault(row[0], []).append(_method(row))
    links: dict[WalletId, list[Link]] = {}
    for wallet_id, link_id, merchant_id, method_id, kind, reference, status in await connection.execute(
        _LINKS, parameters
    ):
        link = Link(link_id, merchant_id, method_id, LinkKind[kind], reference, LinkStatus[status])
        links.setdefault(wallet_id, []).append(link)
    found = []
    for wallet_id, enterprise, hsid, birth, metadata, merged, merchants, leads, former in await connection.execute(
        _WALLETS, parameters
    ):
        found.append(
            Wallet(
                id=wallet_id,
                customer=Customer(_identities(enterprise, hsid, metadata), birth),
                merchants=tuple(merchants),
                methods=tuple(methods.get(wallet_id, ())),
                links=tuple(links.get(wallet_id, ())),
                leads=frozenset(leads),
                former_identities=frozenset((name, value) for name, value in former),
                merged_into=merged,
            )
        )
    return found


def _method(row: Sequence[Any]) -> Method:
    (
        _,
        method_id,
        kind,
        status,
        last4,
        brand,
        year,
        month,
        holder_name,
        zip_code,
        manufacturer_card,
        account_type,
        bank_name,
        extra,
        nickname,
        par,
        default,
        subscription_default,
        replaced_by,
        deleted_reason,
        keys,
    ) = row
    return Method(
        method_id,
        MethodType[kind],
        MethodStatus[status],
        frozenset(keys),
        Details(
            last4,
            brand,
            None if year is None else Expiry(year, month),
            holder_name,
            zip_code,
            manufacturer_card,
            account_type,
            bank_name,
            {} if extra == "{}" else json.loads(extra),
        ),
        nickname,
        par,
        default,
        subscription_default,
        replaced_by,
        deleted_reason,
    )


def _identities(enterprise_id: str | None, hsid: str | None, metadata: str) -> frozenset[tuple[str, str]]:
    named = [("enterpriseId", enterprise_id), ("hsid", hsid)]
    if metadata != "{}":
        named += [(f"metadata.{name}", value) for name, value in json.loads(metadata).items()]
    return frozenset((name, value) for name, value in named if value is not None)


# --- writing back -------------------------------------------------------------------------------------------------
#
# The order matters: a replaced method lets go of its flags and identity before another takes them, and the merchants
# of a merged wallet are united before its links arrive. What is not true in between is deferred to the commit by the
# schema.

_UNITE = text("""
    INSERT INTO wallet_merchants (wallet_id, merchant_id)
    SELECT * FROM unnest(CAST(:wallet_ids AS uuid[]), CAST(:merchant_ids AS text[])) ON CONFLICT DO NOTHING
""")
_MERGED = text("""
    WITH merged AS (
        SELECT * FROM unnest(CAST(:sources AS uuid[]), CAST(:targets AS uuid[])) AS merged(source, target)
    ),
    -- what it knew, the target knows now
    forgotten AS (DELETE FROM wallet_leads WHERE wallet_id IN (SELECT source FROM merged))
    UPDATE wallets SET merged_into = target
    FROM (SELECT id, target FROM wallets JOIN merged ON id = source
          UNION
          SELECT id, target FROM wallets JOIN merged ON merged_into = source) AS moved
    WHERE wallets.id = moved.id
""")
_DELETE = text("""
    UPDATE payment_methods AS method
    SET status = 'DELETED', is_default = false, is_subscription_default = false, replaced_by = gone.replaced_by,
        deleted_reason = gone.deleted_reason, wallet_id = gone.wallet_id
    FROM unnest(CAST(:methods AS method_row[])) AS gone
    WHERE method.id = gone.id
""")
_UPDATE = text("""
    UPDATE payment_methods AS method
    SET wallet_id = new.wallet_id, status = new.status, last4 = new.last4, brand = new.brand,
        expiry_year = new.expiry_year, expiry_month = new.expiry_month, holder_name = new.holder_name,
        zip_code = new.zip_code, manufacturer_card = new.manufacturer_card, account_type = new.account_type,
        bank_name = new.bank_name, nickname = new.nickname, par = new.par, is_default = new.is_default,
        is_subscription_default = new.is_subscription_default
    FROM unnest(CAST(:methods AS method_row[])) AS new
    WHERE method.id = new.id
""")
_INSERT = text("""
    INSERT INTO payment_methods (id, wallet_id, type, status, last4, brand, expiry_year, expiry_month, holder_name,
                                 zip_code, manufacturer_card, account_type, bank_name, extra_details, nickname, par,
                                 is_default, is_subscription_default, replaced_by, deleted_reason)
    SELECT id, wallet_id, type, status, last4, brand, expiry_year, expiry_month, holder_name, zip_code,
           manufacturer_card, account_type, bank_name, CAST(extra_details AS jsonb), nickname, par, is_default,
           is_subscription_default, replaced_by, deleted_reason
    FROM unnest(CAST(:methods AS method_row[]))
""")
_CREDENTIALS = text("""
    INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live)
    SELECT * FROM unnest(CAST(:credentials AS method_credential_row[]))
""")
_MOVE_LINKS = text("""
    UPDATE payment_links AS link SET payment_method_id = moved.payment_method_id
    FROM unnest(CAST(:links AS link_row[])) AS moved
    WHERE link.id = moved.id
""")
_LINEAGE = text("""
    INSERT INTO lineage (old_id, new_id, wallet_id, reason, vendor, update_id)
    SELECT * FROM unnest(CAST(:replaced AS lineage_row[]))
""")
_LEADS = text("""
    INSERT INTO wallet_leads (wallet_id, key)
    SELECT * FROM unnest(CAST(:wallet_ids AS uuid[]), CAST(:keys AS text[])) ON CONFLICT DO NOTHING
""")


async def save(connection: AsyncConnection, turns: Sequence[Turn]) -> None:
    """Write what became of the wallets; they are locked, and their `before` is what the database holds."""
    before = {method.id: (turn.before, method) for turn in turns for method in turn.before.methods}
    gone: list[_Row] = []
    changed: list[_Row] = []
    fresh: list[_Row] = []
    credentials: list[_Row] = []
    for turn in turns:
        wallet_id = turn.after.id
        for method in turn.after.methods:
            wallet, former = before.get(method.id, (None, None))
            if former is method and wallet is turn.before:
                continue
            if former is None:
                fresh.append(_method_row(wallet_id, method))
            else:
                (gone if former.live and not method.live else changed).append(_method_row(wallet_id, method))
            news = method.keys if former is None else method.keys - former.keys
            credentials += _credential_rows(wallet_id, method, news)
    await _save_merges(connection, turns)
    if gone:
        await connection.execute(_DELETE, {"methods": gone})
    if changed:
        await connection.execute(_UPDATE, {"methods": changed})
    if fresh:
        await connection.execute(_INSERT, {"methods": fresh})
    if credentials:
        await connection.execute(_CREDENTIALS, {"credentials": credentials})
    await _save_links(connection, turns)
    await _save_lineage(connection, turns)
    leads = [(turn.after.id, key) for turn in turns for key in sorted(turn.after.leads - turn.before.leads)]
    if leads:
        await connection.execute(
            _LEADS, {"wallet_ids": [wallet_id for wallet_id, _ in leads], "keys": [key for _, key in leads]}
        )


async def _save_merges(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    merged = [turn for turn in turns if turn.after.merged_into != turn.before.merged_into]
    if not merged:
        return
    united = [
        (turn.after.id, merchant)
        for turn in turns
        for merchant in turn.after.merchants
        if merchant not in turn.before.merchants
    ]
    await connection.execute(
        _UNITE,
        {"wallet_ids": [wallet_id for wallet_id, _ in united], "merchant_ids": [merchant for _, merchant in united]},
    )
    await connection.execute(
        _MERGED,
        {"sources": [turn.after.id for turn in merged], "targets": [turn.after.merged_into for turn in merged]},
    )


async def _save_links(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    before = {link.id: link.method_id for turn in turns for link in turn.before.links}
    moved = [link for turn in turns for link in turn.after.links if link.method_id != before[link.id]]
    if moved:
        await connection.execute(_MOVE_LINKS, {"links": [(link.id, link.method_id) for link in moved]})


async def _save_lineage(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    replaced: list[_Row] = []
    for turn in turns:
        for change in turn.changes:
            if isinstance(change, Replaced):
                said_by = (None, None) if change.fact is None else change.fact.stamp[1:]
                replaced.append((change.old.id, change.new.id, turn.after.id, change.reason, *said_by))
    if replaced:
        await connection.execute(_LINEAGE, {"replaced": replaced})


_Row: TypeAlias = tuple[Any, ...]


def _method_row(wallet_id: WalletId, method: Method) -> _Row:
    last4, brand, expiry, holder_name, zip_code, manufacturer_card, account_type, bank_name, extra = method.details
    year, month = expiry or (None, None)
    return (
        method.id,
        wallet_id,
        method.type,
        method.status,
        last4,
        brand,
        year,
        month,
        holder_name,
        zip_code,
        manufacturer_card,
        account_type,
        bank_name,
        json.dumps(dict(extra)) if extra else "{}",
        method.nickname,
        method.par,
        method.default,
        method.subscription_default,
        method.replaced_by,
        method.deleted_reason,
    )


def _credential_rows(wallet_id: WalletId, method: Method, keys: Iterable[Key]) -> list[_Row]:
    return [(method.id, key, wallet_id, method.type, method.live) for key in sorted(keys)]


# --- importing ----------------------------------------------------------------------------------------------------

_INSERT_WALLETS = text("""
    INSERT INTO wallets (id, enterprise_id, hsid, date_of_birth, metadata, merged_into)
    SELECT id, enterprise_id, hsid, born, CAST(metadata AS jsonb), merged_into
    FROM unnest(CAST(:ids AS uuid[]), CAST(:enterprise_ids AS text[]), CAST(:hsids AS text[]), CAST(:births AS date[]),
                CAST(:metadata AS text[]), CAST(:merged_into AS uuid[]))
         AS w(id, enterprise_id, hsid, born, metadata, merged_into)
    ON CONFLICT (id) DO NOTHING RETURNING CAST(id AS text)
""")
_INSERT_IDENTITIES = text("""
    INSERT INTO customer_identities (wallet_id, name, value)
    SELECT * FROM unnest(CAST(:wallet_ids AS uuid[]), CAST(:names AS text[]), CAST(:values AS text[]))
""")
_INSERT_LINKS = text("""
    INSERT INTO payment_links (id, wallet_id, merchant_id, payment_method_id, kind, reference, status)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:wallet_ids AS uuid[]), CAST(:merchant_ids AS text[]),
                         CAST(:method_ids AS uuid[]), CAST(:kinds AS text[]), CAST(:references AS text[]),
                         CAST(:statuses AS text[]))
    ON CONFLICT (id) DO NOTHING RETURNING CAST(id AS text)
""")
_EXISTING_METHODS = text("""
    SELECT CAST(id AS text) FROM payment_methods WHERE id = ANY(CAST(:ids AS uuid[]))
""")


async def insert(connection: AsyncConnection, new: Sequence[Wallet]) -> set[str]:
    """Insert wallets as they are given; the ids (of wallets, methods or links) that are there already, or twice.

    Where any are, the transaction is to be rolled back. What vendors told of their credentials is not looked at:
    settle them before the commit, behind the gate (`close_the_gate`).
    """
    methods = [(wallet.id, method) for wallet in new for method in wallet.methods]
    links = [(wallet.id, link) for wallet in new for link in wallet.links]
    taken = _twice(wallet.id for wallet in new)
    taken |= _twice(method.id for _, method in methods) | _twice(link.id for _, link in links)
    if taken:
        return taken
    wallet_ids = await connection.scalars(
        _INSERT_WALLETS,
        {
            "ids": [wallet.id for wallet in new],
            "enterprise_ids": [dict(wallet.customer.identities).get("enterpriseId") for wallet in new],
            "hsids": [dict(wallet.customer.identities).get("hsid") for wallet in new],
            "births": [wallet.customer.date_of_birth for wallet in new],
            "metadata": [_metadata(wallet.customer) for wallet in new],
            "merged_into": [wallet.merged_into for wallet in new],
        },
    )
    taken = {wallet.id for wallet in new}.difference(wallet_ids)
    taken |= set(await connection.scalars(_EXISTING_METHODS, {"ids": [method.id for _, method in methods]}))
    if taken:
        return taken
    identities = [(wallet.id, name, value) for wallet in new for name, value in wallet.customer.identities]
    await connection.execute(
        _INSERT_IDENTITIES,
        {
            "wallet_ids": [wallet_id for wallet_id, _, _ in identities],
            "names": [name for _, name, _ in identities],
            "values": [value for _, _, value in identities],
        },
    )
    shared = [(wallet.id, merchant) for wallet in new for merchant in wallet.merchants]
    await connection.execute(
        _UNITE,
        {"wallet_ids": [wallet_id for wallet_id, _ in shared], "merchant_ids": [merchant for _, merchant in shared]},
    )
    await connection.execute(_INSERT, {"methods": [_method_row(*each) for each in methods]})
    credentials = [row for wallet_id, method in methods for row in _credential_rows(wallet_id, method, method.keys)]
    await connection.execute(_CREDENTIALS, {"credentials": credentials})
    replaced = [
        (method.id, method.replaced_by, wallet_id, method.deleted_reason or "REPLACED", None, None)
        for wallet_id, method in methods
        if method.replaced_by is not None
    ]
    await connection.execute(_LINEAGE, {"replaced": replaced})
    link_ids = await connection.scalars(
        _INSERT_LINKS,
        {
            "ids": [link.id for _, link in links],
            "wallet_ids": [wallet_id for wallet_id, _ in links],
            "merchant_ids": [link.merchant_id for _, link in links],
            "method_ids": [link.method_id for _, link in links],
            "kinds": [link.kind.value for _, link in links],
            "references": [link.reference for _, link in links],
            "statuses": [link.status.value for _, link in links],
        },
    )
    return {link.id for _, link in links}.difference(link_ids)


def _twice(ids: Iterable[str]) -> set[str]:
    return {each for each, count in Counter(ids).items() if count > 1}


_MERGED_ASTRAY = text("""
    SELECT CAST(source.id AS text)
    FROM wallets AS source LEFT JOIN wallets AS target ON target.id = source.merged_into AND target.merged_into IS NULL
    WHERE source.id = ANY(CAST(:ids AS uuid[])) AND source.merged_into IS NOT NULL AND target.id IS NULL
""")


async def merged_astray(connection: AsyncConnection, ids: Collection[WalletId]) -> list[WalletId]:
    """Those of `ids` that are merged into no wallet, or into one that is merged itself."""
    return list(await connection.scalars(_MERGED_ASTRAY, {"ids": list(ids)}))


_CLOSE_THE_GATE = text("SELECT pg_advisory_xact_lock(:gate)")
_TO_SETTLE = text("""
    SELECT CAST(wallet_id AS text) FROM payment_method_credentials
    WHERE wallet_id = ANY(CAST(:ids AS uuid[])) AND key IN (
        SELECT key FROM credentials WHERE status IS NOT NULL OR expiry_year IS NOT NULL OR details IS NOT NULL
        UNION ALL SELECT old_key FROM replacement_facts
        UNION ALL SELECT old_alias FROM replacement_facts
        UNION ALL SELECT key FROM parked_updates)
    UNION
    SELECT CAST(wallet_id AS text) FROM customer_identities
    WHERE wallet_id = ANY(CAST(:ids AS uuid[])) AND '@' || name || '=' || value IN (SELECT key FROM parked_updates)
""")


async def close_the_gate(connection: AsyncConnection) -> None:
    """Wait for the batches that are under way, and keep others out until the transaction ends.

    An import lets wallets come to know credentials whose rows it has not locked. It settles them behind the closed
    gate, so that no worker learns something of one in between.
    """
    await connection.execute(_CLOSE_THE_GATE, {"gate": GATE})


async def to_settle(connection: AsyncConnection, ids: Collection[WalletId]) -> list[WalletId]:
    """Those of the new wallets `ids` about whose credentials or customers anything was told before they came."""
    return list(await connection.scalars(_TO_SETTLE, {"ids": list(ids)}))


def _metadata(customer: Customer) -> str:
    named = dict(customer.identities)
    return json.dumps({name.removeprefix("metadata."): named[name] for name in named if name.startswith("metadata.")})


# --- exporting ----------------------------------------------------------------------------------------------------

_PAGE = text("""
    SELECT CAST(id AS text) FROM wallets WHERE id > CAST(:after AS uuid) ORDER BY wallets.id LIMIT :limit
""")
_FIRST = "00000000-0000-0000-0000-000000000000"


async def page(connection: AsyncConnection, *, after: WalletId = _FIRST, limit: int = 1000) -> list[Wallet]:
    """Up to `limit` wallets after the id `after`, ordered by id."""
    return await load(connection, list(await connection.scalars(_PAGE, {"after": after, "limit": limit})))
