"""Erasing a person: what is left of a wallet, and which texts speak of its customer.

The ids of payment methods and links stay, because merchants have them. Live methods are deleted, and their links
cancelled: nobody can pay with them any more.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from domain.wallet import Customer, Link, LinkStatus, Method, MethodStatus, Wallet, is_fingerprint

ERASED = "ERASED"
"""Why a method was deleted."""

NOBODY = Customer(frozenset())

# A shorter value stands in texts that speak of something else: `e1` in a hash, `42` in an amount.
_SHORTEST = 4


class Deleted(NamedTuple):
    """A method was deleted, and no other took its place. `method` is as it is now."""

    method: Method
    reason: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """A wallet without its person, and the methods that were deleted by that."""

    wallet: Wallet
    deleted: tuple[Deleted, ...]


def erase(wallet: Wallet) -> Erasure:
    """The wallet without what it says of its customer."""
    methods = tuple(_blank(method) for method in wallet.methods)
    deleted = tuple(
        Deleted(blank, ERASED) for method, blank in zip(wallet.methods, methods, strict=True) if method.live
    )
    blanked = Wallet(
        wallet.id,
        NOBODY,
        wallet.merchants,
        methods,
        tuple(_cancelled(link) for link in wallet.links),
        merged_into=wallet.merged_into,
    )
    return Erasure(blanked, deleted)


def is_erased(wallet: Wallet) -> bool:
    """Whether the person of the wallet was erased: every other wallet has something that describes its customer."""
    return wallet.customer == NOBODY


def _blank(method: Method) -> Method:
    return Method(
        method.id,
        method.type,
        MethodStatus.DELETED,
        frozenset(),
        replaced_by=method.replaced_by,
        deleted_reason=method.deleted_reason or ERASED,
    )


def _cancelled(link: Link) -> Link:
    return Link(link.id, link.merchant_id, link.method_id, link.kind, "", LinkStatus.CANCELLED)


# --- texts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """The values by which texts speak of a person: identifiers, tokens and fingerprints, of four characters or more.

    `too_short` are identifiers with fewer: texts are not searched for these.
    """

    values: tuple[str, ...]
    too_short: tuple[str, ...]


def person(wallets: Iterable[Wallet]) -> Person:
    """The person of these wallets."""
    known = {value for wallet in wallets for value in _values(wallet)}
    return Person(
        tuple(sorted(value for value in known if len(value) >= _SHORTEST)),
        tuple(sorted(value for value in known if len(value) < _SHORTEST)),
    )


def _values(wallet: Wallet) -> Sequence[str]:
    identities = [value for _, value in wallet.customer.identities | wallet.former_identities]
    tokens = [key[1:] if is_fingerprint(key) else key.partition(":")[2] for key in wallet.knows()]
    return [*identities, *tokens]


def speaks_of(text: str, values: Iterable[str]) -> bool:
    """Whether `text` has one of `values` as a whole: not as a part of a longer word or number."""
    return any(re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text) for value in values)
