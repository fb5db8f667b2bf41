"""Mastercard Digital Enablement Service: Notify Token Updated, decrypted.

The fields are those of its API for token requestors and for issuers: `status` says how the token is now, `reasonCode`
what happened, `eventReasonCode` why, in words of the issuer that grow without notice. The status is told where it is
what happened, or with another card: a token that was bound is still active after its card was closed. A token keeps its
reference while the card behind it changes; its own number and expiry (`tokenExpiry`) are never the card's. That it is
deactivated says nothing about the card, unless the account was closed.
"""

from collections.abc import Iterable, Sequence

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    inside,
    instant,
    last4,
    last4_required,
    mmyy,
    objects,
    one_by_one,
    optional,
    part,
    text,
    told,
)

STATUSES = (
    Code("ACTIVE", "the token can be used", Type.RESUMED),
    Code("SUSPENDED", "the token cannot be used for now", Type.SUSPENDED),
    Code("DEACTIVATED", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("INACTIVE", "the token is not active yet", Type.NO_CHANGE),
    Code("PENDING_ACTIVATION", "the token waits for its cardholder", Type.NO_CHANGE),
)
REASONS = (
    Code("FUNDING_ACCOUNT_UPDATE", "another card stands behind the token", Type.NUMBER_REPLACED),
    Code("STATUS_UPDATE", "its status says all", Type.NO_CHANGE),
    Code("REDIGITIZATION_COMPLETE", "another number or expiry of the token, not of the card", Type.NO_CHANGE),
    Code("ACCOUNT_BINDING", "the account was bound", Type.NO_CHANGE),
    Code("TOKEN_BINDING", "the token was bound", Type.NO_CHANGE),
    Code("DELETED_FROM_CONSUMER_APP", "the consumer removed it; its status says all", Type.NO_CHANGE),
)
CLOSED = Code("ACCOUNT_CLOSED", "why a token was deactivated: account closed", Type.CLOSED)
CODES = (*STATUSES, *REASONS, CLOSED)
_STATUSES, _REASONS = table(STATUSES), table(REASONS)
# beside any other reason the status is said, but nothing happened to it: the card may be closed since
_ABOUT_ITS_STATUS = (None, "STATUS_UPDATE", "DELETED_FROM_CONSUMER_APP")
# a card that takes another one's place is active, unless its token is not
_OF_A_NEW_CARD = {Type.RESUMED: Type.NUMBER_REPLACED, Type.NO_CHANGE: Type.DETAILS_UPDATED}


def split(record: Record) -> Sequence[Record]:
    """A notification for each of its tokens."""
    return one_by_one(record, "encryptedPayload", "encryptedData", "tokens")


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    request = text(record.get("requestId"), "requestId")
    for token in _tokens(record):
        yield from _told_of(token, request)


def _tokens(record: Record) -> list[Record]:
    payload = inside(record, "encryptedPayload")
    if isinstance(payload.get("encryptedData"), str):
        raise Refused("encryptedPayload.encryptedData: expected it decrypted")
    tokens = objects(inside(payload, "encryptedData"), "tokens")
    if not tokens:
        raise Refused("tokens: expected one at least")
    return tokens


def _told_of(token: Record, request: str) -> Iterable[Message]:
    status = type_of(_STATUSES, token.get("status"), "tokens.status")
    why = optional(token.get("reasonCode"))
    reason = Type.NO_CHANGE if why is None else type_of(_REASONS, why, "tokens.reasonCode")
    if status is Type.CONTACT_CARDHOLDER and token.get("eventReasonCode") == CLOSED.said:
        status = Type.CLOSED
    reference = text(token.get("tokenUniqueReference"), "tokens.tokenUniqueReference")
    stamp = token.get("statusTimestamp")
    at = None if stamp is None else instant(stamp, "tokens.statusTimestamp")
    # without its time an event told again must not look like another one under the same id
    id_ = None if at is None else f"{request}-{reference}"
    if reason is Type.NUMBER_REPLACED:
        info = part(token, "tokenInfo")
        card = {
            "token": reference,
            "last4": last4(info.get("accountPanSuffix")),
            **mmyy(info.get("accountPanExpiry"), "tokens.tokenInfo.accountPanExpiry"),
        }
        if status in _OF_A_NEW_CARD:  # any other is news in itself
            card["last4"] = last4_required(info.get("accountPanSuffix"), "tokens.tokenInfo.accountPanSuffix")
        yield told(_OF_A_NEW_CARD.get(status, status), {"token": reference}, card, id=id_ and f"{id_}-card", at=at)
    else:
        yield told(status if why in _ABOUT_ITS_STATUS else reason, {"token": reference}, id=id_, at=at)


FEED = Feed(
    name="mdes",
    title="Mastercard MDES Notify Token Updated",
    adapt=adapt,
    recognises=lambda record: {"requestId", "encryptedPayload"} <= record.keys(),
    codes=CODES,
    split=split,
)
