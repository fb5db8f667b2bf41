"""Write changed wallets back.

The order matters. A replaced method must lose its flags and identity before another method receives them. The merchants
of a merged wallet must be in the target before its links are. The schema defers all other constraints to the commit.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import ChangedWallet
from domain.resolve import Replaced
from domain.undo import Restored
from domain.wallet import Key, Method, MethodId, WalletId
from store.rows import (
    LINEAGE,
    LINK_MOVE,
    METHOD_CREDENTIAL,
    PAYMENT_METHOD,
    WALLET_LEAD,
    WALLET_MERCHANT,
    WALLET_MERGE,
)
from store.wallets.rows import Values, write_credentials, write_method

ADD_MERCHANTS = text(f"{WALLET_MERCHANT.insert('wallet_merchants', 'merchants')} ON CONFLICT DO NOTHING")
ADD_CREDENTIALS = text(METHOD_CREDENTIAL.insert("payment_method_credentials", "credentials"))
# Of a credential that comes by a merge: the customer brought it, unless facts led to it each time.
_ADD_LEARNT = f"""
    INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live, learnt)
    SELECT payment_method_id, key, wallet_id, type, live, coalesce(learnt, (
        SELECT bool_and(coalesce(held.learnt, false)) FROM payment_method_credentials AS held
        WHERE held.key = new.key AND held.wallet_id = new.wallet_id))
    FROM {METHOD_CREDENTIAL.array("credentials")} AS new
"""
_REMOVE_CREDENTIALS = text(f"""
    DELETE FROM payment_method_credentials AS credential
    USING {METHOD_CREDENTIAL.array("credentials")} AS gone
    WHERE credential.payment_method_id = ANY(CAST(:ids AS uuid[]))
      AND credential.payment_method_id = gone.payment_method_id AND credential.key = gone.key
""")
ADD_LINEAGE = text(LINEAGE.insert("lineage", "replacements"))
_MERGE = text(f"""
    WITH merge AS MATERIALIZED (SELECT id AS source, merged_into AS target FROM {WALLET_MERGE.array("merges")}),
    -- the target knows the source's leads now
    forgotten AS (DELETE FROM wallet_leads WHERE wallet_id = ANY(ARRAY(SELECT source FROM merge))),
    moved AS MATERIALIZED (
        SELECT source AS id, target FROM merge
        UNION
        SELECT former.id, target
        FROM merge CROSS JOIN LATERAL (SELECT id FROM wallets WHERE merged_into = source OFFSET 0) AS former)
    UPDATE wallets SET merged_into = target
    FROM moved
    WHERE wallets.id = moved.id AND wallets.id = ANY(ARRAY(SELECT id FROM moved))
""")
_DELETE_METHODS = text(f"""
    UPDATE payment_methods AS method
    SET status = 'DELETED', is_default = false, is_subscription_default = false, replaced_by = deleted.replaced_by,
        deleted_reason = deleted.deleted_reason, wallet_id = deleted.wallet_id
    FROM {PAYMENT_METHOD.array("methods")} AS deleted
    WHERE method.id = deleted.id AND method.id = ANY(CAST(:ids AS uuid[]))
""")
# A method keeps its type and its extra details. The statement above writes the columns of a deletion.
_NEVER_UPDATED = ("id", "type", "extra_details", "replaced_by", "deleted_reason")
_UPDATE_METHODS = text(f"""
    UPDATE payment_methods AS method SET {PAYMENT_METHOD.assignments("changed", without=_NEVER_UPDATED)}
    FROM {PAYMENT_METHOD.array("methods")} AS changed
    WHERE method.id = changed.id AND method.id = ANY(CAST(:ids AS uuid[]))
