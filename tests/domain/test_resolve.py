"""One test for each scenario that design.md §4 names."""

from itertools import permutations

import pytest

from domain.account import Conflict
from domain.knowledge import Novelty
from domain.resolve import Replaced, Updated, resolve
from domain.update import Reason, Update, UpdateType
from domain.wallet import Details, Expiry, LinkStatus, MethodStatus, MethodType, Wallet
from tests.domain.build import (
    FACT_EXPIRY,
    IMPORTED_EXPIRY,
    Ids,
    at_once,
    key,
    knowledge,
    link,
    live,
    method,
    one_by_one,
    paid_with,
    removed,
    replaced,
    reported,
    stays,
    wallet,
    who,
)


def both_ways(start: Wallet, one: Update, other: Update) -> Wallet:
    """The wallet after both, having seen to it that their order did not matter."""
    after, turned = one_by_one(start, one, other), one_by_one(start, other, one)
    seen = [
        {
            name: (method.status, method.details, method.default, method.subscription_default)
            for name, method in live(end).items()
        }
        for end in (after, turned)
    ]
    assert seen[0] == seen[1]
    return after


# --- the seed's story ------------------------------------------------------------------------------------------------


def test_a_is_replaced_by_b_where_both_are_in_the_wallet() -> None:
    start = wallet(method("A", default=True, subscription_default=True), method("B"), links=[link("m-A"), link("m-B")])

    resolution = at_once(start, replaced("A", "B", on=1, reason=Reason.EXPIRED))

    (change,) = [change for change in resolution.changes if isinstance(change, Replaced)]
    assert (change.old.id, change.new.id, change.reason) == ("m-A", "m-B", Reason.EXPIRED)
    assert [moved.id for moved in change.links] == ["l-m-A"]
    assert change.new == live(resolution.wallet)["B"]
    assert change.new.default
    assert change.new.subscription_default
    assert change.old.status is MethodStatus.DELETED
    assert change.old.replaced_by == "m-B"
    assert change.old.deleted_reason == "EXPIRED"
    assert not change.old.default
    assert {link.method_id for link in resolution.wallet.links} == {"m-B"}


def test_b_is_made_where_the_wallet_does_not_have_it() -> None:
    start = wallet(method("A", default=True), method("Z"), links=[link("m-A")])

    after = at_once(start, replaced("A", "B", on=1, last4="5678", brand="VISA")).wallet

    assert set(live(after)) == {"B", "Z"}
    made = live(after)["B"]
    assert made.id == "made-vau:B"
    assert (made.details.last4, made.details.brand, made.details.expiry) == ("5678", "VISA", FACT_EXPIRY)
    assert made.status is MethodStatus.ACTIVE
    assert made.default
    assert paid_with(after, "l-m-A") == made.id


@pytest.mark.parametrize("kind", [MethodType.BANK_ACCOUNT, MethodType.DIGITAL_WALLET, MethodType.GIFT_CARD])
def test_every_type_of_method_is_replaced_by_one_of_its_type(kind: MethodType) -> None:
    after = at_once(wallet(method("A", type=kind)), replaced("A", "B", on=1)).wallet

    assert [(made.type, made.keys) for made in after.live_methods] == [(kind, frozenset({key("B")}))]


# --- order, chains, forks --------------------------------------------------------------------------------------------


def test_a_chain_told_in_order_ends_at_its_end() -> None:
    start = wallet(method("A"), links=[link("m-A")])

    after = one_by_one(start, replaced("A", "B", on=1), replaced("B", "C", on=2))

    assert set(live(after)) == {"C"}
    assert paid_with(after, "l-m-A") == live(after)["C"].id


def test_a_chain_told_backwards_ends_there_too() -> None:
    start = wallet(method("A"), links=[link("m-A")])

    after = one_by_one(start, replaced("B", "C", on=2), replaced("A", "B", on=1))

    assert set(live(after)) == {"C"}
    assert [old.replaced_by for old in after.methods if old.id == "m-A"] == ["made-vau:C"]


def test_a_late_word_of_an_earlier_link_of_the_chain_changes_nothing() -> None:
    start = wallet(method("B"))
    resolved = one_by_one(start, replaced("B", "C", on=2))

    resolution = at_once(resolved, replaced("B", "C", on=2), replaced("A", "B", on=1))

    assert resolution.wallet is resolved
    assert not resolution.changes


def test_a_late_a_to_b_after_b_to_c_takes_an_a_still_in_the_wallet_to_c() -> None:
    start = wallet(method("A"), method("B"), links=[link("m-A"), link("m-B")])

    after = one_by_one(start, replaced("B", "C", on=2), replaced("A", "B", on=1))

    assert set(live(after)) == {"C"}
    assert {link.method_id for link in after.links} == {live(after)["C"].id}
    assert {old.replaced_by for old in after.methods if not old.live} == {live(after)["C"].id}


def test_of_a_fork_the_later_one_is_current_and_replaces_the_other() -> None:
    start = wallet(method("A", default=True), links=[link("m-A")])

    after = both_ways(start, replaced("A", "B", on=1), replaced("A", "C", on=2))

    assert set(live(after)) == {"C"}
    assert live(after)["C"].default
    assert paid_with(after, "l-m-A") == live(after)["C"].id


