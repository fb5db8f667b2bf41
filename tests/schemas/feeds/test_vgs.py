"""VGS card notifications, code by code."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import refusal, update

CARD = Credential("vgs:card_1")


def event(code: str, prefix: str = "cmp_au_card.", **changes: Any) -> dict[str, Any]:
    details = {
        "card_id": "card_1",
        "card_last4": "1881",
        "fingerprint_matches": "true",
        "new_account_number": "tok_new",
        "new_expiration_date": "1129",
        "old_account_number": "tok_old",
        "old_expiration_date": "1226",
        "occurred_at": "2026-11-20T10:00:00.000Z",
    }
    return {
        "id": "evt_1",
        "event": f"{prefix}{code}",
        "timestamp": "2026-11-20T11:00:00Z",
        "details": details | changes,
    }


@pytest.mark.parametrize("prefix", ["cmp_au_card.", "au_card."])
def test_another_number_is_another_card_behind_the_same_id(prefix: str) -> None:
    report = update("vgs", event("updated", prefix))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential("vgs:card_1", ":vgs:tok_old"))
    assert report.new.credential == Credential(":vgs:tok_new", "vgs:card_1")
    assert (report.new.last4, report.new.expiry) == ("1881", Expiry(2029, 11))
    assert report.stamp.occurred_at.hour == 10


def test_an_expired_card_has_another_expiry() -> None:
    report = update("vgs", event("expired"))
    assert (report.type, report.old, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, CARD, Expiry(2029, 11))


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("closed", UpdateType.CLOSED),
        ("contact_cardholder_advice", UpdateType.CONTACT_CARDHOLDER),
        ("opt_out", UpdateType.OPTED_OUT),
        ("non_participating", UpdateType.NO_MATCH),
        ("unknown", UpdateType.NO_MATCH),
        ("enrolled", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_code_speaks_of_the_card_alone(code: str, type_: UpdateType) -> None:
    report = update("vgs", event(code))
    assert (report.type, report.old, report.new.credential) == (type_, CARD, None)


@pytest.mark.parametrize("code", ["enrollment_failed", "enrollment.failed"])
def test_a_failed_enrollment_is_refused_with_its_meaning(code: str) -> None:
    assert refusal("vgs", event(code)).startswith(f"event: {code} means ")


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("event", event("replaced")),
        ("event", event("updated", "card.")),
        ("details", event("closed") | {"details": []}),
        ("details.card_id", event("closed", card_id=None)),
        ("details.new_account_number", event("updated", new_account_number="")),
        ("details.new_expiration_date", event("expired", new_expiration_date="")),
        ("details.occurred_at", event("closed", occurred_at="soon")),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("vgs", broken).startswith(f"{field}: ")
