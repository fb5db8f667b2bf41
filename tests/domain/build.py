"""Small words for wallets and for what vendors tell of them.

A credential is written as its key, `"mdes:X"` for a token and `":fp"` for a fingerprint; `"A"` alone is `"vau:A"`.
A pair `("A", ":fp")` is one credential under both its names. Moments are days of 2026, counted from 1.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from domain.knowledge import Knowledge
from domain.resolve import Resolution, resolve
from domain.update import Credential, NewCredential, Reason, Scope, Stamp, Update, UpdateType
from domain.wallet import (
    Customer,
    Details,
    Expiry,
    Key,
    Link,
    LinkKind,
    LinkStatus,
    Method,
    MethodId,
    MethodStatus,
    MethodType,
    Wallet,
)

Names: TypeAlias = str | tuple[str, str]

IMPORTED_EXPIRY = Expiry(2026, 6)
FACT_EXPIRY = Expiry(2029, 12)


def key(name: str) -> Key:
    return name if ":" in name else f"vau:{name}"


def credential(names: Names) -> Credential:
    return Credential(key(names)) if isinstance(names, str) else Credential(key(names[0]), key(names[1]))


def day(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number - 1)


# --- wallets ---------------------------------------------------------------------------------------------------------


def method(
    *names: str,
    type: MethodType = MethodType.CARD,  # noqa: A002 - the field's own name
    status: MethodStatus = MethodStatus.ACTIVE,
    default: bool = False,
    subscription_default: bool = False,
    nickname: str | None = None,
    par: str | None = None,
    details: Details | None = None,
    id: MethodId | None = None,  # noqa: A002 - the field's own name
) -> Method:
    """The method that holds the credentials `names`; its id is `m-` and the first of them, if not said."""
    return Method(
        id=id or f"m-{names[0]}",
        type=type,
        status=status,
        keys=frozenset(map(key, names)),
        details=Details(expiry=IMPORTED_EXPIRY) if details is None else details,
        nickname=nickname,
        par=par,
        default=default,
        subscription_default=subscription_default,
    )


def removed(*names: str, **known: object) -> Method:
    """A method that its customer removed."""
    return method(*names, status=MethodStatus.DELETED, **known)  # type: ignore[arg-type]


def link(
    method_id: MethodId,
    *,
    id: str | None = None,  # noqa: A002 - the field's own name
    merchant: str = "pharmacy",
    status: LinkStatus = LinkStatus.ACTIVE,
) -> Link:
    """A subscription that is paid with `method_id`."""
    link_id = id or f"l-{method_id}"
    return Link(link_id, merchant, method_id, LinkKind.SUBSCRIPTION, f"sub-{link_id}", status)


def wallet(
    *methods: Method,
    links: Iterable[Link] = (),
    customer: str = "e1",
    merchants: tuple[str, ...] = ("pharmacy", "optician"),
) -> Wallet:
    """The wallet of the customer whose enterpriseId is `customer`."""
    return Wallet(
        id=f"w-{customer}",
        customer=Customer(frozenset(who(customer))),
        merchants=merchants,
        methods=methods,
        links=tuple(links),
    )


# --- what vendors tell -----------------------------------------------------------------------------------------------


def who(customer: str | None) -> Scope:
    return () if customer is None else (("enterpriseId", customer),)


def stamp(on: int, vendor: str = "vau", update_id: str | None = None) -> Stamp:
    return Stamp(day(on), vendor, update_id or f"{vendor}-{on}")


def replaced(
    old: Names,
    new: Names,
    *,
    on: int,
    vendor: str = "vau",
    id: str | None = None,  # noqa: A002 - the field's own name
    last4: str | None = None,
    brand: str | None = None,
    expiry: Expiry | None = FACT_EXPIRY,
    par: str | None = None,
    reason: Reason = Reason.REISSUED,
    method_type: MethodType | None = None,
    customer: str | None = None,
    **details: object,
) -> Update:
    """A vendor says that `old` is now `new`."""
    return Update(
        stamp=stamp(on, vendor, id),
        type=UpdateType.NUMBER_REPLACED,
        old=credential(old),
        new=NewCredential(credential(new), last4, brand, expiry, par, details),
        method_type=method_type,
        reason=reason,
        scope=who(customer),
    )


def stays(
    token: str,
    *,
    on: int,
    last4: str,
    vendor: str = "mdes",
    brand: str | None = None,
    expiry: Expiry | None = FACT_EXPIRY,
) -> Update:
    """A vendor says that another card is behind `token`, which stays, and what that card shows."""
    names = f"{vendor}:{token}"
    update = replaced(names, names, on=on, vendor=vendor, last4=last4, brand=brand, expiry=expiry)
    details = {"last4": last4} if brand is None else {"last4": last4, "brand": brand}
    return update._replace(new=update.new._replace(details=details))


def reported(
    what: UpdateType,
    of: Names,
    *,
    on: int,
    vendor: str = "vau",
    id: str | None = None,  # noqa: A002 - the field's own name
    customer: str | None = None,
    expiry: Expiry | None = None,
    **details: object,
) -> Update:
    """A vendor says `what` of one credential."""
    return Update(
        stamp=stamp(on, vendor, id),
        type=what,
        old=credential(of),
        new=NewCredential(expiry=expiry, details=details),
        scope=who(customer),
    )


# --- and what comes of it --------------------------------------------------------------------------------------------


class Ids:
    """New ids, none given twice: `made-vau:B`, and `made-vau:B-2` when B is made again."""

    def __init__(self) -> None:
        self.given: dict[Key, int] = {}

    def __call__(self, wanted: Key) -> MethodId:
        wanted = wanted.partition(":")[2]  # it is asked with the type
        self.given[wanted] = number = self.given.get(wanted, 0) + 1
        return f"made-{wanted}" if number == 1 else f"made-{wanted}-{number}"


def knowledge(*updates: Update) -> Knowledge:
    learnt = Knowledge()
    for update in updates:
        learnt.learn(update)
    return learnt


def at_once(wallet: Wallet, *updates: Update) -> Resolution:
    """The wallet resolved after all of `updates` were learnt."""
    return resolve(wallet, knowledge(*updates), Ids())


def one_by_one(wallet: Wallet, *updates: Update) -> Wallet:
    """The wallet resolved after each of `updates`."""
    learnt, ids = Knowledge(), Ids()
    for update in updates:
        learnt.learn(update)
        wallet = resolve(wallet, learnt, ids).wallet
    return wallet


def live(wallet: Wallet) -> dict[str, Method]:
    """Its live methods, by the credentials they hold: `"A"`, or `"A mdes:X"` for a method of two."""
    return {
        " ".join(sorted(name.removeprefix("vau:") for name in method.keys)): method for method in wallet.live_methods
    }


def paid_with(wallet: Wallet, link_id: str) -> MethodId:
    return next(link.method_id for link in wallet.links if link.id == link_id)
