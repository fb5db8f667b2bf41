"""The same work as one SQLAlchemy ORM transaction per update, the way it is commonly written.

A wallet is loaded with what belongs to it, changed as objects, and flushed; the session puts rows of one table into one
INSERT where it can. Of the rules, only what the updates of `bench.load` need is here: it is the writes that are
compared.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, relationship, selectinload

from bench.load import Polls
from consumers.letters import Message
from domain.update import Credential, Update, UpdateType
from schemas.canonical import CanonicalUpdate, parse
from schemas.event import VERSION, timestamp
from schemas.signature import event_id
from store import schema
from store.ids import uuid7

_KEPT = timedelta(days=800)
_INBOX = schema.inbox
_METHODS = schema.payment_methods
_CREDENTIALS = schema.payment_method_credentials
_STATES = schema.credentials


# --- the rows -----------------------------------------------------------------------------------------------------


class _Entity(DeclarativeBase):
    metadata = schema.metadata

    if TYPE_CHECKING:  # every column is an attribute, by its name in store.schema

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401 - of any column
        def __setattr__(self, name: str, value: Any) -> None: ...  # noqa: ANN401 - of any column


class InboxEntity(_Entity):
    __table__ = schema.inbox


class CredentialEntity(_Entity):
    __table__ = schema.credentials


class FactEntity(_Entity):
    __table__ = schema.replacement_facts


class EndpointEntity(_Entity):
    __table__ = schema.endpoints


class MerchantEntity(_Entity):
    __table__ = schema.merchants
    endpoints: Mapped[list[EndpointEntity]] = relationship()


class WalletMerchantEntity(_Entity):
    __table__ = schema.wallet_merchants
    merchant: Mapped[MerchantEntity] = relationship()


class MethodCredentialEntity(_Entity):
    __table__ = schema.payment_method_credentials


class LinkEntity(_Entity):
    __table__ = schema.payment_links


class LineageEntity(_Entity):
    __table__ = schema.lineage


class MethodEntity(_Entity):
    __table__ = schema.payment_methods
    # joined by the id alone: what else they copy of their method is the database's to keep (ON UPDATE CASCADE)
    credentials: Mapped[list[MethodCredentialEntity]] = relationship(
        primaryjoin=_METHODS.c.id == _CREDENTIALS.c.payment_method_id,
        foreign_keys=[_CREDENTIALS.c.payment_method_id],
    )
    links: Mapped[list[LinkEntity]] = relationship(
        primaryjoin=_METHODS.c.id == schema.payment_links.c.payment_method_id,
        foreign_keys=[schema.payment_links.c.payment_method_id],
        viewonly=True,
    )


class WalletEntity(_Entity):
    __table__ = schema.wallets
    # the class has a `metadata` of its own
    __mapper_args__ = {"properties": {"metadata_": schema.wallets.c.metadata}}  # noqa: RUF012 - as SQLAlchemy has it
    methods: Mapped[list[MethodEntity]] = relationship()
    merchants: Mapped[list[WalletMerchantEntity]] = relationship()


class EventEntity(_Entity):
    __table__ = schema.events


class DeliveryEntity(_Entity):
    __table__ = schema.deliveries
    event: Mapped[EventEntity] = relationship()


# --- one update, one transaction ----------------------------------------------------------------------------------


async def take_in(engine: AsyncEngine, polls: Polls) -> None:
    """Take in the messages of each lane one after another."""

    async def lane(batches: Iterable[Sequence[Message]]) -> None:
        for message in chain.from_iterable(batches):
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                await _take_message(session, message)

    await asyncio.gather(*map(lane, zip(*polls, strict=True)))


async def _take_message(session: AsyncSession, message: Message) -> None:
    read = parse(message.value or b"", message.headers)
    update = read.update
    assert update.old is not None
    if await session.scalar(_MET, {"vendor": update.stamp.vendor, "update_id": update.stamp.update_id}):
        session.add(_arrival(message, read, original=False, outcome="DUPLICATE", reason="SAME_MESSAGE"))
        return
    session.add(_arrival(message, read, original=True, outcome="APPLIED", reason=None))
    wallet = (await session.scalars(_LOCKED, {"keys": update.old.keys})).one()
    held = next(item for item in wallet.methods if item.status != "DELETED" and _holds(item, update.old))
    await _learn(session, update)
    if update.type is UpdateType.NUMBER_REPLACED:
        await _move_links(session, wallet, held, update)
    else:
        previous = _change(held, update)
        reason = "SUSPENDED" if "status" in previous else "EXPIRY_UPDATED"
        for shared in wallet.merchants:
            session.add_all(
                _announce(wallet, shared, "PAYMENT_METHOD_UPDATED", held, {"previous": previous}, reason=reason)
            )


async def _move_links(session: AsyncSession, wallet: WalletEntity, held: MethodEntity, update: Update) -> None:
    new = await _replace(session, held, update)
    links = [link for link in held.links if link.status != "CANCELLED"]
    for link in links:
        link.payment_method_id = new.id
    for shared in wallet.merchants:
        mine = [_link(link) for link in links if link.merchant_id == shared.merchant_id]
        replaced = {"deletedPaymentMethodId": held.id, "paymentLinks": mine}
        session.add_all(_announce(wallet, shared, "PAYMENT_METHOD_REPLACED", new, replaced, reason=update.reason))
        deleted = {"replacedByPaymentMethodId": new.id}
        session.add_all(_announce(wallet, shared, "PAYMENT_METHOD_DELETED", held, deleted, reason=update.reason))


_MET = select(InboxEntity).where(
    _INBOX.c.original, _INBOX.c.vendor == bindparam("vendor"), _INBOX.c.update_id == bindparam("update_id")
)
_LOCKED = (
    select(WalletEntity)
    .where(
        schema.wallets.c.id.in_(
            select(_CREDENTIALS.c.wallet_id).where(
                _CREDENTIALS.c.live, _CREDENTIALS.c.key.in_(bindparam("keys", expanding=True))
            )
        )
    )
    .with_for_update()
    .options(
        selectinload(WalletEntity.methods).options(
            selectinload(MethodEntity.credentials), selectinload(MethodEntity.links)
        ),
        selectinload(WalletEntity.merchants)
        .selectinload(WalletMerchantEntity.merchant)
        .selectinload(MerchantEntity.endpoints),
    )
)


def _arrival(
    message: Message, read: CanonicalUpdate, *, original: bool, outcome: str, reason: str | None
) -> InboxEntity:
    update = read.update
    return InboxEntity(
        topic=message.topic,
        partition=message.partition,
        kafka_offset=message.offset,
        digest=read.digest,
        vendor=update.stamp.vendor,
        update_id=update.stamp.update_id,
        original=original,
        type=update.type.value,
        old_key=update.old and update.old.key,
        occurred_at=update.stamp.occurred_at,
        outcome=outcome,
        reason=reason,
    )


def _holds(method: MethodEntity, named: Credential) -> bool:
    return any(item.key in named.keys for item in method.credentials)


async def _learn(session: AsyncSession, update: Update) -> None:
    """A row for every credential named; what is told in place stands in those of the old one."""
    kept_until = datetime.now(UTC) + _KEPT
    known = await session.scalars(select(CredentialEntity).where(_STATES.c.key.in_(update.keys), _STATES.c.scope == ""))
    rows = {row.key: row for row in known}
    for key in update.keys:
        if key not in rows:
            rows[key] = CredentialEntity(key=key, scope="", kept_until=kept_until)
            session.add(rows[key])
        row = rows[key]
        if update.type is UpdateType.SUSPENDED:
            row.status, row.status_at = "SUSPENDED", update.stamp.occurred_at
            row.status_vendor, row.status_update_id = update.stamp.vendor, update.stamp.update_id
        if update.type is UpdateType.EXPIRY_UPDATED:
            row.expiry_year, row.expiry_month = update.new.expiry or (None, None)
            row.expiry_at = update.stamp.occurred_at
            row.expiry_vendor, row.expiry_update_id = update.stamp.vendor, update.stamp.update_id


async def _replace(session: AsyncSession, old: MethodEntity, update: Update) -> MethodEntity:
    assert update.old is not None
    assert update.new.credential is not None
    flags = {"is_default": old.is_default, "is_subscription_default": old.is_subscription_default}
    year, month = update.new.expiry or (None, None)
    new = MethodEntity(
        id=uuid7(),
        wallet_id=old.wallet_id,
        type=old.type,
        status="ACTIVE",
        last4=update.new.last4,
        brand=update.new.brand,
        expiry_year=year,
        expiry_month=month,
        holder_name=old.holder_name,
        zip_code=old.zip_code,
        manufacturer_card=old.manufacturer_card,
        nickname=old.nickname,
        **flags,
    )
    new.credentials = [
        MethodCredentialEntity(key=key, wallet_id=old.wallet_id, type=old.type, live=True)
        for key in update.new.credential.keys
    ]
    old.status, old.replaced_by, old.deleted_reason = "DELETED", new.id, update.reason.value
    old.is_default = old.is_subscription_default = False
    await session.flush()  # the session inserts before it updates, and the flags are one method's at a time
    stamp = {"vendor": update.stamp.vendor, "update_id": update.stamp.update_id}
    session.add(new)
    session.add(
        FactEntity(
            old_key=update.old.key,
            old_alias=update.old.alias,
            new_key=update.new.credential.key,
            new_alias=update.new.credential.alias,
            occurred_at=update.stamp.occurred_at,
            reason=update.reason.value,
            method_type=update.method_type and update.method_type.value,
            last4=update.new.last4,
            brand=update.new.brand,
            expiry_year=year,
            expiry_month=month,
            kept_until=datetime.now(UTC) + _KEPT,
            **stamp,
        )
    )
    await session.flush()  # links and the lineage refer to it
    session.add(
        LineageEntity(old_id=old.id, new_id=new.id, wallet_id=old.wallet_id, reason=update.reason.value, **stamp)
    )
    return new


def _change(method: MethodEntity, update: Update) -> dict[str, Any]:
    """What it was before, where it is something else now."""
    before = _details(method)
    if update.type is UpdateType.SUSPENDED:
        method.status = "SUSPENDED"
    elif update.new.expiry is not None:
        method.expiry_year, method.expiry_month = update.new.expiry
    after = _details(method)
    return {name: value for name, value in before.items() if after[name] != value}


def _announce(
    wallet: WalletEntity,
    shared: WalletMerchantEntity,
    name: str,
    method: MethodEntity,
    payload: dict[str, Any],
    *,
    reason: str,
) -> list[DeliveryEntity]:
    """An event for one merchant, with a delivery for each of its endpoints, the first of its line due now."""
    shared.sequence += 1
    now = datetime.now(UTC)
    id_ = uuid7()
    body = {
        "id": event_id(id_),
        "name": name,
        "createdAt": timestamp(now),
        "version": VERSION,
        "walletId": wallet.id,
        "sequence": shared.sequence,
        "reason": reason,
        "payload": {"paymentMethod": _method(method), "customer": _customer(wallet)} | payload,
    }
    event = EventEntity(
        id=id_,
        wallet_id=wallet.id,
        merchant_id=shared.merchant_id,
        sequence=shared.sequence,
        name=name,
        payment_method_id=method.id,
        body=to_json(body),
        created_at=now,
    )
    return [
        DeliveryEntity(
            event=event,
            endpoint_id=endpoint.id,
            wallet_id=wallet.id,
            sequence=shared.sequence,
            status="PENDING",
            due_at=None if name == "PAYMENT_METHOD_DELETED" else now,
        )
        for endpoint in shared.merchant.endpoints
        if name in endpoint.event_types
    ]


def _method(method: MethodEntity) -> dict[str, Any]:
    details = _details(method)
    return {
        "id": method.id,
        "card": details,
        "paymentMethodDetails": details,
        "default": method.is_default,
        "subscriptionDefault": method.is_subscription_default,
        "paymentMethodType": method.type,
        "nickname": method.nickname,
    }


def _details(method: MethodEntity) -> dict[str, Any]:
    return {
        "last4": method.last4,
        "cardBrand": method.brand,
        "expiryMonth": method.expiry_month,
        "expiryYear": method.expiry_year,
        "nameOnCard": method.holder_name,
        "zipCode": method.zip_code,
        "manufacturerCard": method.manufacturer_card,
        "type": method.type,
        "status": method.status,
    }


def _customer(wallet: WalletEntity) -> dict[str, Any]:
    return {
        "enterpriseId": wallet.enterprise_id,
        "hsid": wallet.hsid,
        "dateOfBirth": wallet.date_of_birth,
        "metadata": wallet.metadata_,
    }


def _link(link: LinkEntity) -> dict[str, Any]:
    return {"id": link.id, "reference": link.reference, "kind": link.kind}
