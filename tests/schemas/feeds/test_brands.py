"""One name for each card brand: by an equal one the same reissue is recognised where two vendors tell of it."""

from itertools import permutations
from typing import Any

import pytest

from domain.brands import BRANDS, Brand
from domain.refusal import Refused
from domain.resolve import Replaced, resolve
from domain.update import Update
from schemas.feeds.card import brand_of, dialect
from schemas.feeds.fields import brand
from tests.domain.build import Ids, knowledge, link, method, wallet
from tests.schemas.feeds.reading import fingerprint, refusal, update

WRITTEN = {
    "VISA": [
        *("visa", "Visa", "VISA", "V", "VI", "001", "visa_applepay", "visa_googlepay", "Visa Apple Pay"),
        *("visastandarddebit", "visasuperpremiumcredit", "visadankort", "Visa Electron", "electron", "vpay", "033"),
    ],
    "MASTERCARD": [
        *("mastercard", "MasterCard", "Master Card", "master_card", "master", "MC", "M", "002", "mc_googlepay"),
        *("mcstandardcredit", "mc_samsungpay", "Mastercard Debit"),
    ],
    "AMEX": ["amex", "AX", "american-express", "american_express", "American Express", "003", "amex_amazonpay"],
    "DISCOVER": ["discover", "DI", "D", "disc", "Discover Card", "004", "discover_applepay"],
    "DINERS": ["diners", "diners_club", "Diners Club", "Diners Club International", "DC", "005", "diners_applepay"],
    "JCB": ["jcb", "JC", "007", "jcbcredit"],
    "MAESTRO": ["maestro", "UK Maestro", "maestro_applepay", "mcmaestro", "024", "042"],
    "UNIONPAY": ["unionpay", "UnionPay", "union-pay", "China UnionPay", "china union pay", "cup", "cupdebit", "062"],
    "ELO": ["elo", "Elo", "elo_applepay"],
    "CARTES BANCAIRES": ["cartes_bancaires", "Cartes Bancaires", "cartes-bancaires"],
    "MADA": ["mada", "mada_google_pay"],
}


@pytest.mark.parametrize(("name", "written"), [(name, spelling) for name, all_ in WRITTEN.items() for spelling in all_])
def test_a_brand_has_one_name_however_it_is_written(name: str, written: str) -> None:
    assert brand(written) == brand(f" {written.upper()} ") == name


@pytest.mark.parametrize("written", [None, "", " ", "-", "__", "unknown", "Unknown"])
def test_no_brand_is_none(written: str | None) -> None:
    assert brand(written) is None


@pytest.mark.parametrize("written", ["applepay", "visa?", "x" * 300, "v" * 300, "📇"])
def test_anything_else_is_some_brand(written: str) -> None:
    assert brand(written)


def test_whose_codes_they_are_is_read_in_every_spelling_and_others_are_refused() -> None:
    tables: dict[str, Any] = {"VISA": {}, "MASTERCARD": {}}
    assert dialect(tables, "master", "brand") is tables["MASTERCARD"]
    with pytest.raises(Refused, match=r"^brand: expected VISA or MASTERCARD$"):
        dialect(tables, "unknown", "brand")


# --- the same reissue, told by two --------------------------------------------------------------------------------

OLD, NEW = "4111111111111111", "4012888888881881"
AT = "2026-11-20T09:14:13Z"


def network(new: str = NEW) -> Update:
    record = {"oldAccountNumber": OLD, "newAccountNumber": new, "newExpirationDate": "1129"}
    return update("abu-push", record | {"reasonIdentifier": "A", "eventDateTime": AT})


def spreedly(card_type: str) -> Update:
    card = {"token": "pm1", "card_type": card_type, "month": 11, "year": 2029, "fingerprint": "fp"}
    card["last_four_digits"] = "3222" if card_type == "master" else "1881"
    record = {"token": "t1", "created_at": AT, "succeeded": True, "transaction_type": "ReplacePaymentMethod"}
    return update("spreedly", record | {"payment_method": card})


def vgs(**number: str) -> Update:
    details = {"card_id": "card_1", "card_last4": "1881", "old_account_number": "tok_old", **number}
    details |= {"new_account_number": "tok_new", "new_expiration_date": "1129", "occurred_at": AT}
    return update("vgs", {"id": "evt_1", "event": "cmp_au_card.updated", "details": details})


def source_updated(**card: Any) -> Update:
    data = {"id": "src_1", "last4": "1881", "expiry_month": 11, "expiry_year": 2029, "fingerprint": "fpB", **card}
    record = {"id": "evt_1", "type": "source_updated", "created_on": AT}
    return update("checkout", record | {"data": data | {"previous_attributes": {"fingerprint": "fpA"}}})