""")
# What has no order, in one statement: references are checked when it ends, or at the commit.
_ADD_AND_MOVE = text(f"""
    WITH method AS ({PAYMENT_METHOD.insert("payment_methods", "methods")}),
    credential AS ({_ADD_LEARNT}),
    replacement AS ({LINEAGE.insert("lineage", "replacements")})
    UPDATE payment_links AS link SET payment_method_id = moved.payment_method_id
    FROM {LINK_MOVE.array("links")} AS moved
    WHERE link.id = moved.id AND link.id = ANY(CAST(:link_ids AS uuid[]))
""")
_ADD_LEADS = text(f"{WALLET_LEAD.insert('wallet_leads', 'leads')} ON CONFLICT DO NOTHING")
_REMOVE_LEADS = text(f"""
    DELETE FROM wallet_leads AS lead USING {WALLET_LEAD.array("leads")} AS gone
    WHERE lead.wallet_id = ANY(CAST(:ids AS uuid[])) AND lead.wallet_id = gone.wallet_id AND lead.key = gone.key
""")


async def save(connection: AsyncConnection, changed: Sequence[ChangedWallet]) -> None:
    """Write the difference between each wallet before and after; `before` is what the database holds, locked."""
    await _save_merges(connection, changed)
    methods = _method_rows(changed)
    await _update_methods(connection, methods)
    links, replacements = _moved_links(changed), _replacements(changed)
    if methods.new or methods.credentials or links or replacements:
        parameters = {"methods": list(methods.new.values()), "credentials": methods.credentials}
        parameters |= {"replacements": replacements, "links": links, "link_ids": [link_id for link_id, _ in links]}
        await connection.execute(_ADD_AND_MOVE, parameters)
    await _save_leads(connection, changed)


@dataclass
class _MethodRows:
    """The rows that differ, by what is done with them; those of methods by their ids.

    `merged_into` are wallets that others were merged into.
    """

    merged_into: AbstractSet[WalletId]
    deleted: dict[MethodId, Values] = field(default_factory=dict)
    without_flag: dict[MethodId, Values] = field(default_factory=dict)
    updated: dict[MethodId, Values] = field(default_factory=dict)
    new: dict[MethodId, Values] = field(default_factory=dict)
    credentials: list[Values] = field(default_factory=list)
    lost_credentials: list[Values] = field(default_factory=list)
    ids_that_lost: list[MethodId] = field(default_factory=list)

    def add(self, wallet: ChangedWallet, method: Method, former: Method | None) -> None:
        """Add a method that differs from its former self."""
        wallet_id = wallet.after.id
        self._rows_for(method, former)[method.id] = write_method(wallet_id, method)
        held = frozenset() if former is None else former.keys
        # a merge hands over what the other wallet's customer brought as well
        learnt = None if wallet_id in self.merged_into else True
        own = _own_keys(wallet, method) if former is None else frozenset()
        self.credentials += write_credentials(wallet_id, method, method.keys - held - own, learnt=learnt)
        self.credentials += write_credentials(wallet_id, method, own, learnt=False)
        if held - method.keys:
            self.lost_credentials += write_credentials(wallet_id, method, held - method.keys, learnt=None)
            self.ids_that_lost.append(method.id)

    def _rows_for(self, method: Method, former: Method | None) -> dict[MethodId, Values]:
        if former is None:
            return self.new
        if former.live and not method.live:
            return self.deleted
        return self.without_flag if _loses_a_flag(former, method) else self.updated


def _method_rows(changed: Sequence[ChangedWallet]) -> _MethodRows:
    before = {method.id: (wallet.before, method) for wallet in changed for method in wallet.before.methods}
    rows = _MethodRows({wallet.after.merged_into for wallet in changed if wallet.after.merged_into is not None})
    for wallet in changed:
        for method in wallet.after.methods:
            owner, former = before.get(method.id, (None, None))
            if former is not method or owner is not wallet.before:
                rows.add(wallet, method, former)
    return rows


async def _update_methods(connection: AsyncConnection, rows: _MethodRows) -> None:
    """Write what methods lose before anything that others receive."""
    if rows.lost_credentials:
        lost = {"credentials": rows.lost_credentials, "ids": rows.ids_that_lost}
        await connection.execute(_REMOVE_CREDENTIALS, lost)
    # a flag that a method loses goes to another one
    for statement, changes in (
        (_DELETE_METHODS, rows.deleted),
        (_UPDATE_METHODS, rows.without_flag),
        (_UPDATE_METHODS, rows.updated),
    ):
        if changes:
            await connection.execute(statement, {"methods": list(changes.values()), "ids": list(changes)})


def _own_keys(wallet: ChangedWallet, method: Method) -> frozenset[Key]:
    """The credentials of a new method that the customer brought: those of a method that is there again."""
    for change in wallet.changes:
        if isinstance(change, Restored) and change.method.id == method.id:
            return change.own & method.keys
    return frozenset()


def _loses_a_flag(former: Method, method: Method) -> bool:
    return (former.default and not method.default) or (former.subscription_default and not method.subscription_default)


async def _save_merges(connection: AsyncConnection, changed: Iterable[ChangedWallet]) -> None:
    merges = [
        WALLET_MERGE.row(id=wallet.after.id, merged_into=wallet.after.merged_into)
        for wallet in changed
        if wallet.after.merged_into != wallet.before.merged_into
    ]
    if not merges:
        return
    merchants = [
        WALLET_MERCHANT.row(wallet_id=wallet.after.id, merchant_id=merchant)
        for wallet in changed
        for merchant in wallet.after.merchants
        if merchant not in wallet.before.merchants
    ]
    await connection.execute(ADD_MERCHANTS, {"merchants": merchants})
    await connection.execute(_MERGE, {"merges": merges})


def _moved_links(changed: Iterable[ChangedWallet]) -> list[Values]:
    before = {link.id: link.method_id for wallet in changed for link in wallet.before.links}
    return [
        LINK_MOVE.row(id=link.id, payment_method_id=link.method_id)
        for wallet in changed
        for link in wallet.after.links
        if link.method_id != before[link.id]
    ]


def _replacements(changed: Iterable[ChangedWallet]) -> list[Values]:
    replacements = [
        (wallet.after.id, change) for wallet in changed for change in wallet.changes if isinstance(change, Replaced)
    ]
    if not replacements:
        return []
    # what facts of a vendor are taken back for may be replaced again at once, by what others reported
    before = {change.new.id: change.new for _, change in replacements}
    before |= {
        change.method.id: change.method
        for wallet in changed
        for change in wallet.changes
        if isinstance(change, Restored)
    }
    before |= {method.id: method for wallet in changed for method in wallet.before.methods}
    return [
        LINEAGE.row(
            old_id=change.old.id,
            new_id=change.new.id,
            wallet_id=wallet_id,
            reason=change.reason,
            vendor=None if change.fact is None else change.fact.stamp.vendor,
            update_id=None if change.fact is None else change.fact.stamp.update_id,
            links=[link.id for link in change.links],
            was_default=before[change.old.id].default,
            was_subscription_default=before[change.old.id].subscription_default,
        )
        for wallet_id, change in replacements
    ]


async def _save_leads(connection: AsyncConnection, changed: Sequence[ChangedWallet]) -> None:
    added, removed = [], []
    for wallet in changed:
        before, after = wallet.before.leads, wallet.after.leads
        added += [WALLET_LEAD.row(wallet_id=wallet.after.id, key=key) for key in sorted(after - before)]
        if wallet.after.merged_into == wallet.before.merged_into:  # a merge hands its leads on
            removed += [WALLET_LEAD.row(wallet_id=wallet.after.id, key=key) for key in sorted(before - after)]
    if removed:
        ids = [wallet.after.id for wallet in changed if wallet.before.leads - wallet.after.leads]
        await connection.execute(_REMOVE_LEADS, {"leads": removed, "ids": ids})
    if added:
        await connection.execute(_ADD_LEADS, {"leads": added})
