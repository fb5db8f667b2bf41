"""One name for each card brand: by an equal one the same reissue is recognised where two vendors tell of it."""

from itertools import permutations
from typing import Any

import pytest

from domain.settle import Replaced, settle
from domain.update import Update
from schemas.feeds.card import dialect
from schemas.feeds.feed import Refused, brand
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


@pytest.mark.parametrize(("name", "written"), [(name, each) for name, all_ in WRITTEN.items() for each in all_])
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
    said = {"oldAccountNumber": OLD, "newAccountNumber": new, "newExpirationDate": "1129"}
    return update("abu-push", said | {"reasonIdentifier": "A", "eventDateTime": AT})


def spreedly(card_type: str) -> Update:
    card = {"token": "pm1", "card_type": card_type, "month": 11, "year": 2029, "fingerprint": "fp"}
    card["last_four_digits"] = "3222" if card_type == "master" else "1881"
    said = {"token": "t1", "created_at": AT, "succeeded": True, "transaction_type": "ReplacePaymentMethod"}
    return update("spreedly", said | {"payment_method": card})


def vgs(**number: str) -> Update:
    details = {"card_id": "card_1", "card_last4": "1881", "old_account_number": "tok_old", **number}
    details |= {"new_account_number": "tok_new", "new_expiration_date": "1129", "occurred_at": AT}
    return update("vgs", {"id": "evt_1", "event": "cmp_au_card.updated", "details": details})


def source_updated(**card: Any) -> Update:
    data = {"id": "src_1", "last4": "1881", "expiry_month": 11, "expiry_year": 2029, "fingerprint": "fpB", **card}
    said = {"id": "evt_1", "type": "source_updated", "created_on": AT}
    return update("checkout", said | {"data": data | {"previous_attributes": {"fingerprint": "fpA"}}})


TOLD_BY_TWO = {
    "spreedly's master": (network("2223003122003222"), spreedly("master")),
    "vgs by its bin": (network(), vgs(card_bin="401288")),
    "vgs by its first eight": (network(), vgs(card_first8="40128888")),
    "source_updated by its bin": (network(), source_updated(bin="401288")),
    "source_updated by its scheme": (network(), source_updated(scheme="Visa")),
}


@pytest.mark.parametrize("told", TOLD_BY_TWO.values(), ids=TOLD_BY_TWO)
def test_the_same_reissue_told_by_two_is_one(told: tuple[Update, Update]) -> None:
    held = method(fingerprint(OLD), "spreedly:pm1", "vgs:card_1", "checkout:src_1")
    for first, second in permutations(told):
        before = wallet(held, links=[link(held.id)])
        once = settle(before, knowledge(first), Ids())
        assert len(once.changes) == 1
        twice = settle(once.wallet, knowledge(first, second), Ids())
        assert [each for each in twice.changes if isinstance(each, Replaced)] == []


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
