"""A customer's wallet: payment methods, the links that point at them, and the merchants who share it."""

from collections.abc import Container, Iterable, Mapping
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

Key: TypeAlias = str
"""One name of a credential: `vendor:token`, or `:fingerprint`. No vendor's name is empty or holds a colon."""

WalletId: TypeAlias = str
MethodId: TypeAlias = str
LinkId: TypeAlias = str
MerchantId: TypeAlias = str


def token_key(vendor: str, token: str) -> Key:
    return f"{vendor}:{token}"


def fingerprint_key(fingerprint: str) -> Key:
    return f":{fingerprint}"


def is_fingerprint(key: Key) -> bool:
    return key.startswith(":")


class MethodType(StrEnum):
    CARD = "CARD"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    DIGITAL_WALLET = "DIGITAL_WALLET"
    GIFT_CARD = "GIFT_CARD"


class MethodStatus(StrEnum):
    ACTIVE = "ACTIVE"
    ACTION_REQUIRED = "ACTION_REQUIRED"
    SUSPENDED = "SUSPENDED"
    CLOSED = "CLOSED"
    DELETED = "DELETED"


class LinkKind(StrEnum):
    SUBSCRIPTION = "SUBSCRIPTION"
    RECURRING = "RECURRING"
    SAVED_INSTRUCTION = "SAVED_INSTRUCTION"
    PAYMENT_PLAN = "PAYMENT_PLAN"


class LinkStatus(StrEnum):
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"


class Expiry(NamedTuple):
    """The last month a card is good for; a later one compares greater."""

    year: int
    month: int


Identity: TypeAlias = tuple[str, str]
"""One name of a customer: `("enterpriseId", "e1")`, `("hsid", "h1")` or `("metadata.patientId", "rx-1")`."""

ALWAYS_IDENTIFY = frozenset(("enterpriseId", "hsid"))

IDENTIFIERS = ALWAYS_IDENTIFY | {"metadata.patientId"}
"""The default identifiers of a customer. Other metadata, such as a tier, is shared by many customers."""


def identifying(named: Iterable[Identity], identifiers: Container[str]) -> tuple[Identity, ...]:
    """Those of `named` that identify a customer, in their order."""
    return tuple(pair for pair in named if pair[0] in identifiers)


class Customer(NamedTuple):
    """The owner of a wallet. `identities` name the customer; the date of birth and the metadata only describe it.

    Metadata that identifies the customer stands in both.
    """

    identities: frozenset[Identity]
    date_of_birth: date | None = None
    metadata: Mapping[str, str] = MappingProxyType({})


class Details(NamedTuple):
    """What a merchant may show of a payment method. `schemas/` decides which of them a type has."""

    last4: str | None = None
    brand: str | None = None
    expiry: Expiry | None = None
    holder_name: str | None = None
    zip_code: str | None = None
    manufacturer_card: bool | None = None
    account_type: str | None = None
    bank_name: str | None = None
    extra: Mapping[str, object] = MappingProxyType({})


class Method(NamedTuple):
    """One payment method. A DELETED one with `replaced_by` is a tombstone; nothing makes it live again."""

    id: MethodId
    type: MethodType
    status: MethodStatus
    keys: frozenset[Key]
    details: Details = Details()
    nickname: str | None = None
    par: str | None = None
    default: bool = False
    subscription_default: bool = False
    replaced_by: MethodId | None = None
    deleted_reason: str | None = None

    @property
    def live(self) -> bool:
        return self.status is not MethodStatus.DELETED

    def tombstone(self, replaced_by: MethodId, reason: str) -> "Method":
        """The method after its replacement by another one: DELETED, and without flags."""
        return Method(
            self.id,
            self.type,
            MethodStatus.DELETED,
            self.keys,
            self.details,
            self.nickname,
            self.par,
            replaced_by=replaced_by,
            deleted_reason=reason,
        )


class Link(NamedTuple):
    """A merchant's subscription, recurring payment or saved instruction, and the method it is paid with."""

    id: LinkId
    merchant_id: MerchantId
    method_id: MethodId
    kind: LinkKind
    reference: str
    status: LinkStatus

    @property
    def moves(self) -> bool:
        """A cancelled link stays with the method it was cancelled on."""
        return self.status is not LinkStatus.CANCELLED

    def on(self, method_id: MethodId) -> "Link":
        """The link, moved to another method."""
        return Link(self.id, self.merchant_id, method_id, self.kind, self.reference, self.status)


class Wallet(NamedTuple):
    """`leads` are credentials that facts lead to from the wallet's own, and that none of its methods holds.

    `former_identities` are those of the wallets that were merged into this one: a report about them is about it.
    """

    id: WalletId
    customer: Customer
    merchants: tuple[MerchantId, ...]
    methods: tuple[Method, ...] = ()
    links: tuple[Link, ...] = ()
    leads: frozenset[Key] = frozenset()
    former_identities: frozenset[Identity] = frozenset()
    merged_into: WalletId | None = None

    @property
    def live_methods(self) -> tuple[Method, ...]:
        return tuple(method for method in self.methods if method.live)

    def with_contents(self, methods: tuple[Method, ...], links: tuple[Link, ...], leads: frozenset[Key]) -> "Wallet":
        """The wallet with other methods, links and leads."""
        return Wallet(
            self.id,
            self.customer,
            self.merchants,
            methods,
            links,
            leads,
            self.former_identities,
            self.merged_into,
        )

    def knows(self) -> set[Key]:
        """Every credential of its methods, deleted ones included, and of its leads."""
        return self.leads.union(*(method.keys for method in self.methods))  # type: ignore[return-value]


def can_be_default(method_type: MethodType) -> bool:
    """Gift cards can be neither default nor subscription default (seed: Radial's supported tender types).

    The type alone decides. If the status counted as well, the holder of the flag would depend on whether a closing or a
    replacement arrived first.
    """
    return method_type is not MethodType.GIFT_CARD


def belongs_to(scope: Iterable[Identity], wallet: Wallet) -> bool:
    """Whether the customer that a vendor named by the identities in `scope` is the wallet's.

    At least one identity must agree and none may contradict: an update for a stranger must not reach the wallet.
    An empty scope matches every wallet.
    """
    if not scope:
        return True
    named = dict(scope)
    for identities in (wallet.customer.identities, wallet.former_identities):
        agreeing = [pair for pair in identities if named.get(pair[0]) == pair[1]]
        contradicting = {name for name, value in identities if name in named and named[name] != value}
        if agreeing and not contradicting - {name for name, _ in agreeing}:
            return True
    return False