def test_a_reversal_brings_a_back_as_a_fresh_method() -> None:
    start = wallet(method("A", default=True), links=[link("m-A")])

    after = both_ways(start, replaced("A", "B", on=1), replaced("B", "A", on=2))

    assert set(live(after)) == {"A"}
    assert live(after)["A"].id != "m-A"
    assert [old.replaced_by for old in after.methods if old.id == "m-A"] == ["made-vau:B"]


def test_two_cards_become_one() -> None:
    start = wallet(method("A"), method("B", default=True), links=[link("m-A"), link("m-B")])

    after = both_ways(start, replaced("A", "C", on=1), replaced("B", "C", on=2))

    assert set(live(after)) == {"C"}
    assert live(after)["C"].default
    assert {link.method_id for link in after.links} == {live(after)["C"].id}


def test_a_to_a_is_no_replacement_but_its_expiry_counts() -> None:
    start = wallet(method("A"))

    resolution = at_once(start, replaced("A", "A", on=1, expiry=Expiry(2031, 3)))

    assert [change.after.details.expiry for change in resolution.changes if isinstance(change, Updated)] == [
        Expiry(2031, 3)
    ]
    assert live(resolution.wallet)["A"].id == "m-A"


def test_a_to_a_told_late_does_not_bring_a_back() -> None:
    after = one_by_one(wallet(method("A")), replaced("A", "B", on=1), replaced("A", ("A", ":fp_A"), on=9))

    assert set(live(after)) == {"B"}


def test_a_new_token_for_the_same_number_is_another_name_of_the_same_method() -> None:
    start = wallet(method("A", ":fp"))

    resolution = at_once(start, replaced(("A", ":fp"), ("A2", ":fp"), on=1, expiry=None))

    assert not resolution.changes
    assert live(resolution.wallet)[":fp A A2"].id == "m-A"


@pytest.mark.parametrize(
    "later",
    [replaced(("A", ":fp"), ("A2", ":fp"), on=9, expiry=None), replaced(":fp", ("A2", ":fp"), on=9, expiry=None)],
    ids=["another token", "a token"],
)
def test_a_later_report_that_names_a_replaced_card_anew_makes_it_current_again(later: Update) -> None:
    """The `new` of the latest fact names the current card, whatever it is called there."""
    start = wallet(method("A", ":fp", default=True), links=[link("m-A")])

    after = both_ways(start, replaced("A", "B", on=1), later)

    (current,) = live(after).values()
    assert "vau:A2" in current.keys
    assert current.default


@pytest.mark.parametrize("told_of", ["B", ":fp_B", "mdes:B"])
def test_what_is_told_of_any_name_of_the_current_card_holds_for_it(told_of: str) -> None:
    """The names are on its method, or in the only fact about it."""
    start = wallet(method("A"), method("B", ":fp_B", "mdes:B"))

    after = both_ways(start, replaced("A", "B", on=1), reported(UpdateType.CLOSED, told_of, on=2))

    assert live(after)[":fp_B B mdes:B"].status is MethodStatus.CLOSED


@pytest.mark.parametrize("told_of", ["A", "A2", ":fp"])
def test_what_is_told_of_a_former_token_of_the_same_number_holds_for_it(told_of: str) -> None:
    renamed = replaced(("A", ":fp"), ("A2", ":fp"), on=1, expiry=None)

    after = both_ways(wallet(method("A")), renamed, reported(UpdateType.CLOSED, told_of, on=2))

    assert live(after)[":fp A A2"].status is MethodStatus.CLOSED


def test_an_outdated_card_added_by_hand_is_replaced_at_once() -> None:
    facts = [replaced("A", "B", on=1)]
    resolved = at_once(wallet(method("A"), links=[link("m-A")]), *facts).wallet
    by_hand = resolved._replace(
        methods=(*resolved.methods, method("A", id="m-again")), links=(*resolved.links, link("m-again"))
    )

    after = at_once(by_hand, *facts).wallet

    assert set(live(after)) == {"B"}
    assert {link.method_id for link in after.links} == {"made-vau:B"}


def test_a_shared_card_is_replaced_in_each_wallet_on_its_own() -> None:
    hers, his = wallet(method("A", id="hers"), customer="e1"), wallet(method("A", id="his"), customer="e2")
    update = replaced("A", "B", on=1)

    assert [change.old.id for change in at_once(hers, update).changes if isinstance(change, Replaced)] == ["hers"]
    assert [change.old.id for change in at_once(his, update).changes if isinstance(change, Replaced)] == ["his"]


def test_facts_join_nothing_where_the_wallet_does_not_know_their_old() -> None:
    start = wallet(method("B"), method("C"))

    assert at_once(start, replaced("A", "B", on=1), replaced("A", "C", on=2)).wallet is start


