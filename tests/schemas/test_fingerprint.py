"""Fingerprints, by literals: wallets are imported with fingerprints that another program made by the same rule.

The literals are those of `openssl dgst -sha256 -mac HMAC`.
"""

import pytest

from schemas.fingerprint import Fingerprints, Key

NOW, BEFORE = Key("v1", bytes(range(32))), Key("v0", bytes(range(16)))
CARD = "v1:0622241201382a45912fb22828b3f7db5153cf2072722a73ded22623ea79abc9"
CARD_BEFORE = "v0:033d75802f5b51d36980fde8cf982496259bea338b1681c62909ee8319886bd6"
ACCOUNT = "v1:6c791d47cf4e2fc60670d64feb2ad0f929dee6ea273f6199e1af18b648dcced9"
ACCOUNT_BEFORE = "v0:1617d65946bbd24ef08c37c9245c209ee8f70b6f92989074d9edd55596474d5b"
AS_ONCE_WRITTEN = {
    "1234 567890": "v1:fc5db81280c32baadc118ceded1938aa2ba06b0135b77a98c8a7a56e1685004c",
    "1234-5678 90": "v1:439968181b9012467ec5fb9e51aba3ee24d8ec1e0c2deb6c85eb102099f0c47c",
}


@pytest.mark.parametrize("number", ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"])
def test_a_card(number: str) -> None:
    assert Fingerprints(NOW).of_card(number) == {"fingerprint": CARD}
    assert Fingerprints(NOW, BEFORE).of_card(number) == {"fingerprint": CARD, "formerFingerprint": CARD_BEFORE}


def test_a_bank_account_is_its_routing_number_a_bar_and_its_account_number() -> None:
    assert Fingerprints(NOW).of_bank_account("021000021", "1234567890") == {"fingerprint": ACCOUNT}
    assert Fingerprints(NOW).of_bank_account("021000021", " 1234567890 ")["fingerprint"] == ACCOUNT
    assert Fingerprints(NOW).of_bank_account("02100002", "11234567890")["fingerprint"] != ACCOUNT


@pytest.mark.parametrize(("account", "once"), AS_ONCE_WRITTEN.items())
def test_blanks_and_dashes_are_no_part_of_an_account_and_a_wallet_that_has_them_is_still_found(
    account: str, once: str
) -> None:
    found = Fingerprints(NOW).of_bank_account("021000021", account)
    assert found == {"fingerprint": ACCOUNT, "formerFingerprint": once}
    changing = Fingerprints(NOW, BEFORE).of_bank_account("021000021", account)
    assert changing == {"fingerprint": ACCOUNT, "formerFingerprint": ACCOUNT_BEFORE}
