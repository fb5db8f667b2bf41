"""Two wallets of one customer become one (design.md §4, WALLET_MERGED)."""

import pytest

from domain.merge import Merged, Merger, merge
from domain.resolve import Replaced, Updated
from domain.update import Reason
from domain.wallet import Details, LinkStatus, MethodStatus, MethodType
from tests.domain.build import at_once, key, link, live, method, paid_with, removed, replaced, wallet, who


def replacements(merged: Merger) -> list[tuple[str, str]]:
    return [(change.old.id, change.new.id) for change in merged.changes if isinstance(change, Replaced)]


def test_methods_move_to_the_target_with_their_ids_and_links() -> None:
    source = wallet(method("A", id="s-A"), removed("B", id="s-B"), links=[link("s-A")], customer="e2")
    target = wallet(method("C", id="t-C"), links=[link("t-C")])

    merged = merge(source, target)

    assert [each.id for each in merged.target.methods] == ["t-C", "s-A", "s-B"]
    assert [paid_with(merged.target, each) for each in ("l-s-A", "l-t-C")] == ["s-A", "t-C"]
    assert (merged.source.methods, merged.source.links, merged.source.merged_into) == ((), (), target.id)


def test_the_target_knows_whatever_either_wallet_knew() -> None:
    source = wallet(method("A"), customer="e2")._replace(
        leads=frozenset({key("B")}), former_identities=frozenset(who("e3"))
    )
    target = wallet(method("C"))._replace(leads=frozenset({key("D")}), former_identities=frozenset(who("e4")))

    merged = merge(source, target)

    assert merged.target.leads == {key("B"), key("D")}
    assert merged.target.knows() == {key("A"), key("B"), key("C"), key("D")}
    assert merged.target.former_identities == {*who("e2"), *who("e3"), *who("e4")}
    assert merged.target.customer == target.customer
    assert merged.source.knows() == set()
    assert merged.source.customer == source.customer


def test_where_both_hold_one_identity_the_targets_is_kept() -> None:
    source = wallet(
        method("A", id="s-A"),
        links=[link("s-A", id="moves"), link("s-A", id="stays", status=LinkStatus.CANCELLED)],
        customer="e2",
    )
    target = wallet(method("A", id="t-A"))

    merged = merge(source, target)

    (change,) = [change for change in merged.changes if isinstance(change, Replaced)]
    assert (change.old.id, change.new.id, change.reason) == ("s-A", "t-A", Reason.WALLET_MERGE)
    assert (change.old.status, change.old.replaced_by) == (MethodStatus.DELETED, "t-A")
    assert [moved.id for moved in change.links] == ["moves"]
    assert (paid_with(merged.target, "moves"), paid_with(merged.target, "stays")) == ("t-A", "s-A")
    assert change.new in merged.target.methods


def test_a_removed_method_moves_as_it_is_though_the_target_holds_its_identity() -> None:
    before = removed("A", id="s-A")._replace(deleted_reason="CUSTOMER_REMOVED")
    merged = merge(wallet(before, customer="e2"), wallet(method("A", id="t-A")))

    assert not replacements(merged)
    assert before in merged.target.methods


def test_a_fingerprint_in_common_is_an_identity_too_and_the_kept_method_takes_the_token_along() -> None:
    source = wallet(method("A", ":fp", id="s-A"), customer="e2")
    target = wallet(method("mdes:X", ":fp", id="t-X"))

    assert live(merge(source, target).target)[":fp A mdes:X"].id == "t-X"


def test_a_credential_is_not_taken_along_from_under_another_live_method() -> None:
    source = wallet(method("A", ":fp", id="s-A"), customer="e2")
    target = wallet(method("A", id="t-A"), method(":fp", id="t-fp"))

    assert {each.id: each.keys for each in merge(source, target).target.live_methods} == {
        "t-A": {key("A")},
        "t-fp": {":fp"},
    }


def test_the_same_token_on_another_type_is_no_identity() -> None:
    source = wallet(method("A", id="s-A"), customer="e2")
    target = wallet(method("A", id="t-A", type=MethodType.BANK_ACCOUNT))

    assert not replacements(merge(source, target))


def test_the_kept_method_takes_blanks_from_the_other() -> None:
    source = wallet(
        method("A", id="s-A", nickname="Hers", details=Details(holder_name="Jane", zip_code="1")), customer="e2"
    )
    target = wallet(method("A", id="t-A", details=Details(zip_code="2")))

    kept = live(merge(source, target).target)["A"]

    assert (kept.nickname, kept.details) == ("Hers", Details(holder_name="Jane", zip_code="2"))


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("subscription_default", [False, True])
def test_the_targets_flags_win(*, default: bool, subscription_default: bool) -> None:
    source = wallet(method("A", id="s-A", default=True, subscription_default=True), customer="e2")
    holder = method("C", id="t-C", default=default, subscription_default=subscription_default)
    target = wallet(removed("D", id="t-D"), holder, method("E", id="t-E"))

    merged = live(merge(source, target).target)

    assert (merged["C"].default, merged["A"].default) == (default, not default)
    assert (merged["C"].subscription_default, merged["A"].subscription_default) == (
        subscription_default,
        not subscription_default,
    )


