"""Google Pay: token life-cycle notifications, signed and encrypted as payment tokens are, or decrypted.

What is encrypted tells nothing by itself, and Google has nothing to fetch: it is posted to `decrypt` below the address
that was set for this feed, which is assumed to be that of who holds the key (the payment provider, or a program of the
merchant's with Google's library), and to verify the signature. The decrypted notification is as Google documents it.
Its token stays, and goes by `merchantTokenId`; the same `messageId` comes with every retry.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Fetch,
    Message,
    Record,
    Refused,
    inside,
    instant,
    last4_required,
    optional,
    text,
    told,
)

CODES = (
    Code("fpanSuffix", "another card stands behind the token", Type.NUMBER_REPLACED),
    Code("fpanSuffix", "with it, that the token is active", Type.RESUMED),
    Code("DISABLED", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
)
_STATES = table(CODES[2:])
_ENVELOPE = ("protocolVersion", "signature", "signedMessage", "intermediateSigningKey")


def adapt(record: Record, edge: Edge) -> Iterable[Message | Fetch]:
    if "signedMessage" not in record:
        yield from fetched({}, record, edge)
        return
    for name in ("protocolVersion", "signature", "signedMessage"):
        text(record.get(name), name)
    yield Fetch("decrypt", {}, body={name: record[name] for name in _ENVELOPE if name in record})


def fetched(_event: Record, notification: Record, _edge: Edge) -> Iterable[Message]:
    """A decrypted notification. Where a suffix is told, the token is active."""
    message, at = text(notification.get("messageId"), "messageId"), instant(notification.get("timestamp"), "timestamp")
    token = {"token": text(notification.get("merchantTokenId"), "merchantTokenId"), "methodType": "DIGITAL_WALLET"}
    said = inside(notification, "cardUpdateInfo")
    state, suffix = optional(said.get("tokenState")), optional(said.get("fpanSuffix"))
    if state is not None:
        yield told(type_of(_STATES, state, "cardUpdateInfo.tokenState"), token, id=message, at=at)
    elif suffix is not None:
        card = {**token, "last4": last4_required(suffix, "cardUpdateInfo.fpanSuffix")}
        yield told(Type.NUMBER_REPLACED, token, card, id=f"{message}-card", at=at)
        yield told(Type.RESUMED, token, id=message, at=at)
    else:
        raise Refused("cardUpdateInfo: expected tokenState or fpanSuffix")


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
