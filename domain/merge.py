"""Two wallets of one customer become one.

The source's methods move to the target with their ids. Where both wallets hold the same identity, the target's method
replaces the source's. The target's flags win, and the merchants are united. The caller resolves the target afterwards.
"""

from typing import NamedTuple

from domain.resolve import Draft, Replaced, Updated, inherit
from domain.update import Reason
from domain.wallet import MerchantId, Method, Wallet


class Merged(NamedTuple):
    """A live method that these merchants could not see before the merge. It is announced to them."""

    method: Method
    merchants: tuple[MerchantId, ...]


class Merger(NamedTuple):
    """`source` has no contents any more: it only names the target."""

    source: Wallet
    target: Wallet
    changes: tuple[Merged | Updated | Replaced, ...]


def merge(source: Wallet, target: Wallet) -> Merger:
    """Move the contents of `source` into `target`."""
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
        twins = [own for own in target.live_methods if method.live and _same(method, own)]
        if not twins:
            draft.update(before, method)
            continue
        kept = draft.methods.get(twins[0].id, twins[0])
        keys = kept.keys | method.keys.difference(*(twin.keys for twin in twins[1:]))
        kept = inherit(kept._replace(keys=keys), [method])
        draft.put(kept)
        draft.replace(method, kept, Reason.WALLET_MERGE)
    merged = draft.build_wallet()
    return Merger(
        source=source._replace(methods=(), links=(), leads=frozenset(), merged_into=target.id),
        target=merged,
        changes=(*_newly_visible(source, target, merged), *draft.changes),
    )


def _without_flags_of(target: Wallet, method: Method) -> Method:
    default = any(own.default for own in target.methods)
    subscription_default = any(own.subscription_default for own in target.methods)
    if not (method.default and default) and not (method.subscription_default and subscription_default):
        return method
    return method._replace(
        default=method.default and not default,
        subscription_default=method.subscription_default and not subscription_default,
    )


def _same(first: Method, second: Method) -> bool:
    """Whether two methods have one identity (design.md §3): the same type, and a token or fingerprint in common."""
    return first.type is second.type and not first.keys.isdisjoint(second.keys)


def _newly_visible(source: Wallet, target: Wallet, merged: Wallet) -> list[Merged]:
    new_to_target = _missing(target.merchants, source.merchants)
    new_to_source = _missing(source.merchants, target.merchants)
    of_the_target = {method.id for method in target.methods}
    visible = [
        Merged(method, new_to_target if method.id in of_the_target else new_to_source) for method in merged.live_methods
    ]
    return [change for change in visible if change.merchants]


def _missing(present: tuple[MerchantId, ...], wanted: tuple[MerchantId, ...]) -> tuple[MerchantId, ...]:
    """The merchants of `wanted` that are not in `present`, in their order."""
    return tuple(merchant for merchant in wanted if merchant not in present)