def test_what_the_customer_removed_stays_removed() -> None:
    start = wallet(removed("A"), method("Z"), links=[link("m-A")])

    resolution = at_once(start, replaced("A", "B", on=1), reported(UpdateType.RESUMED, "A", on=2))

    assert not resolution.changes
    assert resolution.wallet.methods == start.methods
    assert not any(account.live for account in resolution.accounts if key("A") in account.keys)


def test_a_successor_that_the_customer_removed_is_not_made_again() -> None:
    facts = [replaced("A", "B", on=1)]
    resolved = at_once(wallet(method("A")), *facts).wallet
    gone = resolved._replace(
        methods=tuple(
            each._replace(status=MethodStatus.DELETED, deleted_reason="CUSTOMER") for each in resolved.methods
        ),
    )

    assert not at_once(gone, *facts, replaced("B", "C", on=2)).changes


def test_a_removed_card_that_is_reissued_from_a_live_one_is_made_anew() -> None:
    after = at_once(wallet(removed("A"), method("C")), replaced("C", "A", on=1)).wallet

    assert [(made.id, made.keys) for made in after.live_methods] == [("made-vau:A", frozenset({key("A")}))]
    assert not next(each for each in after.methods if each.id == "m-A").live


# --- conflicts -------------------------------------------------------------------------------------------------------


def test_a_card_is_not_replaced_by_a_bank_account() -> None:
    start = wallet(method("A"), method("B", type=MethodType.BANK_ACCOUNT))
    update = replaced("A", "B", on=1)

    resolution = at_once(start, update)

    assert [(fact.stamp, why) for fact, why in resolution.refused] == [(update.stamp, Conflict.TYPE_CONFLICT)]
    assert resolution.wallet is start


def test_a_fact_about_another_type_of_method_is_not_followed() -> None:
    start = wallet(method("A"))
    update = replaced("A", "B", on=1, method_type=MethodType.BANK_ACCOUNT)

    assert [why for _, why in at_once(start, update).refused] == [Conflict.TYPE_CONFLICT]


def test_a_token_on_a_card_and_on_a_bank_account_is_followed_for_the_type_that_the_fact_names() -> None:
    start = wallet(method("A", id="card"), method("A", id="bank", type=MethodType.BANK_ACCOUNT))

    unnamed = at_once(start, replaced("A", "B", on=1))
    named = at_once(start, replaced("A", "B", on=1, method_type=MethodType.BANK_ACCOUNT))

    assert unnamed.wallet is start
    assert [why for _, why in unnamed.refused] == [Conflict.TYPE_CONFLICT]
    assert {each.id for each in named.wallet.live_methods} == {"card", "made-vau:B"}


def test_a_payment_account_is_not_replaced_by_another() -> None:
    start = wallet(method("A", par="P1"), method("B", par="P2"))
    update = replaced("A", "B", on=1)

    resolution = at_once(start, update)

    assert [(fact.stamp, why) for fact, why in resolution.refused] == [(update.stamp, Conflict.ACCOUNT_CONFLICT)]
    assert resolution.wallet is start


def test_the_reference_that_a_fact_gives_counts_as_well() -> None:
    start = wallet(method("A", par="P1"))

    assert [why for _, why in at_once(start, replaced("A", "B", on=1, par="P2")).refused] == [Conflict.ACCOUNT_CONFLICT]
    assert live(at_once(start, replaced("A", "B", on=1, par="P1")).wallet)["B"].par == "P1"


@pytest.mark.parametrize(("par", "current"), [("P1", "C"), ("P2", "B")])
def test_the_reference_of_a_deleted_method_counts_as_well(par: str, current: str) -> None:
    """The customer deleted B. A became B, and so belongs to the account of B."""
    start = wallet(method("A"), removed("B", par="P1"))
    became_b, became_c = replaced("A", "B", on=1, expiry=None), replaced("B", "C", on=2, par=par)

    resolution = at_once(start, became_b, became_c)

    assert set(live(resolution.wallet)) == {current}


@pytest.mark.parametrize(("par_of_a", "par_of_b"), [("P1", None), (None, "P1")])
def test_the_reference_counts_in_both_accounts_that_a_method_unites(par_of_a: str | None, par_of_b: str | None) -> None:
    former = [removed("A", id="former-A", par=par_of_a), removed("B", id="former-B", par=par_of_b)]
    start = wallet(*former, method("A", "B"))

    resolution = at_once(start, replaced("A", "C", on=1, par="P2"))

    assert [why for _, why in resolution.refused] == [Conflict.ACCOUNT_CONFLICT]
    assert resolution.wallet is start


def test_of_two_facts_that_cannot_both_be_the_earlier_is_followed() -> None:
    start = wallet(method("A"), method("B", par="P1"), method("C", par="P2"))

    resolution = at_once(start, replaced("A", "B", on=2), replaced("A", "C", on=1))

    assert set(live(resolution.wallet)) == {"B", "C"}
    assert [fact.new.key for fact, _ in resolution.refused] == [key("B")]


def test_a_fact_that_names_a_customer_speaks_of_that_customers_wallets_only() -> None:
    update = replaced("A", "B", on=1, customer="e1")

    assert set(live(at_once(wallet(method("A"), customer="e1"), update).wallet)) == {"B"}
    assert set(live(at_once(wallet(method("A"), customer="e2"), update).wallet)) == {"A"}


