"""Google Pay's notifications, as they come and decrypted."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from schemas import thin
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, answers, asked, refusal, update, updates

TOKEN = Credential("google-pay:MTI-1")
ENVELOPE = {"protocolVersion": "ECv2", "signature": "MEQ=", "signedMessage": "{}", "intermediateSigningKey": {}}


def notification(info: object, **changes: Any) -> dict[str, Any]:
    return {
        "messageId": "m1",
        "timestamp": "2026-11-20T09:14:13Z",
        "merchantTokenId": "MTI-1",
        "cardUpdateInfo": info,
    } | changes


def test_a_suffix_is_that_of_another_card_behind_an_active_token() -> None:
    card, status = updates("google-pay", notification({"fpanSuffix": "5678"}))
    assert (card.type, card.old, card.new.details) == (UpdateType.NUMBER_REPLACED, TOKEN, {"last4": "5678"})
    assert (status.type, status.old) == (UpdateType.RESUMED, TOKEN)


def test_a_disabled_token_is_not_a_closed_card() -> None:
    report = update("google-pay", notification({"tokenState": "DISABLED"}))
    assert (report.type, report.old, report.stamp.update_id) == (UpdateType.CONTACT_CARDHOLDER, TOKEN, "m1")


def test_what_is_encrypted_is_posted_to_who_holds_the_key() -> None:
    fetch = asked("google-pay", ENVELOPE)
    assert (fetch.path, fetch.body) == ("decrypt", ENVELOPE)
    assert answers("google-pay", ENVELOPE, ANSWERS["google-pay"])[0].old == Credential("google-pay:MTI-3a7b12")


def test_two_encrypted_notifications_are_two_thin_events() -> None:
    """Their path is the same, and they differ in the body alone."""
    fetches = [asked("google-pay", ENVELOPE | {"signature": signature}) for signature in ("MEQ=", "MEU=")]
    first, second = (thin.parse(thin.written("google-pay", fetch, EDGE.at)) for fetch in fetches)
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("cardUpdateInfo.tokenState", notification({"tokenState": "ENABLED"})),
        ("cardUpdateInfo", notification({})),
        ("cardUpdateInfo", notification(None)),
        ("cardUpdateInfo.fpanSuffix", notification({"fpanSuffix": "678"})),
        ("messageId", notification({"fpanSuffix": "5678"}, messageId=None)),
        ("timestamp", notification({"fpanSuffix": "5678"}, timestamp="1")),
        ("merchantTokenId", notification({"fpanSuffix": "5678"}, merchantTokenId=" ")),
        ("signature", ENVELOPE | {"signature": None}),
        ("signedMessage", ENVELOPE | {"signedMessage": {}}),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("google-pay", broken).startswith(f"{field}: ")
