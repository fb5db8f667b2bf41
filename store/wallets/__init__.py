"""Wallets with their methods, links and merchants: found by credential or customer, locked, loaded, saved, inserted."""

from store.wallets.inserting import (
    close_the_gate,
    ids_of,
    insert,
    merged_astray,
    present,
    remove,
    to_resolve,
)
from store.wallets.locking import find, keys_of, lock, lock_by_id
from store.wallets.past import past
from store.wallets.reading import BEFORE_ALL, load, page, page_of_ids
from store.wallets.saving import save

__all__ = [
    "BEFORE_ALL",
    "close_the_gate",
    "find",
    "ids_of",
    "insert",
    "keys_of",
    "load",
    "lock",
    "lock_by_id",
    "merged_astray",
    "page",
    "page_of_ids",
    "past",
    "present",
    "remove",
    "save",
    "to_resolve",
]
