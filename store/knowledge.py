"""What vendors reported: the rows of `credentials` and `replacement_facts`.

A `credentials` row is also the lock between knowledge and wallets. A worker locks the row before it learns something
about the credential, and before it lets a wallet know the credential. If one worker learns A → B and another one learns
B → C, the second therefore sees what the first did. All credentials are locked before any wallet, in the order of their
keys.
"""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import WaitingUpdate
from domain.knowledge import Knowledge
from domain.wallet import Key
from store import reports
from store.inbox import WAITING, read_waiting
from store.knowledge_rows import read_fact, read_state, write_fact, write_state
from store.rows import CREDENTIAL_STATE, REPLACEMENT_FACT


class Contended(Exception):
    """Another worker holds `keys`, or they have just come within reach. Begin again, and lock them from the start."""

    def __init__(self, keys: Collection[Key]) -> None:
        super().__init__(f"{len(keys)} credentials came within reach while others were locked")
        self.keys = frozenset(keys)


# A row that exists is locked, and not written: no row meets the WHERE. Insertions and locks are in one order, so no two
# transactions wait for each other.
_LOCK = text("""
    INSERT INTO credentials AS known (key, kept_until)
    SELECT key, now() + CAST(:keep AS interval) FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key
    ON CONFLICT (key, scope) DO UPDATE SET kept_until = known.kept_until WHERE false
""")
_TRY_LOCK = text("""
    SELECT key FROM credentials WHERE key = ANY(CAST(:keys AS text[])) AND scope = '' ORDER BY key
    FOR UPDATE SKIP LOCKED
""")


async def lock(connection: AsyncConnection, keys: Collection[Key], *, keep: timedelta) -> None:
    """Lock the credentials of `keys`, each named once, until the transaction ends. Missing rows are created."""
    await connection.execute(_LOCK, {"keys": list(keys), "keep": keep})


async def try_lock(connection: AsyncConnection, keys: Collection[Key]) -> None:
    """Lock further credentials out of order, but without waiting.

    Raises:
        Contended: another worker holds one of them. Waiting for it could be a deadlock.
    """
    locked = (await connection.execute(_TRY_LOCK, {"keys": list(keys)})).scalars()
    if missing := set(keys).difference(locked):
        raise Contended(missing)


# Each row is a state, a fact or a waiting update. The last attribute of the types of states and facts, `keep`, is for
# statements that write.
_LOAD = text(f"""
    SELECT CAST(state AS {CREDENTIAL_STATE.name}), CAST(NULL AS {REPLACEMENT_FACT.name}), CAST(NULL AS record)
    FROM (
        SELECT {CREDENTIAL_STATE.selected}, CAST(NULL AS interval) AS keep
        FROM credentials
        WHERE key = ANY(CAST(:keys AS text[]))
          AND (status IS NOT NULL OR expiry_year IS NOT NULL OR details IS NOT NULL)) AS state
    UNION ALL
    SELECT NULL, CAST(fact AS {REPLACEMENT_FACT.name}), NULL
    FROM (
        SELECT {REPLACEMENT_FACT.selected}, CAST(NULL AS interval) AS keep
        FROM replacement_facts
        WHERE old_key = ANY(CAST(:keys AS text[])) OR old_alias = ANY(CAST(:keys AS text[]))) AS fact
    UNION ALL
    SELECT NULL, NULL, waiting FROM ({WAITING}) AS waiting
""")


async def load(connection: AsyncConnection, keys: Collection[Key], into: Knowledge) -> list[WaitingUpdate]:
    """Add to `into` what is known of the credentials `keys`, and the facts that lead from them.

    Return the updates that wait for one of the credentials.
    """
    waiting = []
    for state, fact, update in (await connection.execute(_LOAD, {"keys": list(keys)})).all():
        if state is not None:
            into.add_state(*read_state(state[:-1]))
        elif fact is not None:
            into.add_fact(read_fact(fact[:-1]))
        else:
            waiting.append(read_waiting(update))
    return waiting


_REACH = text("""
    WITH RECURSIVE reached(key) AS (
        SELECT unnest(CAST(:keys AS text[]))
        UNION
        SELECT further.key
        FROM reached
        CROSS JOIN LATERAL (
            SELECT old_key, old_alias, new_key, new_alias FROM replacement_facts WHERE old_key = reached.key
            UNION ALL
            SELECT old_key, old_alias, new_key, new_alias FROM replacement_facts WHERE old_alias = reached.key) AS fact
        CROSS JOIN LATERAL unnest(ARRAY[old_key, old_alias, new_key, new_alias]) AS further(key)
        WHERE further.key IS NOT NULL
    )
    SELECT key FROM reached
""")


