"""MDES Notify Token Updated, status by status and reason by reason."""

from typing import Any

import pytest

from domain.update import Credential, NewCredential, UpdateType
from domain.wallet import Expiry, MethodStatus
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.feeds.reading import parts
from tests.domain.build import at_once, method, wallet
from tests.schemas.feeds.reading import EDGE, fingerprint, refusal, update

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
    card = update("mdes", notice(token("ACTIVE", "FUNDING_ACCOUNT_UPDATE", tokenInfo=INFO)))
    assert (card.type, card.old, card.new.details) == (UpdateType.NUMBER_REPLACED, TOKEN, {"last4": "5678"})
    assert card.new.expiry == Expiry(2029, 11)


@pytest.mark.parametrize(
    ("status", "type_", "shown"),
    [
        ("SUSPENDED", UpdateType.SUSPENDED, MethodStatus.SUSPENDED),
        ("DEACTIVATED", UpdateType.CONTACT_CARDHOLDER, MethodStatus.ACTION_REQUIRED),
        ("INACTIVE", UpdateType.DETAILS_UPDATED, MethodStatus.CLOSED),
        ("ACTIVE", UpdateType.NUMBER_REPLACED, MethodStatus.ACTIVE),
    ],
)
def test_another_funding_account_is_active_only_if_its_token_is(
    status: str, type_: UpdateType, shown: MethodStatus
) -> None:
    report = update("mdes", notice(token(status, "FUNDING_ACCOUNT_UPDATE", tokenInfo=INFO)))
    assert report.type is type_
    (after,) = at_once(wallet(method("mdes:DWSP1", status=MethodStatus.CLOSED)), report).wallet.methods
    assert (after.status, after.details.last4, after.details.expiry) == (shown, "5678", Expiry(2029, 11))


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "PENDING_ACTIVATION"])
@pytest.mark.parametrize("suffix", [None, "", "78", "XXXX"])
def test_another_funding_account_needs_its_last_four_digits(status: str, suffix: str | None) -> None:
    moved = notice(token(status, "FUNDING_ACCOUNT_UPDATE", tokenInfo=INFO | {"accountPanSuffix": suffix}))
    assert refusal("mdes", moved).startswith("tokens.tokenInfo.accountPanSuffix: ")


@pytest.mark.parametrize(
    ("status", "type_"), [("SUSPENDED", UpdateType.SUSPENDED), ("DEACTIVATED", UpdateType.CONTACT_CARDHOLDER)]
)
def test_that_a_token_cannot_be_used_is_told_whatever_is_said_of_its_funding_account(
    status: str, type_: UpdateType
) -> None:
    assert update("mdes", notice(token(status, "FUNDING_ACCOUNT_UPDATE", tokenInfo=None))).type is type_


@pytest.mark.parametrize("reason", ["REDIGITIZATION_COMPLETE", "ACCOUNT_BINDING", "TOKEN_BINDING"])
@pytest.mark.parametrize("status", ["ACTIVE", "SUSPENDED", "DEACTIVATED", "INACTIVE", "PENDING_ACTIVATION"])
def test_a_status_beside_a_reason_that_is_no_change_of_it_is_not_told(status: str, reason: str) -> None:
    report = update("mdes", notice(token(status, reason, tokenInfo=INFO)))
    assert (report.type, report.old, report.new) == (UpdateType.NO_CHANGE, TOKEN, NewCredential())


@pytest.mark.parametrize("reason", ["REDIGITIZATION_COMPLETE", "ACCOUNT_BINDING", "TOKEN_BINDING"])
def test_a_card_that_was_closed_stays_so_when_its_token_is_bound(reason: str) -> None:
    closing = {
        "oldCardholderAccountNumber": "4111111111111111",
        "serviceIdentifier": "C",
        "newCardholderAccountNumber": " ",
        "newExpirationDate": " ",
    }
    closed = update("vau", closing, Edge(EDGE.at.replace(day=18), EDGE.fingerprints))
    bound = update("mdes", notice(token("ACTIVE", reason)))
    assert closed.stamp < bound.stamp
    before = wallet(method("mdes:DWSP1", fingerprint("4111111111111111")))
    (after,) = at_once(before, closed, bound).wallet.methods
    assert after.status is MethodStatus.CLOSED


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
@pytest.mark.parametrize("reason", [None, "STATUS_UPDATE", "DELETED_FROM_CONSUMER_APP"])
def test_the_status_says_how_the_token_is(status: str, type_: UpdateType, reason: str | None) -> None:
    report = update("mdes", notice(token(status, reason)))
    assert (report.type, report.old, report.new.expiry) == (type_, TOKEN, None)


def test_a_token_is_closed_only_where_its_account_is() -> None:
    closed = token("DEACTIVATED", eventReasonCode="ACCOUNT_CLOSED")
    assert update("mdes", notice(closed)).type is UpdateType.CLOSED
    new_word = token("SUSPENDED", eventReasonCode="A_WORD_OF_NEXT_YEAR")
    assert update("mdes", notice(new_word)).type is UpdateType.SUSPENDED


def test_the_tokens_own_expiry_is_never_told() -> None:
    only = {name: value for name, value in INFO.items() if name != "accountPanExpiry"}
    assert update("mdes", notice(token("ACTIVE", "FUNDING_ACCOUNT_UPDATE", tokenInfo=only))).new.expiry is None


def test_an_expiry_of_a_card_that_is_not_new_refuses_nothing() -> None:
    closed = token("DEACTIVATED", eventReasonCode="ACCOUNT_CLOSED", tokenInfo={"accountPanExpiry": "9999"})
    assert update("mdes", notice(closed)).type is UpdateType.CLOSED


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
        (
            "tokens.tokenInfo.accountPanExpiry",
            notice(token("ACTIVE", "FUNDING_ACCOUNT_UPDATE", tokenInfo=INFO | {"accountPanExpiry": "1329"})),
        ),
        ("tokens", notice()),
        ("requestId", notice(token("ACTIVE")) | {"requestId": ""}),
        ("encryptedPayload.encryptedData", {"requestId": "1", "encryptedPayload": {"encryptedData": "3097e343"}}),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("mdes", broken).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("reason", "id_"), [("STATUS_UPDATE", "123456-DWSP1"), ("FUNDING_ACCOUNT_UPDATE", "123456-DWSP1-card")]
)
def test_an_update_is_dated_and_named_by_its_notice_where_it_has_a_time(reason: str, id_: str) -> None:
    dated = update("mdes", notice(token("ACTIVE", reason, tokenInfo=INFO)))
    assert dated.stamp.update_id == id_
    assert dated.stamp.occurred_at.isoformat() == "2026-11-20T09:14:13.512000+00:00"
    undated = update("mdes", notice(token("ACTIVE", reason, tokenInfo=INFO, statusTimestamp="")))
    assert undated.stamp.update_id not in {id_, "None", "123456-DWSP1"}
