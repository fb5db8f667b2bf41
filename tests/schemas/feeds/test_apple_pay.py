"""Apple Pay's merchant token events, type by type."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.refusal import Refused
from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from schemas.feeds.reading import read_answer
from tests.schemas.feeds.reading import EDGE, answers, asked, refusal

TOKEN = Credential("apple-pay:DNITHE1")
NOTIFICATION = {"eventId": "3f1c/0b8a"}


def event(kind: str, token: dict[str, Any] | None = None, **card: Any) -> dict[str, Any]:
    metadata = {"cardMetadata": {"fpanSuffix": "5678", "expirationDate": "291130"} | card, "tokenMetadata": token}
    return {"eventType": kind, "merchantTokenIdentifier": "DNITHE1", "reason": "x", "merchantTokenMetadata": metadata}


def test_a_notification_leaves_its_event_to_be_fetched() -> None:
    assert asked("apple-pay", NOTIFICATION).path == "merchantToken/event/3f1c%2F0b8a"
    assert refusal("apple-pay", {"eventId": ".."}).startswith("eventId: ")
    assert refusal("apple-pay", {"eventId": None}).startswith("eventId: ")
    assert asked("apple-pay", NOTIFICATION | {"merchantId": "merchant.example"}).path.endswith("3f1c%2F0b8a")


@pytest.mark.parametrize("other", [{"data": {"object": 1}}, {"type": "card.updated", "data": {}}, {"cards": []}])
def test_an_object_that_tells_more_than_a_notification_is_of_another_feed(other: dict[str, Any]) -> None:
    assert refusal("apple-pay", NOTIFICATION | other) == (
        "eventId: expected no object and no list beside it: a notification has none"
    )


def test_a_further_value_may_be_of_a_later_version_of_the_notification() -> None:
    assert asked("apple-pay", NOTIFICATION | {"version": 2}).path == "merchantToken/event/3f1c%2F0b8a"


def test_an_event_that_comes_again_later_is_known_by_its_id() -> None:
    later = replace(EDGE, at=EDGE.at + timedelta(days=1))
    for answer in (event("UPDATED_METADATA"), event("UPDATED_METADATA", {"mpanId": "DNITHE2"}), event("UNLINK")):
        (first,), (again,) = (answers("apple-pay", NOTIFICATION, answer, edge) for edge in (EDGE, later))
        assert first.stamp.update_id == again.stamp.update_id == "3f1c/0b8a"


def test_what_waited_before_events_were_known_by_their_id_is_known_by_its_content() -> None:
    waiting = replace(asked("apple-pay", NOTIFICATION), record={})
    (report,) = read_answer(FEEDS["apple-pay"], waiting, event("UNLINK"), EDGE)
    assert report["id"].startswith("apple-pay-")


def test_updated_metadata_are_told_of_the_token_that_stays() -> None:
    (report,) = answers("apple-pay", NOTIFICATION, event("UPDATED_METADATA", {"expirationDate": "310731"}))
    assert (report.type, report.old) == (UpdateType.DETAILS_UPDATED, TOKEN)
    assert (report.new.details, report.new.expiry) == ({"last4": "5678"}, Expiry(2029, 11))


def test_another_id_of_the_token_is_a_replacement() -> None:
    (report,) = answers("apple-pay", NOTIFICATION, event("UPDATED_METADATA", {"mpanId": "DNITHE2"}))
    assert (report.type, report.old, report.new.credential) == (
        UpdateType.NUMBER_REPLACED,
        TOKEN,
        Credential("apple-pay:DNITHE2"),
    )


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("UNLINK", UpdateType.CONTACT_CARDHOLDER),
        ("UPDATED_CARD_ART", UpdateType.NO_CHANGE),
        ("UPDATED_MERCHANT_TOKEN_PUBLIC_KEY", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_type_tells_nothing_more(kind: str, type_: UpdateType) -> None:
    (report,) = answers("apple-pay", NOTIFICATION, event(kind))
    assert (report.type, report.old, report.new.details) == (type_, TOKEN, {})


@pytest.mark.parametrize("written", ["291130", "20291130", "2029-11"])
def test_an_expiry_is_read_however_it_is_written(written: str) -> None:
    (report,) = answers("apple-pay", NOTIFICATION, event("UPDATED_METADATA", expirationDate=written))
    assert report.new.expiry == Expiry(2029, 11)


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("eventType", event("LOST")),
        ("merchantTokenIdentifier", event("UNLINK") | {"merchantTokenIdentifier": None}),
        ("merchantTokenMetadata.cardMetadata.expirationDate", event("UPDATED_METADATA", expirationDate="112029")),
        ("merchantTokenMetadata.cardMetadata.expirationDate", event("UPDATED_METADATA", expirationDate="291115")),
        ("merchantTokenMetadata.cardMetadata.expirationDate", event("UPDATED_METADATA", expirationDate="11/29")),
    ],
)
def test_an_unknown_type_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read_answer(FEEDS["apple-pay"], asked("apple-pay", NOTIFICATION), broken, EDGE)
    assert str(refused.value).startswith(f"{field}: ")
