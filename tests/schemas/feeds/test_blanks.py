"""What has no value in any feed: a field that is missing, blank, or filled with zeros is read in one way."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from domain.refusal import Refused
from domain.update import Credential, UpdateType
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Layout
from schemas.feeds.fields import epoch, expiry, last4
from schemas.feeds.reading import read_answer, reports
from schemas.feeds.record import is_blank
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, refusal, update
from tests.schemas.feeds.test_every_feed import fetches, places, samples, thin_feed

BLANKS = ("", " ", "        ", "\x00\x00\x00\x00")
ZEROS = (0, "0", "00", "0000", "00000000", "0000000000000000", "00/00", "00/0000", "0000-00-00")

# Where zeros say something: the last four digits of a card.
LAST4 = {
    "last4", "New Last 4", "Original Last 4", "new_last4", "fpanSuffix", "accountPanSuffix", "card_last4", "cc_number",
    "last_four_digits", "cardSummary", "suffix", "lastFour", "New Card Number", "New Masked Account", "Account Number",
    "cardNumber",
}  # fmt: skip
# A blank is a code of Mastercard's batch files, and says that nothing changed.
CODES = {"responseCode", "Response Code", "Decision Code", "Network Code"}


# Ids that a merchant chose, of which 0 may be one.
NUMBERED = {
    "customer_vault_id", "billing_id", "subscription_id", "id", "Customer Code", "Account ID", "Payment Method Id",
    "Merchant Record Identifier", "Merchant Provided Account Update Identifier",
}  # fmt: skip


def is_compared(feed: Feed, key: str, form: object) -> bool:
    if key in LAST4 and str(form) in {"0", "00", "0000"}:
        return False
    if key in NUMBERED and str(form) == "0":
        return False
    return not (key in CODES and any(code.code == "" for code in feed.codes))


def outcome(read: Callable[[Any], object], record: Any) -> object:
    try:
        return read(record)
    except Refused:
        return "refused"


def differing(feed: Feed, record: Any, read: Callable[[Any], object], forms: tuple[object, ...]) -> list[Any]:
    """The fields of `record`, with the forms in them, that are not read as if the field were null."""
    differences = []
    for place, key in list(places(record)):
        was, place[key] = place[key], None
        expected = outcome(read, record)
        for form in forms:
            place[key] = form
            if is_compared(feed, str(key), form) and outcome(read, record) != expected:
                differences.append((key, form))
        place[key] = was
    return differences


BLANK_FORMS = pytest.mark.parametrize("forms", [BLANKS, ZEROS], ids=["blanks", "zeros"])


@BLANK_FORMS
@pytest.mark.parametrize(
    "feed", [feed for feed in FEEDS.values() if feed.layout is not Layout.ACH], ids=lambda feed: feed.name
)
def test_a_field_that_is_blank_or_filled_with_zeros_is_read_as_one_that_is_null(
    feed: Feed, forms: tuple[object, ...]
) -> None:
    for record in samples(feed):
        # Google's, handed on as it came to the program that verifies it
        record.pop("intermediateSigningKey", None)
        assert differing(feed, copy.deepcopy(record), lambda changed: reports(feed, changed, EDGE), forms) == []


@BLANK_FORMS
@thin_feed
def test_so_is_a_field_of_an_answer(feed: Feed, forms: tuple[object, ...]) -> None:
    (fetch, *_), answer = fetches(feed), copy.deepcopy(ANSWERS[feed.name])
    assert differing(feed, answer, lambda changed: read_answer(feed, fetch, changed, EDGE), forms) == []


@pytest.mark.parametrize(
    "value", [None, "", " ", "\u00a0", "\x00", 0, 0.0, "0", "000", "00/00", "0000-00-00", "0.0", "--"]
)
def test_what_has_no_value(value: object) -> None:
    assert is_blank(value)


@pytest.mark.parametrize("value", ["1", "0001", "x", False, True, [], {}, 0.5, -1, "N/A", "00:00", ["4111"]])
def test_what_has_one(value: object) -> None:
    assert not is_blank(value)


@pytest.mark.parametrize(("month", "year"), [(0, 0), ("00", "0000"), ("0", ""), (None, 0), (" ", "00"), ("00", None)])
def test_a_month_and_a_year_without_values_are_no_expiry(month: object, year: object) -> None:
    assert expiry(month, year, "exp") == {}


@pytest.mark.parametrize(
    ("month", "year"),
    [(0, 2029), ("00", "29"), (12, 0), ("12", "0000"), (12, None), (None, 2029), (12.0, 2029), ([1], 29)],
)
def test_half_an_expiry_or_what_is_no_number_is_refused(month: object, year: object) -> None:
    with pytest.raises(Refused, match=r"^exp: expected a month and a year$|^exp: required$"):
        expiry(month, year, "exp")


def test_four_zeros_may_be_the_last_digits_of_a_card_and_more_of_them_are_a_blank() -> None:
    assert [last4(shown) for shown in ("0000", "XXXXXXXXXXXX0000", "4000********0000")] == ["0000"] * 3
    assert [last4(shown) for shown in ("00000000", "0000000000000000", "0000********0000")] == [None] * 3


def test_a_moment_of_zero_is_none() -> None:
    with pytest.raises(Refused, match=r"^created: required$"):
        epoch(0, "created")


def test_a_customer_may_be_number_0_and_a_row_of_zeros_is_none() -> None:
    body = {"updated_date": "2026-11-20", "merchant": {"id": 1}, "vault_updates": [{"customer_vault_id": "0"}]}
    event = {"event_id": "e-1", "event_type": "acu.summary.closedaccount", "event_body": body}
    assert update("nmi", event).old == Credential("nmi:1/0")
    body["vault_updates"] = [{"customer_vault_id": "0000000000"}]
    assert refusal("nmi", event) == "event_body.vault_updates.customer_vault_id: required"


# --- as vendors were seen to send it ------------------------------------------------------------------------------


def stripe(card: dict[str, Any], was: dict[str, Any]) -> dict[str, Any]:
    about = {"id": "pm_1", "type": "card", "card": {"brand": "visa", "fingerprint": "fpB", "last4": "1881"} | card}
    event = {"id": "evt_1", "object": "event", "api_version": "x", "created": 1763629453}
    event["type"] = "payment_method.automatically_updated"
    return event | {"data": {"object": about, "previous_attributes": {"card": was}}}


def test_a_month_of_zero_at_stripe_is_no_expiry() -> None:
    report = update("stripe", stripe({"exp_month": 0, "exp_year": 0}, {"fingerprint": "fpA"}))
    assert (report.type, report.new.expiry) == (UpdateType.NUMBER_REPLACED, None)
    assert refusal("stripe", stripe({"exp_month": 0, "exp_year": 2029}, {"fingerprint": "fpA"})) == (
        "data.object.card.exp_month: expected a month and a year"
    )


def test_zeros_in_the_columns_of_a_number_and_an_expiry_are_blanks() -> None:
    row = {"Old Card Number": "4111111111111111", "Response Code": "ACL", "New Card Number": "0000000000000000"}
    filled = row | {"New Card Expiration Month": "00", "New Card Expiration Year": "0000"}
    report = update("cybersource", filled)
    assert (report.type, report.new.expiry) == (UpdateType.CLOSED, None)
    replaced = {"Old Card Number": "4111111111111111", "New Card Number": "4012888888881881", "Response Code": "NAN"}
    report = update("cybersource", replaced | {"New Card Expiration Month": "00", "New Card Expiration Year": "0000"})
    assert (report.type, report.new.last4, report.new.expiry) == (UpdateType.NUMBER_REPLACED, "1881", None)


def test_a_reason_for_a_rejection_that_is_zero_is_none() -> None:
    row = {"oldCardholderAccountNumber": "4111111111111111", "serviceIdentifier": "C", "rejectReasonCode": "0"}
    assert update("vau", row | {"previouslySentFlag": "0"}).type is UpdateType.CLOSED


def test_a_number_that_is_no_text_is_not_taken_for_none() -> None:
    """It would tell a new expiry of a card that was replaced."""
    row = {"oldAccountNumber": "5555555555554444", "responseCode": "UPDATE", "newExpirationDate": "1129"}
    assert refusal("abu-batch", row | {"newAccountNumber": 2.223003122003222e15}).startswith("newAccountNumber: ")
