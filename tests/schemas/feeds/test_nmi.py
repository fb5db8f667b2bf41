"""NMI's Automatic Card Updater, summary by summary and array by array."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from schemas.feeds.reading import parts
from tests.schemas.feeds.reading import EDGE, refusal, update, updates

CARD = {"customer_vault_id": "308", "billing_id": "178", "cc_number": "445701******0009", "cc_exp": "01/30"}


def event(kind: str, **arrays: Any) -> dict[str, Any]:
    body = {"updated_date": "2026-11-20", "merchant": {"id": 1, "name": "Shop"}, **arrays}
    return {"event_id": "e1", "event_type": f"acu.summary.{kind}", "event_body": body}


@pytest.mark.parametrize(
    ("kind", "array", "type_"),
    [
        ("automaticallyupdated", "vault_updated_cards", UpdateType.NUMBER_REPLACED),
        ("automaticallyupdated", "vault_updated_expiration_dates", UpdateType.EXPIRY_UPDATED),
        ("automaticallyupdated", "recurring_updated_cards", UpdateType.NUMBER_REPLACED),
        ("automaticallyupdated", "recurring_updated_expiration_dates", UpdateType.EXPIRY_UPDATED),
    ],
)
def test_an_updated_card_is_told_of_the_ids_that_stay(kind: str, array: str, type_: UpdateType) -> None:
    report = update("nmi", event(kind, **{array: [CARD]}))
    assert (report.type, report.old) == (type_, Credential("nmi:1/308/178"))
    assert (report.new.details, report.new.expiry) == ({"last4": "0009"}, Expiry(2030, 1))


def test_the_same_event_at_another_line_is_the_same() -> None:
    later = CARD | {"billing_id": "179"}
    whole = event("automaticallyupdated", vault_updated_cards=[CARD, later], recurring_updated_cards=[CARD])
    cut = [dict(part) for part in parts(FEEDS["nmi"], whole)]
    first, again = ([update("nmi", part, EDGE.at_row(line + at)) for at, part in enumerate(cut)] for line in (1, 2))
    assert first == again
    assert len({report.stamp for report in first}) == 3


@pytest.mark.parametrize(
    ("kind", "type_"),
    [("closedaccount", UpdateType.CLOSED), ("contactcustomer", UpdateType.CONTACT_CARDHOLDER)],
)
@pytest.mark.parametrize("array", ["vault_updates", "recurring_updates"])
def test_every_other_summary_tells_nothing_more(kind: str, type_: UpdateType, array: str) -> None:
    report = update("nmi", event(kind, **{array: [CARD]}))
    assert (report.type, report.old, report.new.details) == (type_, Credential("nmi:1/308/178"), {})


def test_a_card_goes_by_what_ids_it_has() -> None:
    alone, recurring = CARD | {"billing_id": None}, {"subscription_id": "551", "cc_exp": "01/30"}
    reports = updates("nmi", event("closedaccount", vault_updates=[alone], recurring_updates=[recurring]))
    assert [report.old for report in reports] == [Credential("nmi:1/308"), Credential("nmi:1/subscription/551")]


def test_customers_of_two_merchants_who_have_the_same_number_are_not_one() -> None:
    first, second = (
        update("nmi", event("closedaccount", vault_updates=[{"customer_vault_id": "1001"}], merchant={"id": merchant}))
        for merchant in (111, 222)
    )
    assert (first.old, second.old) == (Credential("nmi:111/1001"), Credential("nmi:222/1001"))


def test_each_card_is_a_part_of_its_own_and_one_that_is_broken_is_refused_alone() -> None:
    whole = event("automaticallyupdated", vault_updated_cards=[CARD, {}], vault_updated_expiration_dates=[CARD])
    first, broken, last = (dict(part) for part in parts(FEEDS["nmi"], whole))
    assert refusal("nmi", broken).startswith("event_body.vault_updated_cards.customer_vault_id: ")
    assert update("nmi", first).stamp.update_id != update("nmi", last).stamp.update_id


@pytest.mark.parametrize("number", ["", None, "445701******", "****************", "0000000000000000"])
@pytest.mark.parametrize("of", ["vault", "recurring"])
def test_another_number_needs_its_last_four_digits(of: str, number: str | None) -> None:
    array = f"{of}_updated_cards"
    broken = event("automaticallyupdated", **{array: [CARD | {"cc_number": number}]})
    assert refusal("nmi", broken).startswith(f"event_body.{array}.cc_number: ")


def test_another_expiry_needs_no_digits() -> None:
    dates = [CARD | {"cc_number": ""}]
    assert update("nmi", event("automaticallyupdated", vault_updated_expiration_dates=dates)).new.details == {}


def test_a_day_without_a_card_tells_nothing() -> None:
    assert updates("nmi", event("automaticallyupdated", vault_updated_cards=[])) == []


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("event_type", event("reopened", vault_updates=[CARD])),
        ("event_type", event("", vault_updates=[CARD]) | {"event_type": "updated_cards"}),
        ("event_body", event("closedaccount", vault_updated_cards=[CARD])),
        ("event_body", event("closedaccount")),
        ("vault_updates", event("closedaccount", vault_updates=CARD)),
        ("event_body.merchant", event("closedaccount", vault_updates=[CARD], merchant=None)),
        ("event_body.merchant.id", event("closedaccount", vault_updates=[CARD], merchant={"name": "Shop"})),
        (
            "event_body.vault_updated_cards.cc_exp",
            event("automaticallyupdated", vault_updated_cards=[{**CARD, "cc_exp": "1/x"}]),
        ),
        ("event_body.updated_date", event("closedaccount", vault_updates=[CARD], updated_date="20.11.")),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("nmi", broken).startswith(f"{field}: ")


@pytest.mark.parametrize("of", ["vault", "recurring"])
def test_another_number_may_come_without_an_expiry_and_another_expiry_may_not(of: str) -> None:
    card = CARD | {"cc_exp": ""}
    report = update("nmi", event("automaticallyupdated", **{f"{of}_updated_cards": [card]}))
    assert (report.new.details, report.new.expiry) == ({"last4": "0009"}, None)
    array = f"{of}_updated_expiration_dates"
    broken = event("automaticallyupdated", **{array: [card]})
    assert refusal("nmi", broken).startswith(f"event_body.{array}.cc_exp: ")


def test_an_array_without_cards_is_no_part_beside_one_with_cards() -> None:
    whole = event("automaticallyupdated", vault_updated_cards=[CARD], recurring_updated_cards=[])
    (part,) = parts(FEEDS["nmi"], whole)
    assert part["event_body"]["vault_updated_cards"] == [CARD]


def test_an_event_without_an_id_is_refused_by_its_name() -> None:
    broken = event("closedaccount", vault_updates=[CARD]) | {"event_id": ""}
    assert refusal("nmi", broken).startswith("event_id: ")