def test_so_does_whatever_else_is_told_of_a_customers_credential() -> None:
    update = reported(UpdateType.CLOSED, "A", on=1, customer="e1")

    assert live(at_once(wallet(method("A"), customer="e1"), update).wallet)["A"].status is MethodStatus.CLOSED
    assert live(at_once(wallet(method("A"), customer="e2"), update).wallet)["A"].status is MethodStatus.ACTIVE


# --- in place --------------------------------------------------------------------------------------------------------


def test_an_expiry_never_goes_back() -> None:
    later = reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=Expiry(2030, 1))
    earlier = reported(UpdateType.EXPIRY_UPDATED, "A", on=2, expiry=Expiry(2029, 12))

    after = both_ways(wallet(method("A")), later, earlier)

    assert live(after)["A"].details.expiry == Expiry(2030, 1)
    assert at_once(after, later, earlier).wallet is after


def test_an_expiry_earlier_than_the_methods_own_is_not_taken() -> None:
    start = wallet(method("A"))

    assert at_once(start, reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=Expiry(2020, 1))).wallet is start


def test_closed_picks_no_other_method() -> None:
    start = wallet(method("A", default=True), method("B"), links=[link("m-A")])

    resolution = at_once(start, reported(UpdateType.CLOSED, "A", on=1))

    assert [type(change) for change in resolution.changes] == [Updated]
    assert live(resolution.wallet)["A"].status is MethodStatus.CLOSED
    assert live(resolution.wallet)["A"].default
    assert paid_with(resolution.wallet, "l-m-A") == "m-A"


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (UpdateType.SUSPENDED, MethodStatus.SUSPENDED),
        (UpdateType.RESUMED, MethodStatus.ACTIVE),
        (UpdateType.CLOSED, MethodStatus.CLOSED),
        (UpdateType.CONTACT_CARDHOLDER, MethodStatus.ACTION_REQUIRED),
    ],
)
def test_the_latest_status_told_is_the_methods(what: UpdateType, status: MethodStatus) -> None:
    before, latest = reported(UpdateType.SUSPENDED, "A", on=1), reported(what, "A", on=2)

    assert live(both_ways(wallet(method("A")), before, latest))["A"].status is status


def test_a_fact_tells_that_its_new_was_active_then() -> None:
    start = wallet(method("A"), method("B", status=MethodStatus.SUSPENDED))
    fact = replaced("A", "B", on=5)

    closed_before = both_ways(start, fact, reported(UpdateType.CLOSED, "B", on=4))
    closed_after = both_ways(start, fact, reported(UpdateType.CLOSED, "B", on=6))

    assert live(closed_before)["B"].status is MethodStatus.ACTIVE
    assert live(closed_after)["B"].status is MethodStatus.CLOSED


def test_a_status_of_the_old_card_is_not_the_new_ones() -> None:
    after = both_ways(wallet(method("A")), replaced("A", "B", on=1), reported(UpdateType.CLOSED, "A", on=2))

    assert live(after)["B"].status is MethodStatus.ACTIVE


def test_a_network_tells_the_card_that_a_token_service_has_told_in_place() -> None:
    start = wallet(method("A", "mdes:T", details=Details(brand="VISA")), links=[link("m-A")])
    in_place, replacement = stays("T", on=1, last4="1881"), replaced("A", "B", on=2, last4="1881", brand="VISA")

    assert set(live(both_ways(start, in_place, replacement))) == {"A B mdes:T"}
    updated = one_by_one(start, in_place)
    resolution = resolve(updated, knowledge(in_place, replacement), Ids())
    assert resolution.changes == ()
    assert [each.id for each in resolution.wallet.methods] == ["m-A"]
    assert live(resolution.wallet)["A B mdes:T"].details.last4 == "1881"


@pytest.mark.parametrize(
    "in_place",
    [
        stays("T", on=1, last4="1882"),
        stays("T", on=1, last4="1881", expiry=Expiry(2030, 1)),
        stays("T", on=1, last4="1881", expiry=None),
        stays("T", on=1, last4="1881", brand="AMEX"),
        stays("T", on=1, last4="1881", vendor="vau"),
        stays("another", on=1, last4="1881"),
    ],
    ids=["last4", "expiry", "no expiry", "brand", "one vendor", "no token of the wallet"],
)
def test_another_card_behind_a_token_is_replaced_by_the_one_that_the_network_tells(in_place: Update) -> None:
    start = wallet(method("A", "T", "mdes:T"))
    replacement = replaced("A", "B", on=2, last4="1881", brand="VISA")

    assert set(live(both_ways(start, in_place, replacement))) == {"B"}


def test_a_card_that_a_token_service_reports_of_another_customer_is_not_recognised() -> None:
    start = wallet(method("A", "mdes:T"))
    replacement = replaced("A", "B", on=2, last4="1881", brand="VISA")
    in_place = stays("T", on=1, last4="1881")

    for customer, held in (("e1", {"A B mdes:T"}), ("e2", {"B"})):
        assert set(live(both_ways(start, in_place._replace(scope=who(customer)), replacement))) == held


