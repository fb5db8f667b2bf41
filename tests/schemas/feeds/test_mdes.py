"""MDES Notify Token Updated, status by status and reason by reason."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from schemas.feeds.feed import parts
from tests.schemas.feeds.reading import EDGE, refusal, update, updates

TOKEN = Credential("mdes:DWSP1")
INFO = {"tokenPanSuffix": "0001", "accountPanSuffix": "5678", "tokenExpiry": "0931", "accountPanExpiry": "1129"}


def token(status: str, reason: str | None = "STATUS_UPDATE", **changes: Any) -> dict[str, Any]:
    return {
        "tokenUniqueReference": "DWSP1",
        "status": status,
        "reasonCode": reason,
        "statusTimestamp": "2026-11-20T09:14:13.512Z",
    } | changes


def notice(*tokens: dict[str, Any]) -> dict[str, Any]:
    return {"requestId": "123456", "encryptedPayload": {"encryptedData": {"tokens": list(tokens)}}}


def test_another_funding_account_is_another_card_behind_the_token_and_its_expiry_the_cards() -> None:
    card, status = updates("mdes", notice(token("ACTIVE", "FUNDING_ACCOUNT_UPDATE", tokenInfo=INFO)))
    assert (card.type, card.old, card.new.details) == (UpdateType.NUMBER_REPLACED, TOKEN, {"last4": "5678"})
    assert (card.new.expiry, status.type) == (Expiry(2029, 11), UpdateType.RESUMED)
    assert card.stamp.update_id != status.stamp.update_id


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        ("ACTIVE", UpdateType.RESUMED),
        ("SUSPENDED", UpdateType.SUSPENDED),
        ("DEACTIVATED", UpdateType.CONTACT_CARDHOLDER),
        ("INACTIVE", UpdateType.NO_CHANGE),
        ("PENDING_ACTIVATION", UpdateType.NO_CHANGE),
    ],
)
@pytest.mark.parametrize(
    "reason",
    [None, "STATUS_UPDATE", "REDIGITIZATION_COMPLETE", "ACCOUNT_BINDING", "TOKEN_BINDING", "DELETED_FROM_CONSUMER_APP"],
)
def test_the_status_says_how_the_token_is(status: str, type_: UpdateType, reason: str | None) -> None:
    told = update("mdes", notice(token(status, reason)))
    assert (told.type, told.old, told.new.expiry) == (type_, TOKEN, None)


def test_a_token_is_closed_only_where_its_account_is() -> None:
    closed = token("DEACTIVATED", eventReasonCode="ACCOUNT_CLOSED")
    assert update("mdes", notice(closed)).type is UpdateType.CLOSED
    new_word = token("SUSPENDED", eventReasonCode="A_WORD_OF_NEXT_YEAR")
    assert update("mdes", notice(new_word)).type is UpdateType.SUSPENDED


def test_the_tokens_own_expiry_is_never_told() -> None:
    only = {name: value for name, value in INFO.items() if name != "accountPanExpiry"}
    assert update("mdes", notice(token("ACTIVE", tokenInfo=only))).new.expiry is None


def test_each_token_is_a_part_of_its_own_and_one_that_is_broken_is_refused_alone() -> None:
    whole = notice(token("ACTIVE"), token("LOST"), token("SUSPENDED", tokenUniqueReference="DWSP2"))
    first, broken, last = (dict(part) for part in parts(FEEDS["mdes"], whole))
    assert refusal("mdes", broken).startswith("tokens.status: ")
    assert update("mdes", first).stamp.update_id != update("mdes", last).stamp.update_id


def test_what_has_no_time_is_told_as_of_its_arrival() -> None:
    assert update("mdes", notice(token("ACTIVE", statusTimestamp=None))).stamp.occurred_at == EDGE.at


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("tokens.status", notice(token("LOST"))),
        ("tokens.reasonCode", notice(token("ACTIVE", "A_NEW_REASON"))),
        ("tokens.tokenUniqueReference", notice(token("ACTIVE", tokenUniqueReference=None))),
        ("tokens.statusTimestamp", notice(token("ACTIVE", statusTimestamp="now"))),
        ("tokens.tokenInfo.accountPanExpiry", notice(token("ACTIVE", tokenInfo={"accountPanExpiry": "1329"}))),
        ("tokens", notice()),
        ("requestId", notice(token("ACTIVE")) | {"requestId": ""}),
        ("encryptedPayload.encryptedData", {"requestId": "1", "encryptedPayload": {"encryptedData": "3097e343"}}),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("mdes", broken).startswith(f"{field}: ")
