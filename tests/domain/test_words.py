"""The words of the public contract (design.md §3 and §4): what is stored and sent is what they are called."""

from enum import StrEnum

import pytest

from domain.account import Conflict
from domain.update import Outcome, Reason, UpdateType
from domain.wallet import LinkKind, LinkStatus, MethodStatus, MethodType


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (MethodType, "CARD BANK_ACCOUNT DIGITAL_WALLET GIFT_CARD"),
        (MethodStatus, "ACTIVE ACTION_REQUIRED SUSPENDED CLOSED DELETED"),
        (LinkKind, "SUBSCRIPTION RECURRING SAVED_INSTRUCTION PAYMENT_PLAN"),
        (LinkStatus, "ACTIVE PAUSED CANCELLED"),
        (
            UpdateType,
            (
                "NUMBER_REPLACED EXPIRY_UPDATED DETAILS_UPDATED CLOSED CONTACT_CARDHOLDER SUSPENDED RESUMED OPTED_OUT "
                "NO_CHANGE NO_MATCH WALLET_MERGED"
            ),
        ),
        (Reason, "EXPIRED LOST_OR_STOLEN REISSUED BANK_CHANGE NETWORK_UPDATE BRAND_CHANGE WALLET_MERGE"),
        (Outcome, "APPLIED SUPERSEDED DUPLICATE PARKED IGNORED QUARANTINED"),
        (Conflict, "TYPE_CONFLICT ACCOUNT_CONFLICT"),
    ],
)
def test_every_word_is_the_one_of_the_contract(words: type[StrEnum], values: str) -> None:
    assert [word.value for word in words] == values.split()
    assert [word.name for word in words] == values.split()
