"""Numbers made unreadable: a keyed fingerprint and the last four digits are all that is kept of one.

PCI DSS 3.5.1.1 asks for a keyed hash of the whole number. The fingerprint is `v<version>:<64 hex digits>`, the
HMAC-SHA256 of the digits under the key of that version; of a bank account, of `routing|account`. Blanks and dashes are
no part of either, because one bank writes `1234 567890` and another `1234567890`. While keys change, a number has a
second one under the key before, so that a wallet that was imported then is still found.
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
    """Of fingerprints; `secret` has 16 bytes at least."""

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
    """Makes fingerprints under the `current` key, and under the `former` one while wallets still hold those."""

    current: Key
    former: Key | None = None

    def of_card(self, number: str) -> Mapping[str, Any]:
        """What a canonical update says of a card number: `fingerprint`, `formerFingerprint` if there is one."""
        return self._of(_NOT_OF_A_NUMBER.sub("", number))

    def of_bank_account(self, routing: str, account: str) -> Mapping[str, Any]:
        """The same of a bank account; its type is no part of it, so a change of type is no other account.

        Blanks and dashes inside an account were once part of its fingerprint. While no key is changing, the fingerprint
        of an account that is written with them is told beside the other as the former one, for wallets that still hold
        it.
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
