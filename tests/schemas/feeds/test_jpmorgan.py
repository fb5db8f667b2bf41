"""JPMorgan's report, word by word, and every oddity of the file that JPMorgan shows."""

import csv
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import EDGE, refusal, update
from tests.schemas.feeds.test_every_feed import SAMPLES

LETTERS = {"NEW_ACCOUNT": "A", "NEW_ACCOUNT_AND_EXPIRY": "A", "NEW_EXPIRY": "E"}
CARD = Credential("jpmorgan:pm-1")


def row(word: str, letter: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "Record Type": "ACP-02 ",
        "Payment Method Id": "pm-1",
        "Submitted Date": "3/17/2025",
        "Response ID": "0d7c1c2e-55aa-4a10-9a8e-6f1f0f3a0001",
        "Payment Brand": "VI",
        "Payment Brand Change": "N",
        "Merchant Record Identifier": "",
        "Submitted Account Number": "411111******1111",
        "Submitted Expiry": "1040",
        "New Masked Account": "401288******1881" if "ACCOUNT" in word else "",
        "New Expiry": "329" if "EXPIRY" in word else "",
        "Reason Message": word,
        "Network Response": letter or LETTERS[word],
        "Request Status": "REGISTER",
    } | changes


@pytest.mark.parametrize(
    "word", ["NEW_ACCOUNT_AND_EXPIRY", "Account Update provided for both account number and expiry"]
)
def test_a_new_account_and_expiry_are_told_of_the_id_that_stays(word: str) -> None:
    report = update("jpmorgan", row("NEW_ACCOUNT_AND_EXPIRY", **{"Reason Message": word}))
    assert (report.type, report.old, report.new.credential) == (UpdateType.NUMBER_REPLACED, CARD, CARD)
    assert report.new.details == {"last4": "1881", "brand": "VISA"}
    assert report.new.expiry == Expiry(2029, 3)
    assert report.stamp.occurred_at == datetime(2025, 3, 17, tzinfo=UTC)


@pytest.mark.parametrize("word", ["NEW_ACCOUNT", "Account Update provided for Account Number"])
def test_an_expiry_that_is_blank_stays_as_the_wallet_has_it(word: str) -> None:
    report = update("jpmorgan", row("NEW_ACCOUNT", **{"Reason Message": word}))
    assert (report.new.details["last4"], report.new.expiry) == ("1881", None)


@pytest.mark.parametrize("word", ["NEW_EXPIRY", "Account Update provided for Account Expiry"])
def test_a_new_expiry_is_read_without_its_leading_zero(word: str) -> None:
    report = update("jpmorgan", row("NEW_EXPIRY", **{"Reason Message": word}))
    assert (report.type, report.new.credential, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, None, Expiry(2029, 3))


@pytest.mark.parametrize(
    ("word", "letter", "type_"),
    [
        ("CLOSED_ACCOUNT", "C", UpdateType.CLOSED),
        ("Account has been closed", "C", UpdateType.CLOSED),
        ("CONTACT_CARDHOLDER", "Q", UpdateType.CONTACT_CARDHOLDER),
        ("Contact Cardholder", "Q", UpdateType.CONTACT_CARDHOLDER),
        ("CARDHOLDER_OPT_OUT", "O", UpdateType.OPTED_OUT),
        ("MATCH_NO_UPDATE", "V", UpdateType.NO_CHANGE),
        ("PROVIDED_EXPIRY_NEWER", "V", UpdateType.NO_CHANGE),
        ("NO_MATCH_PARTICIPATING_BIN", "P", UpdateType.NO_MATCH),
        ("NO_MATCH_NON_PARTICIPATING_BIN", "N", UpdateType.NO_MATCH),
        ("ISSUER_NOT_PARTICIPATING", "N", UpdateType.NO_MATCH),
    ],
)
def test_every_other_word_says_nothing_of_a_new_card(word: str, letter: str, type_: UpdateType) -> None:
    report = update("jpmorgan", row(word, letter))
    assert (report.type, report.old, report.new.credential) == (type_, CARD, None)


