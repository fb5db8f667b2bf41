"""Mastercard Digital Enablement Service: Notify Token Updated, decrypted.

The fields are those of its API for token requestors and for issuers. `status` is the token's present state,
`reasonCode` the event, `eventReasonCode` its cause in words of the issuer, a list that grows without notice. The status
is reported where it is the event, or together with another card: a token that was bound is still active after its card
was closed. A token keeps its reference while the card behind it changes; its own number and expiry (`tokenExpiry`) are
never the card's. A deactivated token reports nothing about the card, unless the account was closed.
"""

from collections.abc import Iterable, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import instant, last4, mmyy, optional_value, required, required_last4
from schemas.feeds.record import Record, UpdateFields, is_blank, object_at, objects, optional_object, split_at, update

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
# With any other reason the status is only repeated: the card may have been closed since.
_STATUS_REASONS = (None, "STATUS_UPDATE", "DELETED_FROM_CONSUMER_APP")
# A card that replaces another is active, unless its token is not.
_NEW_CARD_TYPES = {Type.RESUMED: Type.NUMBER_REPLACED, Type.NO_CHANGE: Type.DETAILS_UPDATED}


def split(record: Record) -> Sequence[Record]:
    """A notification for each of its tokens."""
    return split_at(record, "encryptedPayload", "encryptedData", "tokens")


def adapt(record: Record, _edge: Edge) -> Iterable[UpdateFields]:
    request = required(record.get("requestId"), "requestId")
    for token in _tokens(record):
        yield _token_update(token, request)


def _tokens(record: Record) -> list[Record]:
    payload = object_at(record, "encryptedPayload")
    if isinstance(payload.get("encryptedData"), str):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "encryptedPayload.encryptedData", "it decrypted")
    tokens = objects(object_at(payload, "encryptedData"), "tokens")
    if not tokens:
        raise Refused(RefusalCode.REQUIRED_HERE, "tokens", "expected one at least")
    return tokens


def _token_update(token: Record, request: str) -> UpdateFields:
    status = type_of(_STATUSES, token.get("status"), "tokens.status")
    reason_code = optional_value(token.get("reasonCode"))
    reason = Type.NO_CHANGE if reason_code is None else type_of(_REASONS, reason_code, "tokens.reasonCode")
    if status is Type.CONTACT_CARDHOLDER and token.get("eventReasonCode") == CLOSED.code:
        status = Type.CLOSED
    reference = required(token.get("tokenUniqueReference"), "tokens.tokenUniqueReference")
    stamp = token.get("statusTimestamp")
    at = None if is_blank(stamp) else instant(stamp, "tokens.statusTimestamp")
    # without its time an event that comes again must not look like another event under the same id
    id_ = None if at is None else f"{request}-{reference}"
    if reason is Type.NUMBER_REPLACED:
        info = optional_object(token, "tokenInfo")
        card = {
            "token": reference,
            "last4": last4(info.get("accountPanSuffix")),
            **mmyy(info.get("accountPanExpiry"), "tokens.tokenInfo.accountPanExpiry"),
        }
        if status in _NEW_CARD_TYPES:  # any other status is reported itself
            card["last4"] = required_last4(info.get("accountPanSuffix"), "tokens.tokenInfo.accountPanSuffix")
        card_id = None if id_ is None else f"{id_}-card"
        return update(_NEW_CARD_TYPES.get(status, status), {"token": reference}, card, id=card_id, at=at)
    return update(status if reason_code in _STATUS_REASONS else reason, {"token": reference}, id=id_, at=at)


FEED = Feed(
    name="mdes",
    title="Mastercard MDES Notify Token Updated",
    adapt=adapt,
    recognises=lambda record: {"requestId", "encryptedPayload"} <= record.keys(),
    codes=CODES,
    split=split,
)
