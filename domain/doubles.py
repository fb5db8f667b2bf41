"""Join methods of one identity in an imported wallet, as re-adding a method does (design.md §3).

Some processors give a new token each time a card is saved. They export one card as several payment methods with one
fingerprint. The first method stays. It receives the credentials, links and flags of the others, and the customer's
latest entries. The others become tombstones that lead to it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from domain.wallet import Details, Key, Link, Method, MethodId, MethodType, Wallet

REASON = "DUPLICATE"
"""The stored reason for deleting such a tombstone."""


T = TypeVar("T")


class AnotherAccount(Exception):
    """Two methods of a wallet share a credential, and their payment account references differ."""

    def __init__(self, method: MethodId, like: MethodId) -> None:
        super().__init__(f"{method} shares a credential with {like}, and is of another account")
        self.method = method
        self.like = like


class Joined(NamedTuple):
    """`into` maps each deleted method to the method that it was joined into."""

    wallet: Wallet
    into: Mapping[MethodId, MethodId] = MappingProxyType({})


def join(wallet: Wallet) -> Joined:
    """The wallet with each live identity on exactly one method.

    Raises:
        AnotherAccount: methods of one identity are of different accounts.
    """
    groups = _groups(wallet.live_methods)
    if not groups:
        return Joined(wallet)
    methods = {method.id: method for method in wallet.methods}
    into: dict[MethodId, MethodId] = {}
    for group in groups:
        kept = group[0].id
        methods[kept] = _joined(group)
        for double in group[1:]:
            methods[double.id] = double.tombstone(kept, REASON)
            into[double.id] = kept
    links = tuple(_moved(link, into) for link in wallet.links)
    return Joined(wallet._replace(methods=tuple(methods.values()), links=links), into)


def _groups(methods: Sequence[Method]) -> list[list[Method]]:
    """Groups of two or more methods that have one identity, each in their order.

    Methods that share a key have one identity; so have methods that each share a key with a third one.
    """
    leads = list(range(len(methods)))  # to an earlier method that is the same, or to itself

    def first_of(number: int) -> int:
        while leads[number] != number:
            leads[number] = leads[leads[number]]
            number = leads[number]
        return number

    holders: dict[tuple[MethodType, Key], int] = {}
    for number, method in enumerate(methods):
        for key in method.keys:
            first, later = sorted((first_of(number), first_of(holders.setdefault((method.type, key), number))))
            leads[later] = first
    groups: dict[int, list[Method]] = {}
    for number, method in enumerate(methods):
        groups.setdefault(first_of(number), []).append(method)
    return [group for group in groups.values() if len(group) > 1]


def _joined(group: Sequence[Method]) -> Method:
    """The first method of a group, completed from the others. Raises AnotherAccount."""
    kept = group[0]
    for again in group[1:]:
        if again.par is not None and kept.par is not None and again.par != kept.par:
            raise AnotherAccount(again.id, kept.id)
        kept = _readded(kept, again)
    # Only once, at the end: both may be long.
    keys = frozenset().union(*(method.keys for method in group))
    extra = {name: value for method in reversed(group) for name, value in method.details.extra.items()}
    return kept._replace(keys=keys, details=kept.details._replace(extra=extra))


def _readded(kept: Method, again: Method) -> Method:
    """`kept` with the newer entries of `again`, and with its blanks filled. Keys and extra details stay as they are."""
    return kept._replace(
        details=_details(kept.details, again.details),
        nickname=_first(again.nickname, kept.nickname),
        par=_first(kept.par, again.par),
        default=kept.default or again.default,
        subscription_default=kept.subscription_default or again.subscription_default,
    )


def _details(kept: Details, again: Details) -> Details:
    """Name, zip and account type of `again`, the later expiry, and everything else of `kept`."""
    expiries = [expiry for expiry in (kept.expiry, again.expiry) if expiry is not None]
    return Details(
        last4=_first(kept.last4, again.last4),
        brand=_first(kept.brand, again.brand),
        expiry=max(expiries, default=None),
        holder_name=_first(again.holder_name, kept.holder_name),
        zip_code=_first(again.zip_code, kept.zip_code),
        manufacturer_card=_first(kept.manufacturer_card, again.manufacturer_card),
        account_type=_first(again.account_type, kept.account_type),
        bank_name=_first(kept.bank_name, again.bank_name),
    )


def _first(value: T | None, otherwise: T | None) -> T | None:
    return otherwise if value is None else value


def _moved(link: Link, into: Mapping[MethodId, MethodId]) -> Link:
    return link.on(into[link.method_id]) if link.moves and link.method_id in into else link
