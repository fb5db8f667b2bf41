"""Adyen's token webhooks and the stored payment methods that they leave to be fetched."""

from typing import Any

import pytest

from domain.refusal import Refused
from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from schemas.feeds.reading import read_answer
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, answers, asked, refusal, update

TOKEN = "M5N7TQ4TG5PFWR50"
DATA = {"merchantAccount": "Shop/ECOM", "storedPaymentMethodId": TOKEN, "shopperReference": "a&b=c"}


def event(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "createdAt": "2026-11-20T10:40:23+01:00",
        "eventId": "QBQQ9DLNRHHKGK38",
        "environment": "test",
        "type": f"recurring.token.{code}",
        "data": DATA,
    } | changes


def test_an_updated_token_is_asked_for() -> None:
    where = asked("adyen", event("updated")).path
    assert where == "storedPaymentMethods?merchantAccount=Shop%2FECOM&shopperReference=a%26b%3Dc"


def test_what_the_answer_shows_is_told_of_the_token_at_the_time_of_the_event() -> None:
    (report,) = answers("adyen", event("updated"), ANSWERS["adyen"])
    assert (report.type, report.old) == (UpdateType.DETAILS_UPDATED, Credential(f"adyen:{TOKEN}"))
    assert (report.new.details, report.new.expiry) == ({"last4": "1881", "brand": "VISA"}, Expiry(2029, 11))
    assert report.stamp.occurred_at.isoformat() == "2026-11-20T09:40:23+00:00"


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("disabled", UpdateType.CONTACT_CARDHOLDER),
        ("created", UpdateType.NO_CHANGE),
        ("alreadyExisting", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_event_tells_all_by_itself(code: str, type_: UpdateType) -> None:
    report = update("adyen", event(code))
    assert (report.type, report.old) == (type_, Credential(f"adyen:{TOKEN}"))


def test_events_of_one_payment_are_told_apart() -> None:
    """Each is of one token and says one thing."""
    tokens = [DATA | {"storedPaymentMethodId": token} for token in (TOKEN, "other")]
    events = [event(code, data=data) for code in ("created", "disabled") for data in tokens]
    assert len({update("adyen", event_).stamp.update_id for event_ in events}) == 4


def test_an_unknown_event_is_refused() -> None:
    assert refusal("adyen", event("paused")) == "type: recurring.token.paused is in no table of this feed"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("data", {"data": None}),
        ("data.storedPaymentMethodId", {"data": DATA | {"storedPaymentMethodId": " "}}),
        ("merchantAccount", {"data": DATA | {"merchantAccount": None}}),
        ("shopperReference", {"data": DATA | {"shopperReference": ".."}}),
        ("createdAt", {"createdAt": "0001-01-01T00:00:00+14:00"}),
        ("$.record.token", {"data": DATA | {"storedPaymentMethodId": "4111111111111111"}}),
    ],
)
def test_a_broken_field_is_named(field: str, changes: dict[str, Any]) -> None:
    assert refusal("adyen", event("updated", **changes)).startswith(f"{field}: ")


def test_an_answer_without_the_token_is_refused() -> None:
    fetch = asked("adyen", event("updated", data=DATA | {"storedPaymentMethodId": "OTHER"}))
    with pytest.raises(Refused, match=r"^storedPaymentMethods: "):
        read_answer(FEEDS["adyen"], fetch, ANSWERS["adyen"], EDGE)


def test_other_payment_methods_of_the_answer_may_be_odd() -> None:
    answer = {"storedPaymentMethods": [None, *ANSWERS["adyen"]["storedPaymentMethods"]]}
    (report,) = answers("adyen", event("updated"), answer)
    assert report.new.expiry == Expiry(2029, 11)
