"""Secrets at rest: AES-256-GCM under a key of the settings, opened only where a request is signed.

A sealed text is `sealed:VERSION:BASE64`: the version of its key, then the nonce and what AES-GCM makes of the text. Its
kind and the id of its endpoint are authenticated with it: a sealed text that is moved to another row does not open.
"""

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "sealed:"
KEY_BYTES = 32

_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2: random nonces of 96 bits serve 2^32 texts
# Opened texts kept in memory: a secret or two of each endpoint in use, or a secret and its headers; twice the keyed
# HMACs of schemas/signature.py.
_MOST_OPENED = 8192

Kind: TypeAlias = Literal["secret", "headers"]
"""What is sealed."""


class CannotOpen(Exception):
    """A sealed text cannot be opened. The message names its key's version, and nothing of the text."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of 32 bytes, called by its version."""

    version: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a key for secrets has {KEY_BYTES} bytes")


BUILT_IN = Key("0", bytes.fromhex("7265706f696e742d6275696c742d696e2d6b65792d6f662d6e6f2d7365637265"))
"""The key of development, so that secrets are sealed there too. Everybody can read it; production refuses it."""


class Keys:
    """Seals with the first key, and opens with each."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.current_version = keys[0].version
        self._ciphers = {key.version: AESGCM(key.key) for key in keys}
        # of this object: a cached method would keep it, and its keys, for ever
        self._open = lru_cache(maxsize=_MOST_OPENED)(self._decrypt)

    def __repr__(self) -> str:
        return f"Keys({list(self._ciphers)})"

    def seal(self, text: str, kind: Kind, endpoint_id: str) -> str:
        """The sealed text of an endpoint."""
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._ciphers[self.current_version].encrypt(nonce, text.encode(), _context(kind, endpoint_id))
        return f"{PREFIX}{self.current_version}:{b64encode(nonce + encrypted).decode()}"

    def open(self, sealed: str, kind: Kind, endpoint_id: str) -> str:
        """The text that was sealed. Texts opened before are remembered.

        Raises:
            CannotOpen: no key has its version, or it was sealed with another key, for another endpoint, or not at all.
        """
        return self._open(sealed, kind, endpoint_id)

    def _decrypt(self, sealed: str, kind: Kind, endpoint_id: str) -> str:
        version = key_version(sealed)
        if version is None:
            raise CannotOpen("it is not sealed")
        cipher = self._ciphers.get(version)
        if cipher is None:
            raise CannotOpen(f"there is no key of version {version}")
        try:
            data = b64decode(sealed.rpartition(":")[2], validate=True)
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _context(kind, endpoint_id)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise CannotOpen(f"the key of version {version} does not open it") from None


BUILT_IN_KEYS = Keys([BUILT_IN])


def key_version(sealed: str) -> str | None:
    """The version of the key that a text was sealed with; None if it is not sealed."""
    if not sealed.startswith(PREFIX):
        return None
    return sealed.removeprefix(PREFIX).partition(":")[0]


def _context(kind: Kind, endpoint_id: str) -> bytes:
    """What is authenticated with a sealed text."""
    return f"{kind}\n{endpoint_id}".encode()
