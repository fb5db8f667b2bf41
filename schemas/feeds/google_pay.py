"""Google Pay: token life-cycle notifications, signed and encrypted as payment tokens are, or decrypted.

An encrypted notification reports nothing by itself, and Google has nothing to fetch. It is posted to `decrypt` below
the address that is set for this feed. That is assumed to be a program that holds the key and verifies the signature:
the payment provider's, or the merchant's with Google's library. The decrypted notification is as Google documents it.
Its token stays, and is named by `merchantTokenId`; each retry has the same `messageId`.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Fetch
from schemas.feeds.fields import instant, optional_text, optional_value, required, required_last4
from schemas.feeds.record import Record, UpdateFields, object_at, update

CODES = (
    Code("fpanSuffix", "another card stands behind the token", Type.NUMBER_REPLACED),
    Code("fpanSuffix", "with it, that the token is active", Type.RESUMED),
    Code("DISABLED", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
)
_STATES = table(CODES[2:])
_ENVELOPE = ("protocolVersion", "signature", "signedMessage", "intermediateSigningKey")


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields | Fetch]:
    if "signedMessage" not in record:
        yield from fetched({}, record, edge)
        return
    for name in ("protocolVersion", "signature", "signedMessage"):
        required(record.get(name), name)
    yield Fetch("decrypt", {}, body={name: record[name] for name in _ENVELOPE if name in record})


def fetched(_event: Record, notification: Record, _edge: Edge) -> Iterable[UpdateFields]:
    """The updates of a decrypted notification. A token with a `fpanSuffix` is active."""
    message_id = required(notification.get("messageId"), "messageId")
    at = instant(notification.get("timestamp"), "timestamp")
    token = {"token": required(notification.get("merchantTokenId"), "merchantTokenId"), "methodType": "DIGITAL_WALLET"}
    info = object_at(notification, "cardUpdateInfo")
    state, suffix = optional_value(info.get("tokenState")), optional_text(info.get("fpanSuffix"))
    if state is not None:
        yield update(type_of(_STATES, state, "cardUpdateInfo.tokenState"), token, id=message_id, at=at)
    elif suffix is not None:
        card = {**token, "last4": required_last4(suffix, "cardUpdateInfo.fpanSuffix")}
        yield update(Type.NUMBER_REPLACED, token, card, id=f"{message_id}-card", at=at)
        yield update(Type.RESUMED, token, id=message_id, at=at)
    else:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "cardUpdateInfo", "tokenState or fpanSuffix")


FEED = Feed(
    name="google-pay",
    title="Google Pay token notifications",
    adapt=adapt,
    recognises=lambda record: (
        {"protocolVersion", "signedMessage"} <= record.keys() or {"merchantTokenId", "cardUpdateInfo"} <= record.keys()
    ),
    codes=CODES,
    fetched=fetched,
)