def test_a_card_of_which_neither_vendor_knows_the_expiry_is_not_recognised_behind_a_token() -> None:
    in_place, replacement = (
        stays("T", on=1, last4="1881", expiry=None),
        replaced("A", "B", on=2, last4="1881", brand="VISA", expiry=None),
    )

    assert set(live(both_ways(wallet(method("A", "mdes:T")), in_place, replacement))) == {"B"}


def test_a_token_says_of_each_card_behind_it_which_of_the_networks_it_was() -> None:
    start = wallet(method("A", "mdes:T"))
    told_by_both = [
        stays("T", on=1, last4="1881"),
        replaced("A", "B", on=2, last4="1881", brand="VISA"),
        stays("T", on=3, last4="2222"),
        replaced("B", "C", on=4, last4="2222", brand="VISA"),
    ]

    for order in permutations(told_by_both):
        assert set(live(one_by_one(start, *order))) == {"A B C mdes:T"}
        assert live(one_by_one(start, *order))["A B C mdes:T"].details.last4 == "2222"


def test_what_a_token_showed_is_forgotten_with_the_update_that_told_it() -> None:
    in_place, replacement = stays("T", on=1, last4="1881"), replaced("A", "B", on=2, last4="1881", brand="VISA")
    known = knowledge(in_place, replacement)

    without = known.without(in_place.stamp, [key("A"), "mdes:T"])

    assert set(live(resolve(wallet(method("A", "mdes:T")), without, Ids()).wallet)) == {"B"}


def test_what_a_token_showed_rests_on_the_update_that_told_it_first() -> None:
    first, again = stays("T", on=1, last4="1881"), stays("T", on=3, last4="1881")
    replacement = replaced("A", "B", on=2, last4="1881", brand="VISA")

    for order in permutations((first, again, replacement)):
        without = knowledge(*order).without(again.stamp, [key("A"), "mdes:T"])
        assert set(live(resolve(wallet(method("A", "mdes:T")), without, Ids()).wallet)) == {"A B mdes:T"}


@pytest.mark.parametrize(
    "again",
    [replaced(("A", ":fp_1"), ("B", ":fp_B"), on=2), replaced(("A", ":fp_A"), ("B", ":fp_1"), on=2)],
    ids=["old", "new"],
)
def test_which_name_a_credential_keeps_does_not_depend_on_which_was_told_first(again: Update) -> None:
    first = replaced(("A", ":fp_A"), ("B", ":fp_B"), on=1)

    assert knowledge(first, again).facts == knowledge(again, first).facts


def test_details_are_taken_by_stamp_one_by_one() -> None:
    start = wallet(method("A", details=Details(holder_name="J. Doe", zip_code="00000")))
    early = reported(UpdateType.DETAILS_UPDATED, "A", on=1, holder_name="John Doe", zip_code="12345")
    late = reported(UpdateType.DETAILS_UPDATED, "A", on=2, holder_name="John H. Doe")

    after = both_ways(start, early, late)

    assert live(after)["A"].details == Details(holder_name="John H. Doe", zip_code="12345")


def test_of_statuses_of_the_same_instant_the_later_id_counts_in_either_order() -> None:
    suspended = reported(UpdateType.SUSPENDED, "A", on=1, id="1")
    closed = reported(UpdateType.CLOSED, "A", on=1, id="2")

    assert live(both_ways(wallet(method("A")), suspended, closed))["A"].status is MethodStatus.CLOSED


def test_of_details_of_the_same_instant_the_later_id_counts_in_either_order() -> None:
    start = wallet(method("A", details=Details(holder_name="J. Doe")))
    first = reported(UpdateType.DETAILS_UPDATED, "A", on=1, id="1", holder_name="John Doe")
    second = reported(UpdateType.DETAILS_UPDATED, "A", on=1, id="2", holder_name="Jane Roe")

    assert live(both_ways(start, first, second))["A"].details.holder_name == "Jane Roe"


@pytest.mark.parametrize("what", [UpdateType.OPTED_OUT, UpdateType.NO_CHANGE, UpdateType.NO_MATCH])
def test_what_tells_of_no_change_changes_nothing(what: UpdateType) -> None:
    learnt = knowledge()

    assert learnt.learn(reported(what, "A", on=1)) is Novelty.NONE
    start = wallet(method("A"))
    assert resolve(start, learnt, Ids()).wallet is start


# --- what a replacement carries over ---------------------------------------------------------------------------------


def test_flags_move_only_if_the_old_method_held_them() -> None:
    start = wallet(method("A", subscription_default=True), method("B"), method("Z", default=True))

    after = live(at_once(start, replaced("A", "B", on=1)).wallet)

    assert (after["B"].default, after["B"].subscription_default) == (False, True)
    assert after["Z"].default


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("subscription_default", [True, False])
def test_the_current_method_keeps_the_flags_that_it_holds(*, default: bool, subscription_default: bool) -> None:
    current = method("B", default=default, subscription_default=subscription_default)

    after = live(at_once(wallet(method("A"), current), replaced("A", "B", on=1)).wallet)["B"]

    assert (after.default, after.subscription_default) == (default, subscription_default)