def test_a_method_without_flags_gets_none_where_the_target_has_none() -> None:
    source = wallet(method("A", id="s-A", subscription_default=True), method("B", id="s-B"), customer="e2")
    target = wallet(method("C", id="t-C", subscription_default=True))

    merged = live(merge(source, target).target)

    assert {name for name, held in merged.items() if held.default} == set()
    assert {name for name, held in merged.items() if held.subscription_default} == {"C"}


def test_a_flag_that_the_target_lacks_passes_from_a_replaced_method_to_the_kept_one() -> None:
    source = wallet(method("A", id="s-A", default=True), customer="e2")
    target = wallet(method("A", id="t-A"))

    assert live(merge(source, target).target)["A"].default


@pytest.mark.parametrize("flag", ["default", "subscription_default"])
def test_who_saw_a_method_that_lost_its_flag_is_told(flag: str) -> None:
    source = wallet(method("A", id="s-A", **{flag: True}), customer="e2")  # type: ignore[arg-type]
    target = wallet(method("C", id="t-C", **{flag: True}))  # type: ignore[arg-type]

    changes = merge(source, target).changes

    assert [
        (getattr(change.before, flag), getattr(change.after, flag)) for change in changes if isinstance(change, Updated)
    ] == [(True, False)]


def test_merchants_are_united_and_told_of_what_they_could_not_see() -> None:
    source = wallet(method("A", id="s-A"), merchants=("pharmacy", "gym"), customer="e2")
    target = wallet(method("C", id="t-C"), removed("D", id="t-D"), merchants=("pharmacy", "optician"))

    merged = merge(source, target)

    assert merged.target.merchants == ("pharmacy", "optician", "gym")
    assert {(change.method.id, change.merchants) for change in merged.changes if isinstance(change, Merged)} == {
        ("s-A", ("optician",)),
        ("t-C", ("gym",)),
    }


def test_what_a_vendor_says_of_the_former_customer_is_meant_for_the_target() -> None:
    source = wallet(method("A", id="s-A"), customer="e2")
    target = wallet(method("C", id="t-C"), customer="e1")
    merged = merge(source, target).target

    assert set(live(at_once(merged, replaced("A", "B", on=1, customer="e2")).wallet)) == {"B", "C"}
    assert merged.former_identities == set(who("e2"))


def test_the_customers_of_a_wallet_merged_twice_are_all_remembered() -> None:
    first = merge(wallet(customer="e3"), wallet(customer="e2")).target
    second = merge(first, wallet(method("A"), customer="e1")).target

    assert second.former_identities == set(who("e2") + who("e3"))


def test_replaced_in_one_wallet_and_live_in_the_other_is_settled_by_the_facts() -> None:
    facts = [replaced("A", "B", on=1, customer="e2")]
    source = at_once(wallet(method("A", id="s-A"), links=[link("s-A")], customer="e2"), *facts).wallet
    target = wallet(method("A", id="t-A", default=True), links=[link("t-A")])

    after = at_once(merge(source, target).target, *facts).wallet

    assert set(live(after)) == {"B"}
    assert live(after)["B"].default
    assert {link.method_id for link in after.links} == {live(after)["B"].id}


def test_of_two_methods_that_one_of_the_target_replaces_it_takes_blanks_credentials_and_flags_of_both() -> None:
    first = method("A", ":fp", id="s-A", nickname="Hers", default=True, details=Details(holder_name="Jane"))
    second = method("B", "mdes:X", id="s-B", details=Details(zip_code="1"))
    target = wallet(method("A", "B", id="t-AB", details=Details()))

    merged = merge(wallet(first, second, customer="e2"), target)

    assert replacements(merged) == [("s-A", "t-AB"), ("s-B", "t-AB")]
    (kept,) = merged.target.live_methods
    assert kept.keys == {key("A"), key("B"), ":fp", key("mdes:X")}
    assert (kept.nickname, kept.default) == ("Hers", True)
    assert kept.details == Details(holder_name="Jane", zip_code="1")


def test_a_deleted_method_of_the_target_is_no_twin() -> None:
    source = wallet(method("A", id="s-A"), customer="e2")
    target = wallet(removed("A", id="t-A"))

    merged = merge(source, target)

    assert not replacements(merged)
    assert [each.id for each in merged.target.live_methods] == ["s-A"]


def test_merging_what_was_merged_moves_nothing_more() -> None:
    merged = merge(wallet(method("A", id="s-A"), customer="e2"), wallet(method("C", id="t-C")))

    again = merge(merged.source._replace(merged_into=None), merged.target)

    assert again.target == merged.target
    assert not again.changes
