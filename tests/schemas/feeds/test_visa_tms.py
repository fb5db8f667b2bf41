"""Visa tokens in CyberSource's Token Management Service, event by event and state by state."""

import copy
from typing import Any

import pytest

from domain.refusal import Refused
from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from schemas.feeds.reading import parts, read, read_answer
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, answers, asked, refusal, update

TOKEN = Credential("visa-tms:11E005EC")
HREF = "/tms/v1/paymentinstruments/11E005EC"


def event(kind: str, *hrefs: object, **changes: Any) -> dict[str, Any]:
    links = {
        "paymentInstruments": [{"href": href} for href in hrefs or (HREF,)],
        "instrumentIdentifiers": [{"href": "/tms/v1/instrumentidentifiers/7036349999987050572"}],
    }
    return {
        "notificationId": "n1",
        "eventType": f"tms.networktoken.{kind}",
        "eventDate": "2026-11-20T04:07:52.157-07:00",
        "webhookId": "w1",
        "payload": [{"data": {"_links": links}}],
    } | changes


def answer(state: str, account: str = "ACTIVE") -> dict[str, Any]:
    fetched = copy.deepcopy(ANSWERS["visa-tms"])
    identifier = fetched["_embedded"]["instrumentIdentifier"]
    identifier["state"], identifier["tokenizedCard"]["state"] = account, state
    return fetched


def test_an_updated_token_is_asked_for_by_each_of_its_payment_instruments() -> None:
    assert asked("visa-tms", event("updated")).path == "tms/v1/paymentinstruments/11E005EC"
    assert len(read(FEEDS["visa-tms"], event("updated", HREF, f"{HREF}2"), EDGE)) == 2


@pytest.mark.parametrize("body", ["payload", "payloads"])
def test_each_link_is_a_part_of_its_own_and_one_that_is_odd_is_refused_alone(body: str) -> None:
    whole = event("updated", HREF, "/tms/v1/else/where", f"{HREF}2")
    whole = {name: value for name, value in whole.items() if name != "payload"} | {body: whole["payload"] * 2}
    cut = [dict(part) for part in parts(FEEDS["visa-tms"], whole)]
    assert len(cut) == 6
    for first, broken, last in (cut[:3], cut[3:]):
        assert [asked("visa-tms", part).record["token"] for part in (first, last)] == ["11E005EC", "11E005EC2"]
        assert refusal("visa-tms", broken).startswith("payload.data._links.paymentInstruments.href: ")


@pytest.mark.parametrize("kind", ["provisioned", "binding"])
def test_every_other_event_changes_nothing(kind: str) -> None:
    report = update("visa-tms", event(kind))
    assert (report.type, report.old) == (UpdateType.NO_CHANGE, TOKEN)


@pytest.mark.parametrize(
    ("state", "account", "type_"),
    [
        ("ACTIVE", "ACTIVE", UpdateType.RESUMED),
        ("SUSPENDED", "ACTIVE", UpdateType.SUSPENDED),
        ("DELETED", "ACTIVE", UpdateType.CONTACT_CARDHOLDER),
        ("DELETED", "CLOSED", UpdateType.CLOSED),
    ],
)
def test_the_state_is_told_with_what_the_card_shows_and_never_the_token(
    state: str, account: str, type_: UpdateType
) -> None:
    (report,) = answers("visa-tms", event("updated"), answer(state, account))
    assert (report.type, report.old) == (type_, TOKEN)
    assert report.new.details == {"last4": "1111", "brand": "VISA"}
    assert report.new.expiry == (None if type_ is UpdateType.CLOSED else Expiry(2029, 12))
    assert report.stamp.occurred_at.isoformat() == "2026-11-20T11:07:52.157000+00:00"


def test_an_expiry_of_a_closed_account_refuses_nothing() -> None:
    closed = answer("DELETED", "CLOSED")
    closed["_embedded"]["instrumentIdentifier"]["tokenizedCard"]["card"]["expirationMonth"] = "13"
    (report,) = answers("visa-tms", event("updated"), closed)
    assert report.type is UpdateType.CLOSED


@pytest.mark.parametrize("state", ["UNPROVISIONED", "LOST"])
def test_an_unknown_state_is_refused(state: str) -> None:
    with pytest.raises(Refused, match=r"^tokenizedCard\.state: "):
        read_answer(FEEDS["visa-tms"], asked("visa-tms", event("updated")), answer(state), EDGE)


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("eventType", event("lost")),
        ("eventDate", event("updated", eventDate="")),
        ("notificationId", event("binding", notificationId=None)),
        ("payload.data._links.paymentInstruments.href", event("updated", "/tms/v1/paymentinstruments/../../keys")),
        ("payload.data._links.paymentInstruments.href", event("updated", "https://example.test/tms/v1/x/y")),
        ("payload.data._links.paymentInstruments", event("updated", payload=[{"data": {"_links": {}}}])),
        ("data", event("updated", payload=[{}])),
        ("$.path", event("updated", "/tms/v1/paymentinstruments/4111111111111111")),
    ],
)
def test_an_unknown_event_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("visa-tms", broken).startswith(f"{field}: ")