def test_the_current_method_keeps_its_own_entries_and_takes_no_others() -> None:
    own = Details(
        "5678", "MC", FACT_EXPIRY, "Jane Doe", "54321", manufacturer_card=False, account_type="SAVINGS", bank_name="Own"
    )
    others = Details("1", "VISA", IMPORTED_EXPIRY, "J", "1", manufacturer_card=True, account_type="C", bank_name="B")
    start = wallet(
        method("A", nickname="Old", par="P1", details=others),
        method("B", nickname="New", par="P1", details=own),
    )

    kept = live(at_once(start, replaced("A", "B", on=1)).wallet)["B"]

    assert (kept.nickname, kept.par, kept.details) == ("New", "P1", own)


def test_of_several_replaced_at_once_each_flag_finds_its_way() -> None:
    start = wallet(method("A", default=True), method("B", subscription_default=True), method("C"))

    after = live(at_once(start, replaced("A", "C", on=1), replaced("B", "C", on=2)).wallet)

    assert (after["C"].default, after["C"].subscription_default) == (True, True)


def test_a_gift_card_takes_no_flag() -> None:
    gift = MethodType.GIFT_CARD
    start = wallet(method("A", type=gift), method("Z", default=True), links=[link("m-A")])

    after = at_once(start, replaced("A", "B", on=1)).wallet

    assert (live(after)["B"].type, live(after)["B"].default) == (gift, False)
    assert live(after)["Z"].default
    assert paid_with(after, "l-m-A") == "made-vau:B"


def test_paused_links_move_and_cancelled_ones_stay() -> None:
    start = wallet(
        method("A"),
        links=[
            link("m-A", id="active"),
            link("m-A", id="paused", status=LinkStatus.PAUSED),
            link("m-A", id="cancelled", status=LinkStatus.CANCELLED),
        ],
    )

    after = at_once(start, replaced("A", "B", on=1)).wallet

    assert [paid_with(after, name) for name in ("active", "paused", "cancelled")] == [
        "made-vau:B",
        "made-vau:B",
        "m-A",
    ]


def test_a_made_method_inherits_what_the_network_does_not_tell() -> None:
    known = Details("1234", "VISA", IMPORTED_EXPIRY, "John Doe", "12345", manufacturer_card=True)
    start = wallet(method("A", nickname="Personal Card", details=known))

    made = live(at_once(start, replaced("A", "B", on=1, last4="5678", brand="MC")).wallet)["B"]

    assert made.nickname == "Personal Card"
    assert made.details == Details("5678", "MC", FACT_EXPIRY, "John Doe", "12345", manufacturer_card=True)


@pytest.mark.parametrize(
    "known",
    [
        Details(holder_name="John Doe"),
        Details(zip_code="12345"),
        Details(manufacturer_card=False),
        Details(account_type="CHECKING"),
    ],
    ids=["holder name", "zip code", "manufacturer card", "account type"],
)
def test_a_made_method_inherits_each_detail_that_the_network_does_not_tell(known: Details) -> None:
    start = wallet(method("A", details=known))

    assert live(at_once(start, replaced("A", "B", on=1, expiry=None)).wallet)["B"].details == known


def test_a_made_method_is_of_the_payment_account_of_what_it_replaces() -> None:
    start = wallet(method("A", par="P1"))

    assert live(at_once(start, replaced("A", "B", on=1)).wallet)["B"].par == "P1"


def test_of_two_facts_that_name_one_card_the_later_says_what_it_shows() -> None:
    start = wallet(method("A"), method("C"))
    early = replaced("A", "B", on=1, last4="1111", brand="MC", holder_name="Jane Roe", zip_code="12345")
    late = replaced("C", "B", on=2, last4="2222", brand="VISA", holder_name="Jane Poe")

    shown = live(at_once(start, late, early).wallet)["B"].details

    assert shown == Details("2222", "VISA", FACT_EXPIRY, "Jane Poe", "12345")


@pytest.mark.parametrize("late_expiry", [Expiry(2028, 1), None])
def test_what_the_later_of_two_facts_leaves_out_the_earlier_says(late_expiry: Expiry | None) -> None:
    start = wallet(method("A"), method("C"))
    early = replaced("A", "B", on=1, last4="1111", brand="MC", expiry=Expiry(2030, 1), par="P1")
    late = replaced("C", "B", on=2, expiry=late_expiry)

    made = live(at_once(start, late, early).wallet)["B"]

    assert (made.details, made.par) == (Details("1111", "MC", Expiry(2030, 1)), "P1")


def test_of_two_holders_of_the_current_card_the_one_of_the_credential_that_the_fact_names_stays() -> None:
    start = wallet(method("A"), method(":fp", id="m-1"), method("B", id="m-2"))

    after = live(at_once(start, replaced("A", ("B", ":fp"), on=1)).wallet)

    assert [held.id for held in after.values()] == ["m-2"]


