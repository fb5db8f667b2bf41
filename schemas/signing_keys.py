"""Key pairs for `v1a` signatures of Standard Webhooks: ed25519, one of each endpoint under each key of the settings.

A key pair is derived from a key of the settings and the id of the endpoint (HKDF, RFC 5869), so none is stored. With
one pair for all endpoints, a merchant could send a webhook of its own on to another merchant, where it would verify.
"""

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.sealing import Key

PUBLIC_PREFIX = "whpk_"

_SEED_BYTES = 32  # RFC 8032
_PURPOSE = b"repoint webhook signature v1a\n"


class PublicKey(NamedTuple):
    """A public key of an endpoint, `whpk_` and base64, and the version of the key of the settings behind it."""

    key_version: str
    public_key: str


class SigningKeys:
    """Signs for endpoints with each of the keys; without keys, with none."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        # of this object: a cached method would keep it, and its keys, for ever; endpoints in use at a time
        self._pairs = lru_cache(maxsize=4096)(self._derive)

    def __repr__(self) -> str:
        return f"SigningKeys({[key.version for key in self._keys]})"

    def __bool__(self) -> bool:
        return bool(self._keys)

    def signatures(self, endpoint_id: str, message_id: str, timestamp: int, body: bytes) -> list[str]:
        """A `v1a` signature of each key, in their order, for the `webhook-signature` header."""
        signed = f"{message_id}.{timestamp}.".encode() + body
        return [sign(pair, signed) for pair in self._pairs(endpoint_id)]

    def public_keys(self, endpoint_id: str) -> list[PublicKey]:
        """The public keys of an endpoint, in the order of its signatures."""
        pairs = self._pairs(endpoint_id)
        return [PublicKey(key.version, public_key(pair)) for key, pair in zip(self._keys, pairs, strict=True)]

    def _derive(self, endpoint_id: str) -> tuple[Ed25519PrivateKey, ...]:
        return tuple(
            Ed25519PrivateKey.from_private_bytes(
                HKDF(SHA256(), _SEED_BYTES, salt=None, info=_PURPOSE + endpoint_id.encode()).derive(key.key)
            )
            for key in self._keys
        )


NO_SIGNING_KEYS = SigningKeys(())


def sign(pair: Ed25519PrivateKey, signed: bytes) -> str:
    """The signature over `signed`, as the header has it."""
    return "v1a," + b64encode(pair.sign(signed)).decode()


def public_key(pair: Ed25519PrivateKey) -> str:
    """The public key of a pair, as it is shown to merchants."""
    return PUBLIC_PREFIX + b64encode(pair.public_key().public_bytes_raw()).decode()
