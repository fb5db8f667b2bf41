"""One card twice in a wallet's file is one payment method afterwards, as re-adding it would have it."""

import pytest

from domain.doubles import REASON, AnotherAccount, join
from domain.wallet import Details, Expiry, LinkStatus, MethodStatus, MethodType, Wallet
from tests.domain.build import key, link, method, paid_with, removed, wallet


def ids(of: Wallet) -> list[str]:
    return [each.id for each in of.live_methods]


def test_links_and_flags_move_to_the_first_and_what_was_told_last_counts() -> None:
    first = method("A", ":fp", details=Details("1234", "VISA", Expiry(2027, 1), "Old Name", "1"), nickname="old")
    again = method(
        "B", ":fp", details=Details("1234", None, Expiry(2026, 1), "New Name", None), nickname="new",
        default=True, subscription_default=True, par="P",
    )  # fmt: skip
    links = [
        link("m-B", id="moves"),
        link("m-B", id="paused", status=LinkStatus.PAUSED),
        link("m-B", id="stays", status=LinkStatus.CANCELLED),
        link("m-A", id="own"),
    ]
    joined = join(wallet(first, again, links=links))
    assert joined.into == {"m-B": "m-A"}
    (kept,) = joined.wallet.live_methods
    assert kept.keys == {key("A"), key("B"), ":fp"}
    assert kept.details == Details("1234", "VISA", Expiry(2027, 1), "New Name", "1")
    assert (kept.nickname, kept.par, kept.default, kept.subscription_default) == ("new", "P", True, True)
    assert {each.id: paid_with(joined.wallet, each.id) for each in links} == {
        "moves": "m-A", "paused": "m-A", "stays": "m-B", "own": "m-A",
    }  # fmt: skip
    (tombstone,) = (each for each in joined.wallet.methods if not each.live)
    assert (tombstone.id, tombstone.status, tombstone.replaced_by, tombstone.deleted_reason) == (
        "m-B", MethodStatus.DELETED, "m-A", REASON,
    )  # fmt: skip
    assert not tombstone.default


def test_of_a_bank_account_the_type_and_the_name_told_last_count() -> None:
    account = MethodType.BANK_ACCOUNT
    first = method("A", type=account, details=Details(account_type="CHECKING", bank_name="B", holder_name="x"))
    again = method("A", id="again", type=account, details=Details(account_type="SAVINGS", bank_name="C"))
    (kept,) = join(wallet(first, again)).wallet.live_methods
    assert kept.details == Details(account_type="SAVINGS", bank_name="B", holder_name="x")


def test_three_that_only_the_last_shows_to_be_one_are_joined_with_the_first() -> None:
    joined = join(wallet(method("A"), method(":fp"), method("C"), method("A", ":fp", id="both")))
    assert ids(joined.wallet) == ["m-A", "m-C"]
    assert joined.into == {"m-:fp": "m-A", "both": "m-A"}


def test_a_joined_card_keeps_its_place_so_that_what_joins_two_cards_leaves_the_first_of_all() -> None:
    joined = join(wallet(method("A"), method("B"), method("A", id="again"), method("A", "B", id="both")))
    assert ids(joined.wallet) == ["m-A"]
    assert joined.into == {"again": "m-A", "m-B": "m-A", "both": "m-A"}


def test_another_type_or_a_removed_method_is_no_double() -> None:
    alone = wallet(method("A"), method("A", id="bank", type=MethodType.BANK_ACCOUNT), removed("A", id="gone"))
    assert join(alone) == (alone, {})


def test_two_accounts_under_one_credential_are_not_joined() -> None:
    with pytest.raises(AnotherAccount) as refused:
        join(wallet(method("A", par="P1"), method("A", id="again", par="P2")))
    assert (refused.value.method, refused.value.like) == ("again", "m-A")


@pytest.mark.parametrize(("first", "again"), [("P1", "P1"), ("P1", None), (None, "P1")])
def test_doubles_whose_account_is_the_same_or_not_known_are_joined(first: str | None, again: str | None) -> None:
    (kept,) = join(wallet(method("A", par=first), method("A", id="again", par=again))).wallet.live_methods
    assert (kept.id, kept.par) == ("m-A", "P1")


@pytest.mark.parametrize(
    ("first", "again", "kept"),
    [
        (Details(expiry=Expiry(2027, 1)), Details(expiry=Expiry(2028, 1)), Details(expiry=Expiry(2028, 1))),
        (Details(), Details(expiry=Expiry(2028, 1)), Details(expiry=Expiry(2028, 1))),
        (Details("1111", "VISA"), Details("2222", "MC"), Details("1111", "VISA")),
        (Details(), Details("2222", "MC"), Details("2222", "MC")),
        (Details(zip_code="1"), Details(zip_code="2"), Details(zip_code="2")),
        (Details(manufacturer_card=False), Details(manufacturer_card=True), Details(manufacturer_card=False)),
        (Details(), Details(manufacturer_card=True), Details(manufacturer_card=True)),
        (Details(), Details(bank_name="C"), Details(bank_name="C")),
    ],
)
def test_of_two_doubles_each_detail_is_kept_by_its_own_rule(first: Details, again: Details, kept: Details) -> None:
    (joined,) = join(wallet(method("A", details=first), method("A", id="again", details=again))).wallet.live_methods
    assert joined.details == kept


def test_joining_again_joins_nothing_more() -> None:
    once = join(wallet(method("A"), method("A", id="again"))).wallet
    assert join(once) == (once, {})


def test_extra_details_of_the_first_method_stay_and_those_that_it_lacks_are_added() -> None:
    first = method("A", ":fp", details=Details(extra={"color": "red"}))
    again = method("B", ":fp", details=Details(extra={"color": "blue", "chip": True}))
    (kept,) = join(wallet(first, again)).wallet.live_methods
    assert kept.details.extra == {"color": "red", "chip": True}


@pytest.mark.parametrize("flag", ["default", "subscription_default"])
@pytest.mark.parametrize("holder", [0, 1, 2])
def test_each_flag_of_the_doubles_is_held_by_the_one_that_stays(flag: str, holder: int) -> None:
    flags = [{flag: True} if number == holder else {} for number in range(3)]
    methods = [method("A", f"vau:{number}", id=f"m-{number}", **of) for number, of in enumerate(flags)]  # type: ignore[arg-type]

    kept, *doubles = join(wallet(*methods)).wallet.methods

    assert (kept.default, kept.subscription_default) == (flag == "default", flag == "subscription_default")
    assert not any(double.default or double.subscription_default for double in doubles)