def test_of_two_holders_under_other_names_the_one_of_the_lower_id_stays() -> None:
    for ids in (("m-1", "m-2"), ("m-2", "m-1")):
        start = wallet(method("A", "mdes:X"), method(":fp", id=ids[0]), method("mdes:Y", id=ids[1]))
        facts = [
            replaced("mdes:X", "mdes:Y", on=1, vendor="mdes", last4="1881", brand="VISA"),
            replaced("A", ("B", ":fp"), on=2, last4="1881", brand="VISA"),
        ]

        assert [held.id for held in live(at_once(start, *facts).wallet).values()] == ["m-1"]


def test_an_existing_method_keeps_its_payment_account_if_that_of_the_old_is_not_known() -> None:
    start = wallet(method("A"), method("B", par="P1"))

    assert live(at_once(start, replaced("A", "B", on=1)).wallet)["B"].par == "P1"


def test_what_the_fact_tells_goes_before_what_the_old_method_knew() -> None:
    start = wallet(method("A", details=Details(holder_name="Jane Doe", zip_code="12345")))

    made = live(at_once(start, replaced("A", "B", on=1, holder_name="Jane Roe")).wallet)["B"]

    assert (made.details.holder_name, made.details.zip_code) == ("Jane Roe", "12345")


def test_details_told_of_the_new_credential_go_before_both() -> None:
    start = wallet(method("A", details=Details(holder_name="Jane Doe")))
    fact = replaced("A", "B", on=1, holder_name="Jane Roe")
    married = reported(UpdateType.DETAILS_UPDATED, "B", on=2, holder_name="Jane Poe")

    assert live(both_ways(start, fact, married))["B"].details.holder_name == "Jane Poe"


def test_a_made_method_inherits_from_the_default_first() -> None:
    start = wallet(
        method("A", nickname="Old", details=Details(zip_code="11111")),
        method("B", nickname="Main", default=True),
    )

    made = live(at_once(start, replaced("A", "C", on=1), replaced("B", "C", on=2)).wallet)["C"]

    assert (made.nickname, made.details.zip_code) == ("Main", "11111")


@pytest.mark.parametrize(
    ("flags", "inherited_from"),
    [
        # by their flags: the default first, then the subscription default
        (("", "default", "subscription_default"), 1),
        (("", "", "subscription_default"), 2),
        (("", "subscription_default", "default"), 2),
        (("subscription_default", "", "default"), 2),
        # by their ids
        (("", "", ""), 0),
    ],
)
def test_a_made_method_inherits_from_the_holder_of_a_flag_first(flags: tuple[str, ...], inherited_from: int) -> None:
    replaced_methods = [
        method(name, nickname=name, **({flag: True} if flag else {}))  # type: ignore[arg-type]
        for name, flag in zip("ABC", flags, strict=True)
    ]
    facts = [replaced(name, "D", on=on) for on, name in enumerate("ABC", 1)]

    for methods in (replaced_methods, replaced_methods[::-1]):
        assert live(at_once(wallet(*methods), *facts).wallet)["D"].nickname == "ABC"[inherited_from]


def test_an_existing_method_keeps_its_own_and_takes_blanks() -> None:
    start = wallet(
        method("A", nickname="Old", details=Details("1234", holder_name="John Doe", zip_code="12345")),
        method("B", nickname="New", details=Details("5678", zip_code="54321")),
    )

    kept = live(at_once(start, replaced("A", "B", on=1, last4="9999", zip_code="99999")).wallet)["B"]

    assert kept.nickname == "New"
    assert kept.details == Details("5678", expiry=FACT_EXPIRY, holder_name="John Doe", zip_code="54321")


# --- the shape of it -------------------------------------------------------------------------------------------------


def test_each_replacement_names_the_fact_it_follows() -> None:
    start = wallet(method("A"), method("B"))
    first, second = replaced("A", "B", on=1, reason=Reason.LOST_OR_STOLEN), replaced("B", "C", on=2)

    changes = at_once(start, first, second).changes

    assert {
        (change.old.id, change.fact and change.fact.stamp, change.reason)
        for change in changes
        if isinstance(change, Replaced)
    } == {("m-A", first.stamp, Reason.LOST_OR_STOLEN), ("m-B", second.stamp, Reason.REISSUED)}


def test_settling_again_gives_back_the_very_same_wallet() -> None:
    facts = [replaced("A", "B", on=1), reported(UpdateType.EXPIRY_UPDATED, "B", on=2, expiry=Expiry(2033, 1))]
    resolved = at_once(wallet(method("A"), method("Z")), *facts).wallet

    again = at_once(resolved, *facts)

    assert again.wallet is resolved
    assert not again.changes


def test_a_method_that_nothing_is_told_of_is_left_untouched() -> None:
    start = wallet(method("A"), method("Z"))

    after = at_once(start, replaced("A", "B", on=1)).wallet

    assert any(each is start.methods[1] for each in after.methods)