@pytest.mark.parametrize(
    ("number", "changed", "brand"),
    [
        # the first digits of the new number name its brand
        ("555555******4444", "N", "MASTERCARD"),
        ("555555******4444", "Y", "MASTERCARD"),
        # without them, the former brand stays if it has not changed
        ("************4444", "N", "VISA"),
        ("************4444", "Y", None),
    ],
)
def test_the_brand_of_a_new_number_is_its_own_or_the_one_that_stays(
    number: str, changed: str, brand: str | None
) -> None:
    report = update("jpmorgan", row("NEW_ACCOUNT", **{"New Masked Account": number, "Payment Brand Change": changed}))
    assert (report.new.brand, report.new.details.get("brand"), report.new.last4) == (brand, brand, "4444")


def test_a_number_that_stays_under_a_is_no_other_card() -> None:
    report = update("jpmorgan", row("NEW_ACCOUNT", **{"Submitted Account Number": "401288******1881"}))
    assert report.old == report.new.credential == CARD


def test_copies_say_the_same_under_ids_of_their_own() -> None:
    first, copy = (update("jpmorgan", row("NEW_ACCOUNT", **{"Response ID": id_})) for id_ in ("r-1", "r-2"))
    assert (first.stamp.update_id, copy.stamp.update_id) == ("r-1.0", "r-2.0")
    assert (first.old, first.new, first.stamp.occurred_at) == (copy.old, copy.new, copy.stamp.occurred_at)


def test_rows_of_one_day_are_in_the_order_of_the_report() -> None:
    first, second = (update("jpmorgan", row("NEW_ACCOUNT"), EDGE.at_row(number)) for number in (7, 1_000_000))
    assert first.stamp.occurred_at < second.stamp.occurred_at
    assert first.stamp.update_id != second.stamp.update_id


def test_the_merchants_own_identifier_serves_where_there_is_no_other() -> None:
    report = update("jpmorgan", row("NEW_ACCOUNT", **{"Payment Method Id": "", "Merchant Record Identifier": "cust-1"}))
    assert report.old == Credential("jpmorgan:merchant/cust-1")


def test_the_merchants_own_identifier_is_no_payment_method_id() -> None:
    own = update("jpmorgan", row("NEW_ACCOUNT", **{"Payment Method Id": "", "Merchant Record Identifier": "pm-1"}))
    assert own.old != update("jpmorgan", row("NEW_ACCOUNT")).old == CARD


def test_a_masked_number_alone_names_no_card() -> None:
    assert refusal("jpmorgan", row("NEW_ACCOUNT", **{"Payment Method Id": ""})).startswith("Payment Method Id: ")


def test_a_row_may_end_before_its_last_column() -> None:
    short = row("NEW_ACCOUNT")
    del short["Request Status"]
    assert update("jpmorgan", short).type is UpdateType.NUMBER_REPLACED


def test_a_row_that_slipped_by_a_column_is_refused_wherever_it_did() -> None:
    whole = row("NEW_ACCOUNT_AND_EXPIRY")
    names = list(whole)
    for missing in range(names.index("Request Status")):
        cells = [value for name, value in whole.items() if name != names[missing]]
        assert refusal("jpmorgan", dict(zip(names, cells, strict=False)))


def test_a_response_that_is_no_letter_of_visas_does_no_harm_where_nothing_changed() -> None:
    assert update("jpmorgan", row("PROVIDED_EXPIRY_NEWER", "VAU013")).type is UpdateType.NO_CHANGE
    assert refusal("jpmorgan", row("CLOSED_ACCOUNT", "VAU013")).startswith("Network Response: ")


