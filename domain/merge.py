"""Two wallets of one customer become one.

The source's methods move to the target with their ids; where both hold the same identity, the source's is replaced by
the target's. The target's flags win, the merchants are united. Resolve the result afterwards.
"""

from typing import NamedTuple

from domain.resolve import Draft, Replaced, Updated, heir
from domain.update import Reason
from domain.wallet import MerchantId, Method, Wallet


class Merged(NamedTuple):
    """A live method that these merchants could not see before the merge, and must be told of."""

    method: Method
    merchants: tuple[MerchantId, ...]


class Merger(NamedTuple):
    """`source` is what is left of it: a name that leads to the target."""

    source: Wallet
    target: Wallet
    changes: tuple[Merged | Updated | Replaced, ...]


def merge(source: Wallet, target: Wallet) -> Merger:
    arriving = [_without_flags_of(target, method) for method in source.methods]
    draft = Draft(
        target._replace(
            merchants=target.merchants + _missing(target.merchants, source.merchants),
            methods=(*target.methods, *arriving),
            links=target.links + source.links,
            leads=target.leads | source.leads,
            former_identities=target.former_identities | source.former_identities | source.customer.identities,
        )
    )
    for before, method in zip(source.methods, arriving, strict=True):
        twins = [other for other in target.live_methods if method.live and _same(method, other)]
        if not twins:
            draft.update(before, method)
            continue
        kept = draft.methods.get(twins[0].id, twins[0])
        keys = kept.keys | method.keys.difference(*(other.keys for other in twins[1:]))
        kept = heir(kept._replace(keys=keys), [method])
        draft.put(kept)
        draft.replace(method, kept, Reason.WALLET_MERGE)
    merged = draft.build_wallet()
    return Merger(
        source=source._replace(methods=(), links=(), leads=frozenset(), merged_into=target.id),
        target=merged,
        changes=(*_seen(source, target, merged), *draft.changes),
    )


def _without_flags_of(target: Wallet, method: Method) -> Method:
    default = any(other.default for other in target.methods)
    subscription_default = any(other.subscription_default for other in target.methods)
    if not (method.default and default) and not (method.subscription_default and subscription_default):
        return method
    return method._replace(
        default=method.default and not default,
        subscription_default=method.subscription_default and not subscription_default,
    )


def _same(one: Method, other: Method) -> bool:
    """The identity of design.md §3: same type, and a token or fingerprint in common."""
    return one.type is other.type and not one.keys.isdisjoint(other.keys)


def _seen(source: Wallet, target: Wallet, merged: Wallet) -> list[Merged]:
    newcomers = _missing(target.merchants, source.merchants)
    strangers = _missing(source.merchants, target.merchants)
    of_the_target = {method.id for method in target.methods}
    seen = [Merged(method, newcomers if method.id in of_the_target else strangers) for method in merged.live_methods]
    return [each for each in seen if each.merchants]


def _missing(there: tuple[MerchantId, ...], wanted: tuple[MerchantId, ...]) -> tuple[MerchantId, ...]:
    return tuple(merchant for merchant in wanted if merchant not in there)
