"""GoCardless events, action by action."""

from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import MethodStatus, MethodType
from tests.domain.build import method, one_by_one, wallet
from tests.schemas.feeds.reading import refusal, update, updates

OLD, NEW = Credential("gocardless:MD1"), Credential("gocardless:MD2")


def event(action: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "EV1",
        "created_at": "2026-11-20T09:14:13.512Z",
        "resource_type": "mandates",
        "action": action,
        "links": {"mandate": "MD1"},
    } | changes


def test_a_replaced_mandate_names_the_new_one() -> None:
    report = update("gocardless", event("replaced", links={"mandate": "MD1", "new_mandate": "MD2"}))
    assert (report.type, report.old, report.new.credential) == (UpdateType.NUMBER_REPLACED, OLD, NEW)
    assert report.stamp.update_id == "EV1"


TRANSFER = {"mandate": "MD1", "previous_customer_bank_account": "BA1", "new_customer_bank_account": "BA2"}


def test_a_transferred_mandate_keeps_its_id_and_its_bank_account_is_another() -> None:
    report = update("gocardless", event("transferred", links=TRANSFER))
    assert (report.type, report.reason) == (UpdateType.NUMBER_REPLACED, Reason.BANK_CHANGE)
    assert (report.old, report.new.credential) == (
        Credential("gocardless:MD1", ":gocardless:BA1"),
        Credential(":gocardless:BA2", "gocardless:MD1"),
    )


@pytest.mark.parametrize("known", [("gocardless:MD1", ":gocardless:BA1"), ("gocardless:MD1",)])
def test_a_mandate_that_was_transferred_can_still_be_cancelled(known: tuple[str, ...]) -> None:
    transferred = update("gocardless", event("transferred", links=TRANSFER))
    cancelled = update("gocardless", event("cancelled", id="EV2", created_at="2026-11-21T09:14:13Z"))
    before = wallet(method(*known, type=MethodType.BANK_ACCOUNT))
    (kept,) = one_by_one(before, transferred).methods
    assert (kept.id, kept.status) == (before.methods[0].id, MethodStatus.ACTIVE)
    assert {"gocardless:MD1", ":gocardless:BA2"} <= kept.keys
    (closed,) = one_by_one(before, transferred, cancelled).methods
    assert (closed.id, closed.status) == (before.methods[0].id, MethodStatus.CLOSED)


def test_a_mandate_that_went_over_to_an_account_which_the_wallet_has_is_replaced_by_it() -> None:
    old, new = (
        method(*names, type=MethodType.BANK_ACCOUNT)
        for names in (("gocardless:MD1", ":gocardless:BA1"), ("gocardless:MD2", ":gocardless:BA2"))
    )
    after = one_by_one(wallet(old, new), update("gocardless", event("transferred", links=TRANSFER)))
    assert [(kept.id, kept.replaced_by) for kept in after.methods] == [(old.id, new.id), (new.id, None)]


@pytest.mark.parametrize(
    ("action", "type_"),
    [
        ("cancelled", UpdateType.CLOSED),
        ("failed", UpdateType.CLOSED),
        ("expired", UpdateType.CLOSED),
        ("consumed", UpdateType.CLOSED),
        ("blocked", UpdateType.SUSPENDED),
        ("suspended_by_payer", UpdateType.SUSPENDED),
        ("active", UpdateType.RESUMED),
        ("reinstated", UpdateType.RESUMED),
        ("created", UpdateType.NO_CHANGE),
        ("submitted", UpdateType.NO_CHANGE),
        ("resubmission_requested", UpdateType.NO_CHANGE),
        ("customer_approval_granted", UpdateType.NO_CHANGE),
        ("customer_approval_skipped", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_action_is_about_the_mandate_alone(action: str, type_: UpdateType) -> None:
    report = update("gocardless", event(action))
    assert (report.type, report.old, report.new.credential) == (type_, OLD, None)


def test_an_unknown_action_is_refused() -> None:
    assert refusal("gocardless", event("paused")) == "action: paused is in no table of this feed"


def test_a_webhook_tells_of_many_events_and_of_nothing_but_mandates() -> None:
    payment = event("failed", resource_type="payments", links={"payment": "PM1"})
    reports = updates("gocardless", {"events": [payment, event("cancelled"), event("active", id="EV2")]})
    assert [report.stamp.update_id for report in reports] == ["EV1", "EV2"]


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("resource_type", event("active", resource_type="mandate_schedules")),
        ("links.new_mandate", event("replaced")),
        ("links.mandate", event("transferred", links=TRANSFER | {"mandate": ""})),
        ("links.previous_customer_bank_account", event("transferred")),
        ("links.new_customer_bank_account", event("transferred", links=TRANSFER | {"new_customer_bank_account": None})),
        ("links", event("active", links=None)),
        ("id", event("active", id="")),
        ("created_at", event("active", created_at="yesterday")),
        ("events", {"events": 1}),
        ("resource_type", {"events": [1]}),
    ],
)
def test_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("gocardless", broken).startswith(f"{field}: ")
