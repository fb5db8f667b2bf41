"""Wallets and merchants as files: one JSON object a line (design.md §6)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from domain import pan
from domain.wallet import (
    Customer,
    Key,
    Link,
    LinkKind,
    LinkStatus,
    MerchantId,
    Method,
    MethodStatus,
    MethodType,
    Wallet,
    can_be_default,
    fingerprint_key,
    token_key,
)
from schemas.event import EventName, write_customer
from schemas.payment_method import read_details, write_details
from schemas.signature import signing_key
from schemas.text import Last4, Text, Vendor, what_is_wrong


class Malformed(ValueError):
    """A line that cannot be imported. Its text names the field and what was expected, never a value."""


def _as_uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("expected a UUID") from None


_Id = Annotated[str, AfterValidator(_as_uuid)]


class _Line(BaseModel):
    # a misspelt key would lose what it was meant to say, so unknown ones are refused here
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, hide_input_in_errors=True)


class _Customer(_Line):
    enterprise_id: Text | None = None
    hsid: Text | None = None
    date_of_birth: date | None = None
    metadata: dict[Text, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_an_identifier(self) -> Self:
        if self.enterprise_id is None and self.hsid is None and not self.metadata:
            raise ValueError("the customer identifier is missing: expected enterpriseId, hsid or metadata.*")
        return self


class _Credential(_Line):
    vendor: Vendor | None = None
    token: Text | None = None
    fingerprint: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if (self.vendor is None) != (self.token is None):
            raise ValueError("expected vendor and token together")
        if self.token is None and self.fingerprint is None:
            raise ValueError("expected vendor and token, or fingerprint")
        return self


_DETAILS: Mapping[str, TypeAdapter[Any]] = {
    "last4": TypeAdapter(Last4 | None),
    "expiryMonth": TypeAdapter(Annotated[StrictInt, Field(ge=1, le=12)] | None),
    "expiryYear": TypeAdapter(Annotated[StrictInt, Field(ge=1990, le=2150)] | None),
    "manufacturerCard": TypeAdapter(StrictBool | None),
}
_ANY_DETAIL: TypeAdapter[Any] = TypeAdapter(Text | StrictInt | StrictBool | None)


# what names the account itself, or proves that one holds the card (design.md §3)
_NEVER = frozenset(
    (
        "pan",
        "cardnumber",
        "accountnumber",
        "iban",
        "cvv",
        "cvv2",
        "cvc",
        "cvc2",
        "cid",
        "securitycode",
        "pin",
        "track1",
        "track2",
    )
)


class _Method(_Line):
    id: _Id
    type: MethodType
    status: MethodStatus
    credentials: list[_Credential] = Field(default_factory=list)
    fingerprint: Text | None = None
    par: Text | None = None
    details: dict[Text, Any] = Field(default_factory=dict)
    nickname: Text | None = None
    default: StrictBool = False
    subscription_default: StrictBool = False
    replaced_by: _Id | None = None
    deleted_reason: Text | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        for key, value in self.details.items():
            if key.lower() in _NEVER:
                raise ValueError(f"details.{key}: expected no such secret, nowhere")
            try:
                _DETAILS.get(key, _ANY_DETAIL).validate_python(value)
            except ValidationError as error:
                raise ValueError(f"details.{key}: {error.errors(include_url=False)[0]['msg']}") from None
        if (self.details.get("expiryMonth") is None) != (self.details.get("expiryYear") is None):
            raise ValueError("details: expected expiryMonth and expiryYear together")
        if not self.credentials and self.fingerprint is None:
            raise ValueError("credentials: expected at least one credential, or a fingerprint")
        if (self.default or self.subscription_default) and (
            self.status is MethodStatus.DELETED or not can_be_default(self.type)
        ):
            raise ValueError("default: expected a live method that is no gift card")
        if self.replaced_by is not None and self.status is not MethodStatus.DELETED:
            raise ValueError("replacedBy: expected status DELETED beside it")
        return self


class _Link(_Line):
    id: _Id
    merchant_id: Text
    payment_method_id: _Id
    kind: LinkKind
    reference: Text
    status: LinkStatus


class _Wallet(_Line):
    id: _Id
    customer: _Customer
    merchants: list[Text] = Field(min_length=1)
    payment_methods: list[_Method] = Field(default_factory=list)
    payment_links: list[_Link] = Field(default_factory=list)
    merged_into: _Id | None = None


def _checked_secret(value: str) -> str:
    signing_key(value)
    return value


class _Endpoint(_Line):
    id: Text
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2048)]
    secret: Annotated[str, AfterValidator(_checked_secret)]
    event_types: Annotated[list[EventName], Field(min_length=1)]


class _Merchant(_Line):
    id: Text
    name: Text
    endpoints: list[_Endpoint] = Field(default_factory=list)


def read_wallet(line: str) -> Wallet:
    """One line of a wallet file.

    Raises:
        Malformed: it is no JSON object of the shape in design.md §6, contradicts itself, or holds a card number.
    """
    read = _read(_Wallet, line)
    methods = tuple(_method(method) for method in read.payment_methods)
    _check_methods(methods)
    links = tuple(
        Link(link.id, link.merchant_id, link.payment_method_id, link.kind, link.reference, link.status)
        for link in read.payment_links
    )
    _check_links(links, methods, read.merchants)
    named = [("enterpriseId", read.customer.enterprise_id), ("hsid", read.customer.hsid)]
    named += [(f"metadata.{name}", value) for name, value in read.customer.metadata.items()]
    identities = frozenset((name, value) for name, value in named if value is not None)
    return Wallet(
        id=read.id,
        customer=Customer(identities, read.customer.date_of_birth),
        merchants=tuple(dict.fromkeys(read.merchants)),
        methods=methods,
        links=links,
        merged_into=read.merged_into,
    )


def write_wallet(wallet: Wallet) -> str:
    """The line that `read_wallet` reads back; methods and links in the order given."""
    line: dict[str, Any] = {
        "id": wallet.id,
        "customer": write_customer(wallet.customer),
        "merchants": list(wallet.merchants),
        "paymentMethods": [_write_method(method) for method in wallet.methods],
        "paymentLinks": [
            {
                "id": link.id,
                "merchantId": link.merchant_id,
                "paymentMethodId": link.method_id,
                "kind": link.kind.value,
                "reference": link.reference,
                "status": link.status.value,
            }
            for link in wallet.links
        ],
    }
    if wallet.merged_into is not None:
        line["mergedInto"] = wallet.merged_into
    return json.dumps(line, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class EndpointLine:
    id: str
    url: str
    secret: str
    event_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MerchantLine:
    id: MerchantId
    name: str
    endpoints: tuple[EndpointLine, ...]


def read_merchant(line: str) -> MerchantLine:
    """One line of a merchant file.

    Raises:
        Malformed: it is no JSON object of the shape in design.md §6.
    """
    read = _read(_Merchant, line)
    return MerchantLine(
        read.id,
        read.name,
        tuple(
            EndpointLine(each.id, each.url, each.secret, tuple(name.value for name in each.event_types))
            for each in read.endpoints
        ),
    )


L = TypeVar("L", bound=_Line)


def _read(shape: type[L], line: str) -> L:
    try:
        parsed = json.loads(line)
    except ValueError as error:
        raise Malformed(f"line: expected a JSON object ({error})") from None
    path = pan.pan_in_json(parsed)
    if path is not None:
        raise Malformed(f"{path}: expected no card number")
    try:
        return shape.model_validate(parsed)
    except ValidationError as error:
        raise Malformed(what_is_wrong(error)) from None


def _method(read: _Method) -> Method:
    keys = {token_key(each.vendor, each.token) for each in read.credentials if each.vendor and each.token}
    keys |= {fingerprint_key(each.fingerprint) for each in read.credentials if each.fingerprint}
    if read.fingerprint is not None:
        keys.add(fingerprint_key(read.fingerprint))
    return Method(
        id=read.id,
        type=read.type,
        status=read.status,
        keys=frozenset(keys),
        details=read_details(read.type, read.details),
        nickname=read.nickname,
        par=read.par,
        default=read.default,
        subscription_default=read.subscription_default,
        replaced_by=read.replaced_by,
        deleted_reason=read.deleted_reason,
    )


def _check_methods(methods: Sequence[Method]) -> None:
    ids = {method.id for method in methods}
    taken: dict[tuple[MethodType, Key], int] = {}
    for number, method in enumerate(methods):
        field = f"paymentMethods.{number}"
        if method.replaced_by is not None and (method.replaced_by not in ids or method.replaced_by == method.id):
            raise Malformed(f"{field}.replacedBy: expected another payment method of this wallet")
        for key in method.keys if method.live else ():
            if taken.setdefault((method.type, key), number) != number:
                raise Malformed(f"{field}: expected another identity than paymentMethods.{taken[method.type, key]} has")
    if len(ids) != len(methods):
        raise Malformed("paymentMethods: expected every id once")
    for flag, holders in (
        ("default", [method for method in methods if method.default]),
        ("subscriptionDefault", [method for method in methods if method.subscription_default]),
    ):
        if len(holders) > 1:
            raise Malformed(f"paymentMethods: expected {flag} on one method at most")
    _check_lineage({method.id: method.replaced_by for method in methods})


def _check_lineage(successor: Mapping[str, str | None]) -> None:
    for start in successor:
        current, steps = successor[start], 0
        while current is not None:
            current, steps = successor[current], steps + 1
            if steps > len(successor):
                raise Malformed("paymentMethods: expected replacedBy to lead to an end, not in a circle")


def _check_links(links: Sequence[Link], methods: Sequence[Method], merchants: Sequence[str]) -> None:
    live = {method.id: method.live for method in methods}
    for number, link in enumerate(links):
        field = f"paymentLinks.{number}"
        if link.method_id not in live:
            raise Malformed(f"{field}.paymentMethodId: expected a payment method of this wallet")
        if link.moves and not live[link.method_id]:
            raise Malformed(f"{field}.paymentMethodId: expected a live payment method, for the link is {link.status}")
        if link.merchant_id not in merchants:
            raise Malformed(f"{field}.merchantId: expected a merchant of this wallet")
    if len({link.id for link in links}) != len(links):
        raise Malformed("paymentLinks: expected every id once")


def _write_method(method: Method) -> dict[str, Any]:
    tokens = [key.split(":", 1) for key in sorted(method.keys) if not key.startswith(":")]
    fingerprints = [key[1:] for key in sorted(method.keys) if key.startswith(":")]
    return {
        "id": method.id,
        "type": method.type.value,
        "status": method.status.value,
        "credentials": [{"vendor": vendor, "token": token} for vendor, token in tokens]
        # a method has one fingerprint as a rule; of a card told under several, the others stand here
        + [{"fingerprint": fingerprint} for fingerprint in fingerprints[1:]],
        "fingerprint": fingerprints[0] if fingerprints else None,
        "par": method.par,
        "details": write_details(method.type, method.details) | dict(method.details.extra),
        "nickname": method.nickname,
        "default": method.default,
        "subscriptionDefault": method.subscription_default,
        "replacedBy": method.replaced_by,
        "deletedReason": method.deleted_reason,
    }
