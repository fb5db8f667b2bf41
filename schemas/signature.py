"""Standard Webhooks: the id of a message, and the signature over its bytes as they are sent.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

PREFIX = "whsec_"

# bytes; from the specification
SHORTEST_KEY = 24
LONGEST_KEY = 64


def event_id(id: UUID) -> str:  # noqa: A002 - it is the row's `id`
    """An event's id for merchants, in the body and as `webhook-id`. It has no dot: dots end the id in the signature."""
    return "evt_" + id.hex


def secret(key: bytes) -> str:
    """The secret of `key`, as shown to the merchant and stored: `whsec_` and base64."""
    return PREFIX + b64encode(key).decode()


def signing_key(secret: str) -> bytes:
    """The key of a secret. Raises ValueError, without the secret in its text, if the secret is malformed."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"a signing secret starts with {PREFIX}")
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a signing secret is base64 after {PREFIX}") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"a signing secret is of {SHORTEST_KEY} to {LONGEST_KEY} bytes, this one of {len(key)}")
    return key


def signature(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1` signature per secret, the newest first; `timestamp` in Unix
    seconds.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join([_sign(secret, signed) for secret in secrets])


def _sign(secret: str, signed: bytes) -> str:
    keyed = _keyed(secret).copy()
    keyed.update(signed)
    return "v1," + binascii.b2a_base64(keyed.digest(), newline=False).decode()


@lru_cache(maxsize=4096)  # endpoints in use at a time
def _keyed(secret: str) -> hmac.HMAC:
    """An HMAC of the key alone: a copy of it signs in three quarters of the time of `hmac.digest`."""
    return hmac.new(signing_key(secret), digestmod=hashlib.sha256)