REPORTED_BY_TWO = {
    "spreedly's master": (network("2223003122003222"), spreedly("master")),
    "vgs by its bin": (network(), vgs(card_bin="401288")),
    "vgs by its first eight": (network(), vgs(card_first8="40128888")),
    "source_updated by its bin": (network(), source_updated(bin="401288")),
    "source_updated by its scheme": (network(), source_updated(scheme="Visa")),
}


@pytest.mark.parametrize("reports", REPORTED_BY_TWO.values(), ids=REPORTED_BY_TWO)
def test_the_same_reissue_told_by_two_is_one(reports: tuple[Update, Update]) -> None:
    held = method(fingerprint(OLD), "spreedly:pm1", "vgs:card_1", "checkout:src_1")
    for first, second in permutations(reports):
        before = wallet(held, links=[link(held.id)])
        once = resolve(before, knowledge(first), Ids())
        assert len(once.changes) == 1
        twice = resolve(once.wallet, knowledge(first, second), Ids())
        assert [change for change in twice.changes if isinstance(change, Replaced)] == []


def test_another_brand_of_a_source_is_said_where_its_scheme_is() -> None:
    assert source_updated(scheme="mastercard", bin="401288").new.brand == "MASTERCARD"
    assert source_updated(bin="999999").new.brand is None
    assert source_updated().new.brand is None


def test_cybersources_card_types_are_brands() -> None:
    now = {"response": "NAN", "reason": "800", "cardNumber": "222300XXXXXX3222", "cardType": "002"}
    assert update(
        "cybersource", {"sourceRecord": {"token": "t", "cardType": "001"}, "responseRecord": now}
    ).new.details == {
        "last4": "3222",
        "brand": "MASTERCARD",
    }


def test_paysafe_and_tabapay_know_whose_codes_they_are_in_other_spellings() -> None:
    row = {"Card Number": OLD, "Decision Code": "C"}
    assert update("paysafe", row | {"Card Type": "visa_debit"}) == update("paysafe", row | {"Card Type": "VI"})
    assert refusal("paysafe", row | {"Card Type": "unknown"}) == "Card Type: expected VISA or MASTERCARD"


# --- how the numbers of a brand begin -----------------------------------------------------------------------------

BEGINS = {
    "VISA": ["4", "40", "4000", "4999", "4111111111111111"],
    "MASTERCARD": [
        *("51", "5100", "52", "53", "54", "55", "5599", "5100000000000000", "5599999999999999"),
        *("2221", "222100", "2222", "2229", "2230", "2299", "2300", "2399", "2400", "2499", "2500", "2599", "2600"),
        *("2699", "2700", "2709", "2710", "2719", "2720", "272099", "2221000000000000", "2720999999999999"),
    ],
    "AMEX": ["34", "3400", "3499", "37", "3700", "3799", "340000000000009", "379999999999999"],
    "DISCOVER": [
        "6011",
        "601100",
        "601199",
        "644",
        "6440",
        "645",
        "646",
        "647",
        "648",
        "649",
        "6499",
        "65",
        "6500",
        "6599",
    ],
    None: [
        *("", "1", "10", "30", "3000", "33", "3399", "35", "3528", "3599", "36", "3600", "3699", "38", "39", "5", "50"),
        *(
            "5000",
            "5099",
            "56",
            "5600",
            "5699",
            "57",
            "59",
            "2",
            "22",
            "222",
            "2200",
            "2220",
            "222099",
            "2721",
            "272100",
        ),
        *(
            "2729",
            "2730",
            "2799",
            "28",
            "2800",
            "21",
            "60",
            "601",
            "6010",
            "601099",
            "6012",
            "601200",
            "6019",
            "62",
            "64",
        ),
        *("62", "64", "640", "643", "6439", "66", "6600", "7", "8", "9", "0000", "unknown", "272"),
    ],
}


@pytest.mark.parametrize(("brand_", "digits"), [(name, digits) for name, all_ in BEGINS.items() for digits in all_])
def test_every_boundary_of_every_range(brand_: str | None, digits: str) -> None:
    assert brand_of(digits) == brand_
    assert brand_of(" ".join(digits)) == brand_


def test_every_number_of_mastercards_second_range_and_none_beside_it() -> None:
    assert [four for four in range(2000, 3000) if brand_of(str(four)) == "MASTERCARD"] == [*range(2221, 2721)]
    assert {brand_of(f"{four}00") for four in (2220, 2721)} == {None}


@pytest.mark.parametrize("known", BRANDS, ids=lambda known: f"{known.name} {known.begins}")
def test_only_brands_that_have_an_account_updater_are_told_by_a_number(known: Brand) -> None:
    first = known.begins.split()[0].partition("-")[0]
    number = first.ljust(known.lengths[0], "0")
    has_updater = known.name in {"VISA", "MASTERCARD", "AMEX", "DISCOVER"}
    assert brand_of(number) == (known.name if has_updater else None)
