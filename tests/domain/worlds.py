"""Random wallets and what comes to them, for the properties of `resolve`.

Cards are letters, and each may be named by two vendors' tokens and by a fingerprint: `vau:A`, `mdes:A`, `:A`. What is
left out, because no rule could make it independent of order, is said where it is left out.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from hypothesis import strategies as st

from domain.update import Credential, NewCredential, Scope, Stamp, Update, UpdateType
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
    can_be_default,
)
from tests.domain.build import day

VENDORS = ("vau", "mdes")
# No later than any that vendors tell: of two imported methods that turn out to be one card one is kept, and with it the
# expiry it was imported with. Which of them depends on which was current when they met.
IMPORTED_EXPIRY = Expiry(2026, 6)
TOLD_EXPIRIES = (Expiry(2026, 6), Expiry(2027, 1), Expiry(2029, 12))
# What is told of a credential is told of it always: a repeat that says otherwise speaks of another card.
# Were it to differ, cards found alike by a later telling and put on one method would be two again by an earlier one.
LOOKS = tuple(
    NewCredential(last4=last4, brand=brand, expiry=expiry)
    for last4 in (None, "1111", "1111", "2222")
    for brand in (None, "VISA", "VISA")
    for expiry in (None, *TOLD_EXPIRIES)
)
# One token shows this card and later that one, and not every token service tells brand and expiry.
SHOWN = tuple(
    NewCredential(last4=last4, brand=brand, expiry=expiry)
    for last4 in ("1111", "2222")
    for brand in (None, "VISA", "AMEX")
    for expiry in (None, *TOLD_EXPIRIES)
)
IN_PLACE = (
    UpdateType.EXPIRY_UPDATED,
    UpdateType.DETAILS_UPDATED,
    UpdateType.CLOSED,
    UpdateType.CONTACT_CARDHOLDER,
    UpdateType.SUSPENDED,
    UpdateType.RESUMED,
)


@dataclass(frozen=True)
class Family:
    """Cards of one type and one payment account: facts lead from each to each.

    Facts that cross families are refused. They are told only between methods that the wallet has at first, and whose
    types or references are known to differ: of two facts that claim one unknown credential for two accounts, a wallet
    follows the one that it learns first.
    """

    type: MethodType
    par: str | None
    cards: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """The customer adds a card by hand."""

    wallet_id: WalletId
    method: Method


@dataclass(frozen=True)
class WalletsMerged:
    source: WalletId
    target: WalletId


Event: TypeAlias = Update | Added | WalletsMerged


def brief(event: Event) -> str:
    if not isinstance(event, Update):
        return repr(event)
    stamp, new = event.stamp, event.new
    return (
        f"day {stamp.occurred_at.day} {stamp.vendor} {stamp.update_id}: {event.type} of {event.old} {event.scope}"
        f" -> {new.credential} {new.last4} {new.brand} {new.expiry} {new.par}"
    )


@dataclass(frozen=True, repr=False)
class World:
    wallets: tuple[Wallet, ...]
    events: tuple[Event, ...]

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis calls it
        printer.text(repr(self))

    def __repr__(self) -> str:
        """Short enough to read a failure by."""
        lines = [
            f"{wallet.id}: {method.id} {method.type} {sorted(method.keys)} {method.status} par={method.par}"
            f" flags={method.default:d}{method.subscription_default:d}"
            for wallet in self.wallets
            for method in wallet.methods
        ]
        return "\n".join(["", *lines, *map(brief, self.events)])

    @property
    def updates(self) -> tuple[Update, ...]:
        return tuple(event for event in self.events if isinstance(event, Update))


@st.composite
def worlds(draw: st.DrawFn, *, merges: bool = True, moments_differ: bool = False) -> World:
    """One to three wallets, and up to a dozen events in no order."""
    count = draw(st.integers(1, 3))
    families = draw(_families(alone=count == 1))
    merging = draw(_merges(count)) if merges else ()
    # In wallets that are merged a card goes by one set of names: were a method of one wallet to hold the names of two
    # methods of another, without any fact about them, it would matter which of three wallets met first.
    names = {card: draw(_names(card)) for family in families for card in family.cards} if merging else None
    into_one = len(merging) > len({merge.target for merge in merging})
    wallets = [draw(_wallet(number, families, names, into_one=into_one)) for number in range(count)]
    if into_one and not _holds_both_flags(wallets[0]):
        # Of two wallets that go into a third which has no default, the first to come brings its own.
        merging = merging[:1]
    looks: dict[Key, NewCredential] = {}
    scopes = [scope for wallet in wallets for scope in _scopes_of(wallet, wallets)]
    updates = draw(st.lists(_updates(families, looks, scopes, wallets), min_size=1, max_size=9))
    moments = [update.stamp.occurred_at for update in updates]
    if moments_differ:
        moments = [day(number) for number in draw(st.permutations(range(1, len(updates) + 1)))]
    events: list[Event] = [
        update._replace(stamp=Stamp(moment, update.stamp.vendor, f"u{number}"))
        for number, (update, moment) in enumerate(zip(updates, moments, strict=True))
    ]
    events += merging
    if not merging:
        wanted = draw(st.lists(_added(wallets, families), max_size=2))
        events += [replace(each, method=each.method._replace(id=f"add-{n}")) for n, each in enumerate(wanted)]
    return World(tuple(wallets), tuple(draw(st.permutations(events))))


@st.composite
def _families(draw: st.DrawFn, *, alone: bool) -> list[Family]:
    cards = "ABCDEF"[: draw(st.integers(2, 6))]
    cut = draw(st.integers(1, len(cards))) if alone else len(cards)
    kinds = st.sampled_from([MethodType.CARD, MethodType.CARD, MethodType.BANK_ACCOUNT, MethodType.GIFT_CARD])
    pars = st.sampled_from([None, "P1"])
    families = [Family(draw(kinds), draw(pars), tuple(cards[:cut]))]
    if cut < len(cards):
        families.append(Family(draw(kinds), draw(st.sampled_from([None, "P2"])), tuple(cards[cut:])))
    return families


@st.composite
def _merges(draw: st.DrawFn, count: int) -> tuple[WalletsMerged, ...]:
    """A wallet is merged once, and never in a circle: of two merges that contradict each other the first one counts."""
    targets = {source: draw(st.sampled_from([None, *range(source)])) for source in range(1, count)}
    return tuple(WalletsMerged(f"w{source}", f"w{target}") for source, target in targets.items() if target is not None)


def _names(card: str) -> st.SearchStrategy[tuple[Key, ...]]:
    names = [f"vau:{card}", f"mdes:{card}", f":{card}"]
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def _method(draw: st.DrawFn, families: list[Family], names: dict[str, tuple[Key, ...]] | None) -> tuple[Method, Family]:
    family = draw(st.sampled_from(families))
    if names is None:
        # Now and then a method holds names of two cards: nothing but its keys says what is one card.
        cards = draw(st.lists(st.sampled_from(family.cards), min_size=1, max_size=2))
        keys = frozenset(name for card in cards for name in draw(_names(card)))
    else:
        keys = frozenset(names[draw(st.sampled_from(family.cards))])
    return (
        Method(
            id="",
            type=family.type,
            status=draw(st.sampled_from(MethodStatus)),
            keys=keys,
            details=Details(expiry=IMPORTED_EXPIRY),
            nickname=draw(st.sampled_from([None, "mine"])),
            par=draw(st.sampled_from([None, family.par])),
        ),
        family,
    )


@st.composite
def _wallet(
    draw: st.DrawFn,
    number: int,
    families: list[Family],
    names: dict[str, tuple[Key, ...]] | None,
    *,
    into_one: bool,
) -> Wallet:
    methods: list[Method] = []
    for method, _ in draw(st.lists(_method(families, names), min_size=1, max_size=4)):
        taken = [other for other in methods if other.live and other.type is method.type and other.keys & method.keys]
        status = MethodStatus.DELETED if taken else method.status
        if into_one and status is not MethodStatus.DELETED:
            # Of two wallets that go into a third, the first to come brings its method of a card, and how it stands.
            status = MethodStatus.ACTIVE
        methods.append(method._replace(id=f"w{number}-{len(methods)}", status=status))
    eligible = [method.id for method in methods if method.live and can_be_default(method.type)]
    holders = [*eligible, None]
    default, subscription_default = draw(st.sampled_from(holders)), draw(st.sampled_from(holders))
    methods = [
        method._replace(default=method.id == default, subscription_default=method.id == subscription_default)
        for method in methods
    ]
    merchants = draw(st.sets(st.sampled_from(["m1", "m2", "m3"]), min_size=1))
    links = []
    for n, method in enumerate(draw(st.lists(st.sampled_from(methods), max_size=4))):
        on = draw(st.sampled_from(LinkStatus)) if method.live else LinkStatus.CANCELLED
        merchant = draw(st.sampled_from(sorted(merchants)))
        links.append(Link(f"l{number}-{n}", merchant, method.id, LinkKind.RECURRING, f"r{number}-{n}", on))
    customer = Customer(frozenset({("enterpriseId", f"e{number}"), ("hsid", f"h{number}")}))
    return Wallet(f"w{number}", customer, tuple(sorted(merchants)), tuple(methods), tuple(links))


def _holds_both_flags(wallet: Wallet) -> bool:
    return any(method.default for method in wallet.methods) and any(
        method.subscription_default for method in wallet.methods
    )


def _scopes_of(wallet: Wallet, wallets: list[Wallet]) -> list[Scope]:
    """Names of its customer, and names of which one is another customer's, or nobody's: those reach no wallet."""
    enterprise, hsid = sorted(wallet.customer.identities)
    others = [sorted(other.customer.identities)[1] for other in wallets if other is not wallet]
    disagreeing = [(enterprise, other) for other in (*others, ("hsid", "nobody"))]
    return [(enterprise,), (hsid,), (enterprise, hsid), *disagreeing, (("enterpriseId", "nobody"), hsid)]


@st.composite
def _credential(draw: st.DrawFn, card: str, vendor: str) -> Credential:
    """One card has one fingerprint, and whoever tells a token may tell the fingerprint with it."""
    token, fingerprint = f"{vendor}:{card}", f":{card}"
    return draw(st.sampled_from([Credential(token), Credential(token, fingerprint), Credential(fingerprint)]))


@st.composite
def _updates(
    draw: st.DrawFn,
    families: list[Family],
    looks: dict[Key, NewCredential],
    scopes: list[Scope],
    wallets: list[Wallet],
) -> Update:
    vendor = draw(st.sampled_from(VENDORS))
    family = draw(st.sampled_from(families))
    stamp = Stamp(day(draw(st.integers(1, 6))), vendor, "")
    scope = draw(st.sampled_from([(), (), (), *scopes]))
    old = draw(_credential(draw(st.sampled_from(family.cards)), vendor))
    if draw(st.integers(0, 9)) > 6:
        new = NewCredential(expiry=draw(st.sampled_from([None, *TOLD_EXPIRIES])), details={"holder_name": "J"})
        return Update(stamp, draw(st.sampled_from(IN_PLACE)), old, new, scope=scope)
    if draw(st.integers(0, 9)) > 6:
        # mostly a card that a fact has told of as well
        same = [look for look in looks.values() if look.last4 is not None]
        shown = draw(st.sampled_from([*same, *(look._replace(brand=None) for look in same), *SHOWN[:: 1 + len(same)]]))
        told_as = draw(st.sampled_from([UpdateType.NUMBER_REPLACED, UpdateType.DETAILS_UPDATED, UpdateType.SUSPENDED]))
        return _stays(stamp, told_as, draw(st.sampled_from(family.cards)), shown, scope)
    conflicting = _conflicts(wallets) if len(families) > 1 and draw(st.integers(0, 3)) == 0 else []
    if conflicting:
        one, other = draw(st.sampled_from(conflicting))
        told = NewCredential(Credential(other))
        return Update(stamp, UpdateType.NUMBER_REPLACED, Credential(one), told, scope=scope)
    new_credential = draw(_credential(draw(st.sampled_from(family.cards)), vendor))
    if new_credential.key not in looks:
        looks[new_credential.key] = draw(st.sampled_from(LOOKS))
    told = looks[new_credential.key]._replace(credential=new_credential, par=draw(st.sampled_from([None, family.par])))
    return Update(stamp, UpdateType.NUMBER_REPLACED, old, told, scope=scope)


def _stays(stamp: Stamp, told_as: UpdateType, card: str, shown: NewCredential, scope: Scope) -> Update:
    """Another card behind a token that stays, of which no more is told than what it shows."""
    token = Credential(f"{stamp.vendor}:{card}")
    details = {name: value for name, value in (("last4", shown.last4), ("brand", shown.brand)) if value is not None}
    new = shown._replace(credential=token, details=details)
    return Update(stamp, told_as, token, new, scope=scope)


def _conflicts(wallets: list[Wallet]) -> list[tuple[Key, Key]]:
    """Pairs of credentials that are known from the start not to be of one account."""
    (wallet,) = wallets  # only a wallet that is alone has two families
    return [
        (old, new)
        for one in wallet.methods
        for other in wallet.methods
        if one.type is not other.type or len({one.par, other.par} - {None}) > 1
        for old in sorted(one.keys)
        for new in sorted(other.keys)
    ]


@st.composite
def _added(draw: st.DrawFn, wallets: list[Wallet], families: list[Family]) -> Added:
    method, _ = draw(_method(families, None))
    keys = frozenset([draw(st.sampled_from(sorted(method.keys)))])
    added = method._replace(keys=keys, status=MethodStatus.ACTIVE)
    return Added(draw(st.sampled_from(wallets)).id, added)