def test_a_wallet_knows_where_facts_lead_even_if_no_method_holds_it() -> None:
    facts = [replaced("A", "B", on=1), replaced("A", "C", on=2)]
    resolved = at_once(wallet(method("A"), method("C")), *facts).wallet

    assert resolved.leads == {key("B")}
    assert at_once(resolved, *facts, replaced("B", "D", on=0)).wallet.leads == {key("B"), key("D")}
    assert resolved.knows() == {key("A"), key("B"), key("C")}


def test_a_method_that_two_facts_are_about_is_replaced_for_the_reason_of_the_later() -> None:
    first = replaced("A", "B", on=1, reason=Reason.EXPIRED)
    second = replaced("A", "C", on=2, reason=Reason.LOST_OR_STOLEN)

    for updates in ([first, second], [second, first]):
        (change,) = at_once(wallet(method("A")), *updates).changes
        assert isinstance(change, Replaced)
        assert change.fact is not None
        assert (change.old.id, change.reason, change.fact.stamp) == ("m-A", Reason.LOST_OR_STOLEN, second.stamp)


def test_a_method_that_no_fact_is_about_is_replaced_for_the_reason_of_the_latest_of_its_account() -> None:
    facts = [
        replaced("A", "B", on=1, reason=Reason.EXPIRED),
        replaced("A", "D", on=2, reason=Reason.NETWORK_UPDATE),
        replaced("A", "C", on=3, reason=Reason.LOST_OR_STOLEN),
    ]

    resolution = at_once(wallet(method("A"), method("B")), *facts)

    reasons = {change.old.id: change.reason for change in resolution.changes if isinstance(change, Replaced)}
    assert reasons == {"m-A": Reason.LOST_OR_STOLEN, "m-B": Reason.LOST_OR_STOLEN}


def test_of_facts_about_several_credentials_of_a_method_the_later_says_why() -> None:
    early, late = {"on": 1, "reason": Reason.EXPIRED}, {"on": 2, "reason": Reason.LOST_OR_STOLEN}

    for by_token, by_fingerprint in ((early, late), (late, early)):
        facts = replaced("A", "B", **by_token), replaced(":fp_A", "C", vendor="mdes", **by_fingerprint)  # type: ignore[arg-type]
        (change,) = at_once(wallet(method("A", ":fp_A")), *facts).changes
        assert isinstance(change, Replaced)
        assert change.reason is Reason.LOST_OR_STOLEN


def test_the_links_of_all_accounts_that_change_at_once_move() -> None:
    start = wallet(method("A"), method("P"), method("X"), links=[link("m-A"), link("m-P"), link("m-X")])

    after = at_once(start, replaced("A", "B", on=1), replaced("P", "Q", on=2)).wallet

    assert [paid_with(after, f"l-m-{name}") for name in "APX"] == ["made-vau:B", "made-vau:Q", "m-X"]


SHOWN = {"last4": "1881", "brand": "VISA", "expiry": FACT_EXPIRY}


@pytest.mark.parametrize(
    ("by_vau", "by_mdes", "is_one"),
    [
        (SHOWN, SHOWN, True),
        (SHOWN, SHOWN | {"brand": "MASTERCARD"}, False),
        (SHOWN, SHOWN | {"last4": "1882"}, False),
        (SHOWN, SHOWN | {"expiry": Expiry(2030, 1)}, False),
        *((SHOWN | {name: None}, SHOWN | {name: None}, False) for name in SHOWN),
        (SHOWN | {"brand": None}, SHOWN, False),
    ],
)
def test_two_vendors_speak_of_one_card_only_if_all_that_it_shows_is_equal(
    by_vau: dict[str, object], by_mdes: dict[str, object], *, is_one: bool
) -> None:
    facts = [
        replaced("A", "B", on=1, **by_vau),  # type: ignore[arg-type]
        replaced("mdes:X", "mdes:Y", on=2, vendor="mdes", **by_mdes),  # type: ignore[arg-type]
    ]

    after = at_once(wallet(method("A", "mdes:X")), *facts).wallet

    assert set(live(after)) == {"B mdes:Y" if is_one else "mdes:Y"}


def test_one_vendor_reports_no_card_twice_by_its_face() -> None:
    facts = [replaced("A", "B", on=1, **SHOWN), replaced("A", "C", on=2, **SHOWN)]  # type: ignore[arg-type]

    assert set(live(at_once(wallet(method("A")), *facts).wallet)) == {"C"}


@pytest.mark.parametrize("vendors", [("vau", "mdes", "acme"), ("vau", "vau", "mdes"), ("vau", "mdes", "vau")])
def test_three_facts_of_different_vendors_that_show_one_card_name_it(vendors: tuple[str, ...]) -> None:
    facts = [
        replaced(f"{vendor}:old-{on}", f"{vendor}:new-{on}", on=on, vendor=vendor, **SHOWN)  # type: ignore[arg-type]
        for on, vendor in enumerate(vendors, 1)
    ]
    start = wallet(method(*(f"{vendor}:old-{on}" for on, vendor in enumerate(vendors, 1))))

    (current,) = at_once(start, *facts).wallet.live_methods

    assert current.keys == {f"{vendor}:new-{on}" for on, vendor in enumerate(vendors, 1)}