@pytest.mark.parametrize("word", ["PORTFOLIO_CONVERSION", "Something else", "", "4111111111111111"])
def test_a_word_of_unknown_meaning_is_refused(word: str) -> None:
    reason = refusal("jpmorgan", row("NEW_ACCOUNT", **{"Reason Message": word}))
    assert reason.startswith("Reason Message: ")
    assert "4111111111111111" not in reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Record Type": "ACP-01"}, "Record Type"),
        ({"Network Response": "C"}, "Network Response"),
        ({"Network Response": ""}, "Network Response"),
        ({"New Masked Account": ""}, "New Masked Account"),
        ({"New Masked Account": "401288******"}, "New Masked Account"),
        ({"New Masked Account": "000000******0000"}, "New Masked Account"),
        ({"New Expiry": "1399"}, "New Expiry"),
        ({"Submitted Date": "17/3/2025"}, "Submitted Date"),
        ({"Payment Brand Change": ""}, "Payment Brand Change"),
        ({None: ["one more"]}, "Payment Brand Change"),
    ],
)
def test_a_broken_field_is_named(changes: dict[Any, Any], field: str) -> None:
    assert refusal("jpmorgan", row("NEW_ACCOUNT") | changes).startswith(f"{field}: ")


def test_a_day_that_no_row_can_come_after_is_refused() -> None:
    last = row("NEW_ACCOUNT", **{"Submitted Date": "9999-12-31T23:59:59.999999"})
    assert refusal("jpmorgan", last, EDGE.at_row(1)).startswith("Submitted Date: ")


def test_a_new_expiry_is_needed_where_one_is_told() -> None:
    assert refusal("jpmorgan", row("NEW_EXPIRY", **{"New Expiry": ""})).startswith("New Expiry: ")


def other_row() -> dict[str, Any]:
    return {
        "Account Number": "401288******1881",
        "Account Updater Status Message Text": "NEW_ACCOUNT_AND_EXPIRY",
        "Card Brand Changed Indicator": "N",
        "Card Expiration Month Year Number": "329",
        "Merchant Provided Account Update Identifier": "",
        "Network Account Update Response Code": "A",
        "Old Account Number": "411111******1111",
        "Old Card Expiration Month Year Number": "922",
        "Payment Method Code": "VI",
        "Payment Method Id": "pm-1",
        "Transaction Identifier": "0d7c1c2e-55aa-4a10-9a8e-6f1f0f3a0001",
        "Transaction Timestamp": "3/17/2025",
    }


def test_the_other_report_says_the_same_under_other_names() -> None:
    record = other_row()
    assert update("jpmorgan", record) == update("jpmorgan", row("NEW_ACCOUNT_AND_EXPIRY"))
    assert refusal("jpmorgan", record | {"Account Number": ""}).startswith("Account Number: ")
    assert refusal("jpmorgan", record | {"Payment Method Id": ""}).startswith("Payment Method Id: ")


def test_a_row_of_the_other_report_may_lack_no_column() -> None:
    short = other_row()
    del short["Transaction Timestamp"]
    assert refusal("jpmorgan", short).startswith("Transaction Timestamp: ")


def test_every_row_of_the_other_reports_sample_is_read() -> None:
    with (SAMPLES / "jpmorgan-account-update.csv").open(encoding="utf-8", newline="") as sample:
        reports = [update("jpmorgan", row) for row in csv.DictReader(sample.readlines()[2:-1])]
    assert [(report.old, report.type) for report in reports] == [
        (Credential("jpmorgan:pm-0101"), UpdateType.NUMBER_REPLACED),
        (Credential("jpmorgan:merchant/cust-0102"), UpdateType.NUMBER_REPLACED),
        (Credential("jpmorgan:pm-0103"), UpdateType.EXPIRY_UPDATED),
        (Credential("jpmorgan:pm-0104"), UpdateType.CONTACT_CARDHOLDER),
        (Credential("jpmorgan:pm-0105"), UpdateType.CLOSED),
    ]
    assert reports[0].stamp.occurred_at == datetime(2026, 11, 19, tzinfo=UTC)


def test_a_row_is_named_by_its_response_and_place_only_where_it_has_a_day() -> None:
    response = "0d7c1c2e-55aa-4a10-9a8e-6f1f0f3a0001"
    named, undated, nameless = (
        update("jpmorgan", row("NEW_EXPIRY", **changes), EDGE.at_row(7)).stamp.update_id
        for changes in ({}, {"Submitted Date": ""}, {"Response ID": ""})
    )
    assert named == f"{response}.7"
    assert not {undated, nameless} & {named, "None", "None.7", ".7"}
