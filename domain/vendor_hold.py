"""When a vendor is held by itself: it has replaced payment methods in more than a set share of all wallets in an hour.

A vendor's whole file changes a few in a hundred wallets a month. One in ten within an hour is a wrong file, or an
issuer that lost all of its cards: both are worth a person's look before the rest of it is applied.
"""

LEAST_WALLETS = 1000
"""Fewer are never held: a share of few wallets means nothing."""


def is_held(replaced: int, wallets: int, share: float) -> bool:
    """Whether a vendor is held that replaced methods in `replaced` of `wallets` in an hour; by a share of 0 never."""
    return share > 0 and replaced >= LEAST_WALLETS and replaced > share * wallets
