"""Fingerprints of card and account numbers. Only the fingerprint and the last four digits of a number are stored.

PCI DSS 3.5.1.1 asks for a keyed hash of the whole number. The fingerprint is `v<version>:<64 hex digits>`: the
HMAC-SHA256 of the digits, or of `routing|account` of a bank account, under the key of that version. Blanks and dashes
are removed first, because one bank writes `1234 567890` and another `1234567890`. During a rotation of keys a number
has a second fingerprint under the former key, which matches the wallets that were imported before.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NOT_OF_A_NUMBER = re.compile(r"[\s\-]")
_SHORTEST_KEY = 16  # 128 bits, as PCI DSS asks


@dataclass(frozen=True, slots=True)
class Key:
    """A key for fingerprints; `secret` has 16 bytes at least."""

    version: str
    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) < _SHORTEST_KEY:
            raise ValueError(f"a fingerprint key needs {_SHORTEST_KEY} bytes at least")

    def __repr__(self) -> str:
        return f"Key({self.version!r})"

    def fingerprint(self, number: str) -> str:
        return f"{self.version}:{hmac.digest(self.secret, number.encode(), 'sha256').hex()}"


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Makes fingerprints under the `current` key, and under the `former` key while wallets still hold those."""

    current: Key
    former: Key | None = None

    def of_card(self, number: str) -> Mapping[str, Any]:
        """The fields of an update for a card number: `fingerprint`, and `formerFingerprint` during a rotation."""
        return self._of(_NOT_OF_A_NUMBER.sub("", number))

    def of_bank_account(self, routing: str, account: str) -> Mapping[str, Any]:
        """The fields for a bank account, without its type: a change of type is no other account.

        Fingerprints once included blanks and dashes inside an account. While no keys rotate, the fingerprint of an
        account that is written with them is added as `formerFingerprint`, for wallets that still hold it.
        """
        written = f"{routing}|{account.strip()}"
        plain = f"{_NOT_OF_A_NUMBER.sub('', routing)}|{_NOT_OF_A_NUMBER.sub('', account)}"
        named = self._of(plain)
        if self.former is None and written != plain:
            named["formerFingerprint"] = self.current.fingerprint(written)
        return named

    def _of(self, number: str) -> dict[str, Any]:
        named = {"fingerprint": self.current.fingerprint(number)}
        if self.former is not None:
            named["formerFingerprint"] = self.former.fingerprint(number)
        return named
