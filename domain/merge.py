"""Two wallets of one customer become one.

The source's methods move to the target with their ids; where both hold the same identity, the source's is replaced by the
target's. The target's flags win, the merchants are united. Settle the result afterwards.
"""

from dataclasses import dataclass, replace

from domain.settle import Replaced
from domain.update import Reason
from domain.wallet import MerchantId, Method, MethodStatus, Wallet


@dataclass(frozen=True, slots=True)
class Seen:
    """A live method that these merchants could not see before the merge, and must be told of."""

    method: Method
    merchants: tuple[MerchantId, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    source: Wallet
    """What is left of it: a name that leads to the target."""
    target: Wallet
    changes: tuple[Seen | Replaced, ...]


def merge(source: Wallet, target: Wallet) -> Merged:
    methods = {method.id: method for method in target.methods}
    links = list(target.links)
    pairs: list[tuple[Method, Method]] = []
    for method in source.methods:
        twin = next((other for other in target.live_methods if method.live and _same(method, other)), None)
        if twin is None:
            methods[method.id] = method
        else:
            pairs.append((method, twin))

    heir = {method.id: twin.id for method, twin in pairs}
    taken = any(method.default for method in target.methods)
    taken_for_subscriptions = any(method.subscription_default for method in target.methods)
    for method in source.methods:
        holder = methods[heir.get(method.id, method.id)]
        arrived = method.id not in heir
        methods[holder.id] = replace(
            holder,
            default=(method.default and not taken) or (holder.default and not arrived),
            subscription_default=(method.subscription_default and not taken_for_subscriptions)
            or (holder.subscription_default and not arrived),
        )

    newcomers = tuple(merchant for merchant in source.merchants if merchant not in target.merchants)
    strangers = tuple(merchant for merchant in target.merchants if merchant not in source.merchants)
    from_source = {method.id for method in source.methods}
    changes: list[Seen | Replaced] = []
    for method in methods.values():
        seers = strangers if method.id in from_source else newcomers
        if method.live and seers:
            changes.append(Seen(method, seers))

    moved_links = {
        link.id: replace(link, method_id=heir[link.method_id])
        for link in source.links
        if link.method_id in heir and link.moves
    }
    links += [moved_links.get(link.id, link) for link in source.links]
    for method, twin in pairs:
        gone = replace(
            method,
            status=MethodStatus.DELETED,
            default=False,
            subscription_default=False,
            replaced_by=twin.id,
            deleted_reason=Reason.WALLET_MERGE.value,
        )
        methods[gone.id] = gone
        followed = tuple(moved_links[link.id] for link in source.links if link.method_id == method.id and link.moves)
        changes.append(Replaced(gone, methods[twin.id], Reason.WALLET_MERGE, followed))

    return Merged(
        source=replace(source, methods=(), links=(), leads=frozenset(), merged_into=target.id),
        target=replace(
            target,
            merchants=target.merchants + newcomers,
            methods=tuple(methods.values()),
            links=tuple(links),
            leads=target.leads | source.leads,
            former_identities=target.former_identities
            | source.former_identities
            | (source.customer.identities - target.customer.identities),
        ),
        changes=tuple(changes),
    )


def _same(one: Method, other: Method) -> bool:
    """The identity of design.md §3: same type, and a token or fingerprint in common."""
    return one.type is other.type and not one.keys.isdisjoint(other.keys)