async def reach(connection: AsyncConnection, keys: Collection[Key]) -> set[Key]:
    """The credentials that stored facts lead to from `keys`, these included. They are not locked yet."""
    return set((await connection.execute(_REACH, {"keys": list(keys)})).scalars())


_SAVE_STATES = text(f"""
    INSERT INTO credentials AS known ({CREDENTIAL_STATE.columns}, kept_until)
    SELECT {CREDENTIAL_STATE.values}, now() + keep
    FROM {CREDENTIAL_STATE.array("states")}
    ORDER BY key, scope
    ON CONFLICT (key, scope) DO UPDATE
    SET {CREDENTIAL_STATE.assignments("EXCLUDED", without=("key", "scope"))},
        kept_until = greatest(known.kept_until, EXCLUDED.kept_until)
""")
_SAVE_FACTS = text(f"""
    INSERT INTO replacement_facts AS known ({REPLACEMENT_FACT.columns}, reports_kept, kept_until)
    SELECT {REPLACEMENT_FACT.values}, true, now() + keep
    FROM {REPLACEMENT_FACT.array("facts")}
    ON CONFLICT (old_key, new_key, scope) DO UPDATE
    SET {REPLACEMENT_FACT.assignments("EXCLUDED", without=("old_key", "new_key", "scope"))},
        kept_until = greatest(known.kept_until, EXCLUDED.kept_until)
""")


async def save(
    connection: AsyncConnection,
    knowledge: Knowledge,
    known: AbstractSet[Key],
    *,
    keep: timedelta,
    keep_unknown: timedelta,
) -> None:
    """Write everything that was reported. A report of something known prolongs how long it is kept.

    It is kept for `keep` from now if some wallet knows its credential, else for `keep_unknown`.
    """
    if knowledge.reported_states:
        states = [
            write_state(key, scope, knowledge.states[key][scope], keep if key in known else keep_unknown)
            for key, scope in knowledge.reported_states
        ]
        await connection.execute(_SAVE_STATES, {"states": states})
    if knowledge.reported_facts:
        facts = [knowledge.facts[pair] for pair in sorted(knowledge.reported_facts)]
        rows = [write_fact(fact, keep_unknown if known.isdisjoint(fact.old.keys) else keep) for fact in facts]
        await connection.execute(_SAVE_FACTS, {"facts": rows})
    await reports.add(connection, knowledge)


_KEEP_STATES = text("""
    UPDATE credentials SET kept_until = greatest(kept_until, now() + CAST(:keep AS interval))
    WHERE key = ANY(CAST(:keys AS text[]))
""")
_KEEP_FACTS = text("""
    UPDATE replacement_facts SET kept_until = greatest(kept_until, now() + CAST(:keep AS interval))
    WHERE old_key = ANY(CAST(:keys AS text[])) OR old_alias = ANY(CAST(:keys AS text[]))
""")


async def keep_longer(connection: AsyncConnection, keys: Iterable[Key], *, keep: timedelta) -> None:
    """Keep what is known of `keys` for at least `keep` from now: a wallet knows these credentials now."""
    parameters = {"keys": sorted(keys), "keep": keep}
    await connection.execute(_KEEP_STATES, parameters)
    await connection.execute(_KEEP_FACTS, parameters)


_FORGET_FACTS = text("""
    DELETE FROM replacement_facts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM replacement_facts WHERE kept_until < now() LIMIT :most FOR UPDATE SKIP LOCKED))
""")
# A worker that learns about a credential holds its row. Such a row waits for the next round.
_FORGET_STATES = text("""
    DELETE FROM credentials WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM credentials WHERE kept_until < now() LIMIT :most FOR UPDATE SKIP LOCKED))
""")
# Rows of one statement: few enough for a fraction of a second. Further rows wait for the next round.
_AT_ONCE = 10_000


async def forget(connection: AsyncConnection) -> int:
    """Delete rows whose time is over; return their number."""
    facts = await connection.execute(_FORGET_FACTS, {"most": _AT_ONCE})
    states = await connection.execute(_FORGET_STATES, {"most": _AT_ONCE})
    return facts.rowcount + states.rowcount
