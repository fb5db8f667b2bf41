"""A row of each table of a wallet, made of what `domain.wallet` has for it, and back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

from pydantic_core import from_json

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
)
from store.rows import LINK, METHOD_CREDENTIAL, METHOD_DETAILS, PAYMENT_METHOD, WALLET

Values: TypeAlias = tuple[Any, ...]
"""A row as a statement takes it."""

_details = attrgetter(*METHOD_DETAILS)
_EXPIRY = Details._fields.index("expiry")
_NO_EXPIRY = (None, None)
# To look a name up in an enumeration takes three times as long.
_TYPES, _STATUSES = dict(MethodType.__members__), dict(MethodStatus.__members__)
_KINDS, _LINK_STATUSES = dict(LinkKind.__members__), dict(LinkStatus.__members__)


def write_method(wallet_id: WalletId, method: Method) -> Values:
    """The row of `payment_methods`."""
    details = method.details
    year, month = details.expiry or _NO_EXPIRY
    return PAYMENT_METHOD.row(
        *_details(details),
        id=method.id,
        wallet_id=wallet_id,
        type=method.type,
        status=method.status,
        expiry_year=year,
        expiry_month=month,
        extra_details=write_object(details.extra),
        nickname=method.nickname,
        par=method.par,
        is_default=method.default,
        is_subscription_default=method.subscription_default,
        replaced_by=method.replaced_by,
        deleted_reason=method.deleted_reason,
    )


def _read_method(selected: Sequence[Any]) -> Method:
    """The method of a row of `payment_methods`, which ends with the keys of its credentials."""
    row = PAYMENT_METHOD.read(selected[:-1])
    return Method(
        id=row.id,
        type=_TYPES[row.type],
        status=_STATUSES[row.status],
        keys=frozenset(selected[-1]),
        details=_read_details(row),
        nickname=row.nickname,
        par=row.par,
        default=row.is_default,
        subscription_default=row.is_subscription_default,
        replaced_by=row.replaced_by,
        deleted_reason=row.deleted_reason,
    )


def _read_details(row: Any) -> Details:  # noqa: ANN401 - a named tuple whose names are computed
    expiry = None if row.expiry_year is None else Expiry(row.expiry_year, row.expiry_month)
    extra = _read_object(row.extra_details)
    before, after = row[:_EXPIRY], row[_EXPIRY : len(METHOD_DETAILS)]
    return Details._make((*before, expiry, *after, extra))


def write_credentials(wallet_id: WalletId, method: Method, keys: Iterable[Key], *, learnt: bool | None) -> list[Values]:
    """The rows of `payment_method_credentials` for these credentials of the method.

    `learnt`: a fact led to them; None leaves it to the statement, by what the wallet has of them.
    """
    return [
        METHOD_CREDENTIAL.row(
            payment_method_id=method.id,
            key=key,
            wallet_id=wallet_id,
            type=method.type,
            live=method.live,
            learnt=learnt,
        )
        for key in sorted(keys)
    ]


def write_link(wallet_id: WalletId, link: Link) -> Values:
    """The row of `payment_links`."""
    return LINK.row(
        id=link.id,
        wallet_id=wallet_id,
        merchant_id=link.merchant_id,
        payment_method_id=link.method_id,
        kind=link.kind,
        reference=link.reference,
        status=link.status,
    )


def _read_link(selected: Sequence[Any]) -> Link:
    row = LINK.read(selected)
    return Link(
        id=row.id,
        merchant_id=row.merchant_id,
        method_id=row.payment_method_id,
        kind=_KINDS[row.kind],
        reference=row.reference,
        status=_LINK_STATUSES[row.status],
    )


def write_wallet(wallet: Wallet) -> Values:
    """The row of `wallets`."""
    identities = dict(wallet.customer.identities)
    return WALLET.row(
        id=wallet.id,
        enterprise_id=identities.get("enterpriseId"),
        hsid=identities.get("hsid"),
        date_of_birth=wallet.customer.date_of_birth,
        metadata=write_object(wallet.customer.metadata),
        merged_into=wallet.merged_into,
    )


def read_wallet(selected: Sequence[Any]) -> Wallet:
    """The wallet of a row of `wallets`, which ends with what other tables have of it: `store.wallets.reading`."""
    row = WALLET.read(selected[:-6])
    methods, links, identifiers, merchants, leads, former_identities = selected[-6:]
    metadata: Mapping[str, str] = _read_object(row.metadata)
    named = [("enterpriseId", row.enterprise_id), ("hsid", row.hsid)]
    named += [(name, metadata[name.removeprefix("metadata.")]) for name in identifiers or ()]
    identities = frozenset((name, value) for name, value in named if value is not None)
    return Wallet(
        id=row.id,
        customer=Customer(identities, row.date_of_birth, metadata),
        merchants=tuple(merchants),
        methods=tuple([_read_method(method) for method in methods]),
        links=tuple([_read_link(link) for link in links]),
        leads=frozenset(leads),
        former_identities=frozenset((name, value) for name, value in former_identities),
        merged_into=row.merged_into,
    )


def write_object(value: Mapping[str, Any]) -> str:
    """The JSON text of the object; most are empty."""
    return json.dumps(dict(value)) if value else "{}"


def _read_object(written: str) -> dict[str, Any]:
    return {} if written == "{}" else from_json(written)
