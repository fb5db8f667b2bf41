"""Wallets files: one JSON object a line (design.md §6)."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from domain import doubles
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import (
    IDENTIFIERS,
    Customer,
    Link,
    LinkKind,
    LinkStatus,
    Method,
    Wallet,
    identifying,
    is_fingerprint,
)
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.event import write_customer
from schemas.file_line import parse
from schemas.method_line import Id, Line, MethodLine, OptionalDate, OptionalIdentifier
from schemas.text import Text, check_identifiers, listed, too_long
from schemas.views import LinkView, MethodView

MOST_METHODS = 10_000
"""Methods of a wallet in a file, deleted ones included: the limit of credentials in its accounts."""


class WalletLine(NamedTuple):
    """A wallet. `doubles` are the positions of methods that were joined to an earlier method of the same card."""

    wallet: Wallet
    doubles: tuple[tuple[int, int], ...] = ()


class _CustomerJson(Line):
    enterprise_id: OptionalIdentifier = None
    hsid: OptionalIdentifier = None
    date_of_birth: OptionalDate = None
    metadata: dict[Text, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_not_too_many(self) -> Self:
        check_identifiers(self.enterprise_id, self.hsid, self.metadata)
        return self

    def named(self, identifiers: Collection[str]) -> Customer:
        """The customer; without identities if no identifier names them."""
        named = {"enterpriseId": self.enterprise_id, "hsid": self.hsid}
        named |= {f"metadata.{name}": value for name, value in self.metadata.items()}
        pairs = ((name, value) for name, value in named.items() if value is not None)
        return Customer(frozenset(identifying(pairs, identifiers)), self.date_of_birth, self.metadata)


class _LinkJson(Line):
    id: Id
    merchant_id: Text
    payment_method_id: Id
    kind: LinkKind
    reference: Text
    status: LinkStatus


def _not_too_many(methods: object) -> object:
    if isinstance(methods, list) and len(methods) > MOST_METHODS:
        raise Refused(RefusalCode.TOO_MANY, "", f"{MOST_METHODS:,} payment methods at most")
    return methods


class _WalletJson(Line):
    id: Id
    customer: _CustomerJson
    merchants: list[Text] = Field(min_length=1)
    payment_methods: Annotated[list[MethodLine], BeforeValidator(_not_too_many)] = Field(default_factory=list)
    payment_links: list[_LinkJson] = Field(default_factory=list)
    merged_into: Id | None = None


def read_wallet(line: str, identifiers: Collection[str] = IDENTIFIERS, digit_ids: DigitIds = NO_DIGIT_IDS) -> Wallet:
    """The wallet of `read_line`, without its doubles."""
    return read_line(line, identifiers, digit_ids).wallet


def read_line(line: str, identifiers: Collection[str] = IDENTIFIERS, digit_ids: DigitIds = NO_DIGIT_IDS) -> WalletLine:
    """Read one line of a wallets file. `identifiers` name a customer. Fields of `digit_ids` may be digits.

    Raises:
        Refused: it is no JSON object of the shape in design.md §6, contradicts itself, or holds a card number.
    """
    read = parse(_WalletJson, line, digit_ids)
    methods = tuple(method.method() for method in read.payment_methods)
    links = tuple(
        Link(link.id, link.merchant_id, link.payment_method_id, link.kind, link.reference, link.status)
        for link in read.payment_links
    )
    customer = read.customer.named(identifiers)
    identities = sorted(customer.identities)
    refusals = [
        *too_long(identities, "customer"),
        *_refusals_of_methods(methods),
        *_refusals_of_links(links, methods, read.merchants),
    ]
    if not identities:
        expected = listed(identifiers)
        missing = f"the customer identifier is missing: expected {expected}"
        refusals.insert(0, Refusal(RefusalCode.MISSING_CUSTOMER_IDENTIFIER, "customer", expected, missing))
    if refusals:
        raise Refused.of(*refusals)
    wallet = Wallet(
        id=read.id,
        customer=customer,
        merchants=tuple(dict.fromkeys(read.merchants)),
        methods=methods,
        links=links,
        merged_into=read.merged_into,
    )
    at = {method.id: number for number, method in enumerate(methods)}
    try:
        wallet, into = doubles.join(wallet)
    except doubles.AnotherAccount as other:
        where = f"paymentMethods.{at[other.method]}.par"
        raise Refused(
            RefusalCode.CONTRADICTION, where, f"that of paymentMethods.{at[other.like]}, the same card"
        ) from None
    if flags := list(_refusals_of_flags(wallet.methods)):
        raise Refused.of(*flags)
    return WalletLine(wallet, tuple((at[double], at[kept]) for double, kept in into.items()))


def write_wallet(wallet: Wallet) -> str:
    """The line that `read_wallet` reads, with methods and links in the given order."""
    line: dict[str, Any] = {
        "id": wallet.id,
        "customer": write_customer(wallet.customer),
        "merchants": list(wallet.merchants),
        "paymentMethods": [_write_method(method) for method in wallet.methods],
        "paymentLinks": [LinkView.of(link).as_json() for link in wallet.links],
    }
    if wallet.merged_into is not None:
        line["mergedInto"] = wallet.merged_into
    return json.dumps(line, ensure_ascii=False)


def _refusals_of_methods(methods: Sequence[Method]) -> Iterator[Refusal]:
    ids = {method.id for method in methods}
    if len(ids) != len(methods):
        yield Refusal(RefusalCode.REPEATED, "paymentMethods", "every id once")
        return
    wrong = False
    for number, method in enumerate(methods):
        if method.replaced_by is not None and (method.replaced_by not in ids or method.replaced_by == method.id):
            wrong = True
            yield Refusal(
                RefusalCode.NO_SUCH_REFERENCE,
                f"paymentMethods.{number}.replacedBy",
                "another payment method of this wallet",
            )
    if not wrong and _goes_in_a_circle({method.id: method.replaced_by for method in methods}):
        yield Refusal(RefusalCode.CONTRADICTION, "paymentMethods", "replacedBy to lead to an end, not in a circle")


def _refusals_of_flags(methods: Sequence[Method]) -> Iterator[Refusal]:
    if sum(method.default for method in methods) > 1:
        yield Refusal(RefusalCode.REPEATED, "paymentMethods", "default on one method at most")
    if sum(method.subscription_default for method in methods) > 1:
        yield Refusal(RefusalCode.REPEATED, "paymentMethods", "subscriptionDefault on one method at most")


def _goes_in_a_circle(successor: Mapping[str, str | None]) -> bool:
    walks: dict[str, int] = {}  # by method, the number of the walk that visited it first
    for number, start in enumerate(successor):
        current: str | None = start
        while current is not None and current not in walks:
            walks[current] = number
            current = successor[current]
        if current is not None and walks[current] == number:
            return True
    return False


def _refusals_of_links(links: Sequence[Link], methods: Sequence[Method], merchants: Sequence[str]) -> Iterator[Refusal]:
    live = {method.id: method.live for method in methods}
    known = frozenset(merchants)
    for number, link in enumerate(links):
        field = f"paymentLinks.{number}"
        if link.method_id not in live:
            yield Refusal(RefusalCode.NO_SUCH_REFERENCE, f"{field}.paymentMethodId", "a payment method of this wallet")
        elif link.moves and not live[link.method_id]:
            yield Refusal(
                RefusalCode.CONTRADICTION,
                f"{field}.paymentMethodId",
                f"a live payment method, for the link is {link.status}",
            )
        if link.merchant_id not in known:
            yield Refusal(RefusalCode.NO_SUCH_REFERENCE, f"{field}.merchantId", "a merchant of this wallet")
    if len({link.id for link in links}) != len(links):
        yield Refusal(RefusalCode.REPEATED, "paymentLinks", "every id once")


def _write_method(method: Method) -> dict[str, Any]:
    tokens = [key.split(":", 1) for key in sorted(method.keys) if not is_fingerprint(key)]
    fingerprints = [key[1:] for key in sorted(method.keys) if is_fingerprint(key)]
    shown = MethodView.of(method).as_json()
    return {
        "id": shown.pop("id"),
        "type": shown.pop("type"),
        "status": shown.pop("status"),
        "credentials": [{"vendor": vendor, "token": token} for vendor, token in tokens]
        # a card reported under several fingerprints has the others here
        + [{"fingerprint": fingerprint} for fingerprint in fingerprints[1:]],
        "fingerprint": fingerprints[0] if fingerprints else None,
        "par": method.par,
        "details": shown.pop("details") | dict(method.details.extra),
        **shown,
    }
