"""What becomes of a batch in the database: outcomes, wallets, events, deliveries."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event as hooks
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.refusal import Refused
from domain.update import Outcome
from tests.consumers.world import World, card, link, merged, named, replaced, update, wallet


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    world = World(engine)
    await world.merchants("shop", "gym")
    return world


async def only_outcome(world: World, body: dict[str, object]) -> tuple[str, str | None]:
    await world.take_in(body)
    return (await world.outcomes())[str(body["id"])]


# --- outcomes -----------------------------------------------------------------------------------------------------


async def test_a_replacement_is_applied_links_move_and_merchants_are_told(world: World) -> None:
    await world.wallets(
        wallet(
            "ann",
            card("a", wallet="ann", default=True, subscriptionDefault=True, nickname="Mine"),
            links=[
                link("a", wallet="ann"),
                link("a", wallet="ann", status="CANCELLED"),
                link("a", wallet="ann", merchant="gym"),
            ],
            told=["gym", "shop"],
        )
    )
    body = replaced("a", "b", reason="LOST_OR_STOLEN")
    assert await only_outcome(world, body) == ("APPLIED", None)

    (exported,) = await world.export()
    methods = {method["id"]: method for method in exported["paymentMethods"]}
    old = methods.pop(named("ann/a"))
    (new,) = methods.values()
    assert (old["status"], old["replacedBy"], old["deletedReason"]) == ("DELETED", new["id"], "LOST_OR_STOLEN")
    assert (new["status"], new["default"], new["subscriptionDefault"], new["nickname"]) == (
        "ACTIVE",
        True,
        True,
        "Mine",
    )
    assert new["details"] == old["details"] | {"last4": "5678", "expiryYear": 2028}
    at = {each["status"] + each["merchantId"]: each["paymentMethodId"] for each in exported["paymentLinks"]}
    assert at == {"ACTIVEshop": new["id"], "CANCELLEDshop": old["id"], "ACTIVEgym": new["id"]}

    assert await world.told() == [
        (merchant, f"PAYMENT_METHOD_{name}", sequence)
        for merchant in ("gym", "shop")
        for sequence, name in enumerate(("REPLACED", "DELETED"), start=1)
    ]
    first, second = await world.bodies("shop")
    assert [each["reference"] for each in first["payload"]["paymentLinks"]] == ["sub-ann-shop"]
    assert first["payload"]["deletedPaymentMethodId"] == old["id"]
    assert second["payload"]["replacedByPaymentMethodId"] == new["id"]
    assert await world.rows("SELECT endpoint_id, sequence, status, due_at IS NULL FROM deliveries ORDER BY 1, 2") == [
        ("to-gym", 1, "PENDING", False),
        ("to-gym", 2, "PENDING", True),
        ("to-shop", 1, "PENDING", False),
        ("to-shop", 2, "PENDING", True),
    ]


async def test_the_same_message_and_the_same_change_under_another_id_are_duplicates(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    body = replaced("a", "b", id="one")
    taken = await world.take_in(body, body, body | {"id": "two"})
    assert taken.outcomes == {Outcome.APPLIED: 1, Outcome.DUPLICATE: 2}
    assert (await world.take_in(body, body | {"id": "three"})).outcomes == {Outcome.DUPLICATE: 2}
    reasons = await world.rows("SELECT reason FROM inbox WHERE outcome = 'DUPLICATE' ORDER BY reason")
    assert reasons == [("ALREADY_KNOWN",)] * 2 + [("SAME_MESSAGE",)] * 2
    assert len(await world.told()) == 2


async def test_an_id_with_other_content_is_quarantined(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    await world.take_in(replaced("a", "b", id="one"))
    taken = await world.take_in(replaced("a", "c", id="one", day=2))
    assert taken.outcomes == {Outcome.QUARANTINED: 1}
    assert await world.rows("SELECT outcome, reason FROM inbox WHERE NOT original") == [("QUARANTINED", "ID_REUSED")]
    assert await world.rows("SELECT count(*) FROM replacement_facts") == [(1,)]


@pytest.mark.parametrize("type_", ["OPTED_OUT", "NO_CHANGE", "NO_MATCH"])
async def test_what_tells_no_change_is_ignored(world: World, type_: str) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    assert await only_outcome(world, update(type_, "a")) == ("IGNORED", type_)
    assert await world.told() == []


async def test_a_to_a_is_no_replacement_and_its_expiry_counts(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    assert await only_outcome(world, replaced("a", "a")) == ("APPLIED", None)
    assert await only_outcome(world, replaced("a", "a", new={"expiryMonth": None, "expiryYear": None})) == (
        "IGNORED",
        "SAME_CREDENTIAL",
    )
    assert await world.told() == [("shop", "PAYMENT_METHOD_UPDATED", 1)]


async def test_what_an_older_update_tells_is_superseded(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    await world.take_in(replaced("a", "c", day=5), update("CLOSED", "c", day=9))
    assert await only_outcome(world, replaced("a", "b", day=2)) == ("SUPERSEDED", "NEWER_FACT")
    assert await only_outcome(world, update("SUSPENDED", "c", day=8)) == ("SUPERSEDED", "NEWER_KNOWN")


async def test_an_expiry_before_the_methods_own_is_superseded(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    earlier = update("EXPIRY_UPDATED", "a", new={"expiryMonth": 11, "expiryYear": 2026})
    assert await only_outcome(world, earlier) == ("SUPERSEDED", "NEWER_KNOWN")
    same = update("EXPIRY_UPDATED", "a", new={"expiryMonth": 12, "expiryYear": 2026})
    assert await only_outcome(world, same) == ("DUPLICATE", "ALREADY_SO")
    assert await world.told() == []


async def test_a_pair_told_again_gives_its_later_expiry_to_those_who_follow_it(world: World) -> None:
    """Over batches, so that what is known of the pair is read back; and whichever telling comes first."""
    await world.wallets(wallet("ann", card("a", wallet="ann")), wallet("bob", card("b", wallet="bob")))
    assert await only_outcome(world, replaced("a", "b", day=5)) == ("APPLIED", None)
    later, latest = {"expiryYear": 2030}, {"expiryYear": 2031}
    assert await only_outcome(world, replaced("a", "b", day=9, new=later)) == ("APPLIED", None)
    assert await only_outcome(world, replaced("a", "b", day=1, new=latest)) == ("APPLIED", None)
    assert await only_outcome(world, replaced("a", "b", day=2, new=later)) == ("SUPERSEDED", "NEWER_KNOWN")
    assert await only_outcome(world, replaced("a", "b", day=2, new=latest)) == ("DUPLICATE", "ALREADY_KNOWN")
    exported = {each["customer"]["enterpriseId"]: each["paymentMethods"] for each in await world.export()}
    years = {
        name: [method["details"]["expiryYear"] for method in methods if method["status"] != "DELETED"]
        for name, methods in exported.items()
    }
    assert years == {"ann": [2031], "bob": [2026]}


async def test_a_removed_method_stays_removed(world: World) -> None:
    gone = card("a", wallet="ann", status="DELETED", deletedReason="CUSTOMER_REMOVED")
    await world.wallets(wallet("ann", gone))
    assert await only_outcome(world, replaced("a", "b")) == ("IGNORED", "CUSTOMER_REMOVED")
    assert await world.live() == {"ann": []}


async def test_conflicts_are_quarantined_and_change_nothing(world: World) -> None:
    bank = card("bank", wallet="ann", type="BANK_ACCOUNT", details={"last4": "9876"})
    await world.wallets(wallet("ann", card("a", wallet="ann", par="P1"), bank))
    before = await world.live()
    assert await only_outcome(world, replaced("a", "b", new={"par": "P2"})) == ("QUARANTINED", "ACCOUNT_CONFLICT")
    other_type = {"fingerprint": "fp_bank", "token": "tok_bank"}
    body = replaced("a", "x", new=other_type)
    del body["old"]["methodType"], body["new"]["methodType"]
    assert await only_outcome(world, body) == ("QUARANTINED", "TYPE_CONFLICT")
    stranger = replaced("a", "c", customer={"enterpriseId": "bob"})
    assert await only_outcome(world, stranger) == ("QUARANTINED", "OWNER_MISMATCH")
    assert await world.live() == before
    assert await world.told() == []


async def test_what_was_quarantined_is_applied_when_its_customer_turns_up(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    stranger = replaced("a", "b", customer={"enterpriseId": "bob"})
    assert await only_outcome(world, stranger) == ("QUARANTINED", "OWNER_MISMATCH")
    await world.take_in(replaced("a", "c", id=stranger["id"]))
    await world.take_in(update("SUSPENDED", "a"))
    assert (await world.outcomes())[stranger["id"]] == ("QUARANTINED", "OWNER_MISMATCH")
    await world.wallets(wallet("bob", card("a", wallet="bob")))
    by_reason = await world.rows(
        "SELECT outcome, reason FROM inbox WHERE update_id = :id ORDER BY id", id=stranger["id"]
    )
    assert by_reason == [("APPLIED", None), ("QUARANTINED", "ID_REUSED")]
    assert await world.rows("SELECT count(*) FROM parked_updates") == [(0,)]


async def test_what_cannot_be_read_becomes_a_dead_letter_and_holds_up_nobody(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    holds_a_card = replaced("a", "z") | {"note": "4111 1111 1111 1111"}
    taken = await world.take_in(b"{", replaced("a", "b"), holds_a_card)
    assert (taken.outcomes, taken.unreadable) == ({Outcome.APPLIED: 1}, 2)
    letters = await world.rows(
        "SELECT topic, partition, kafka_offset, reason, convert_from(body, 'UTF8') FROM dead_letters ORDER BY 3"
    )
    assert [letter[:3] for letter in letters] == [("updates", 0, 0), ("updates", 0, 2)]
    assert letters[1][3] == "$.note: expected no card number"
    assert "4111" not in letters[1][4]
    assert "**** **** **** ****" in letters[1][4]


async def test_a_merge_that_was_quarantined_is_not_done_by_surprise(world: World) -> None:
    body = merged("ann", "bea")
    await world.take_in(body)
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    twice = [
        wallet(name, card(name, wallet=name)) | {"customer": {"enterpriseId": "bea", "hsid": name}} for name in "bc"
    ]
    await world.wallets(*twice)
    assert (await world.outcomes())[body["id"]] == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")
    assert await world.rows("SELECT count(*) FROM parked_updates") == [(0,)]
    await world.take_in(merged("x", "y") | {"from": {"hsid": "b"}, "into": {"hsid": "c"}})
    await world.wallets(wallet("other", card("z", wallet="z")) | {"customer": {"enterpriseId": "ann", "hsid": "z"}})
    assert (await world.outcomes())[body["id"]] == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")


async def test_a_merge_that_is_quarantined_at_once_does_not_wait_for_its_customers_to_become_one(world: World) -> None:
    """docs/decisions.md: done by surprise weeks later, a merge would do harm."""
    twice = [
        wallet(name, card(name, wallet=name)) | {"customer": {"enterpriseId": "bea", "hsid": name}} for name in "bc"
    ]
    await world.wallets(wallet("ann", card("a", wallet="ann")), *twice)
    body = merged("ann", "bea")
    assert await only_outcome(world, body) == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")
    assert await world.rows("SELECT count(*) FROM parked_updates") == [(0,)]
    to_one = merged("x", "y") | {"from": {"hsid": "b"}, "into": {"hsid": "c"}}
    assert await only_outcome(world, to_one) == ("APPLIED", None)
    assert (await world.outcomes())[body["id"]] == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")
    assert {name: len(methods) for name, methods in (await world.live()).items()} == {"ann": 1, "bea": 2}


# --- in place -----------------------------------------------------------------------------------------------------


async def test_a_vendor_that_keeps_its_token_changes_the_method_in_place(world: World) -> None:
    """Three cards behind one token, told in another order than they came to be, and one of them twice."""
    await world.wallets(wallet("ann", card("a", wallet="ann"), links=[link("a", wallet="ann")]))
    third = {"token": "tok_a", "fingerprint": "fp_3", "last4": "3333"}
    assert await only_outcome(world, replaced("a", "b", day=3, new=third)) == ("APPLIED", None)
    second = {"token": "tok_a", "fingerprint": "fp_2", "last4": "2222", "expiryYear": 2027}
    assert await only_outcome(world, replaced("a", "b", day=2, new=second)) == ("APPLIED", None)
    assert await only_outcome(world, replaced("a", "b", day=9, new=second)) == ("DUPLICATE", "ALREADY_KNOWN")
    (exported,) = await world.export()
    (method,) = exported["paymentMethods"]
    assert (method["id"], method["details"]["last4"], method["details"]["expiryYear"]) == (named("ann/a"), "3333", 2028)
    assert [name for _, name, _ in await world.told()] == ["PAYMENT_METHOD_UPDATED"]


async def test_a_card_behind_a_token_may_become_what_it_was(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    first = {"token": "tok_a", "fingerprint": "fp_a", "methodType": "CARD"}
    await world.take_in(replaced("a", "b", day=1, new={"token": "tok_a", "last4": "2222"}))
    back = replaced("a", "a", day=2, new={"last4": "1111"}) | {"old": first | {"fingerprint": "fp_b"}}
    assert await only_outcome(world, back) == ("APPLIED", None)
    (exported,) = await world.export()
    (method,) = exported["paymentMethods"]
    assert method["details"]["last4"] == "1111"


@pytest.mark.parametrize("order", [1, -1])
async def test_a_card_behind_a_token_shows_what_was_said_of_it_last(world: World, order: int) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    alone = {"token": "tok_a", "fingerprint": None, "last4": "3333"}
    told = [
        update(
            "EXPIRY_UPDATED", "a", day=1, new={"token": "tok_a", "last4": "1111", "expiryMonth": 1, "expiryYear": 2027}
        ),
        replaced("a", "b", day=2, new={"token": "tok_a", "last4": "2222"}),
        replaced("a", "a", day=3, new=alone),
    ]
    for body in told[::order]:
        await world.take_in(body)
    (exported,) = await world.export()
    (method,) = exported["paymentMethods"]
    assert method["details"]["last4"] == "3333"
    await world.take_in(replaced("a", "d", day=4, new={"token": "tok_a", "last4": "4444"}))
    assert (await world.export())[0]["paymentMethods"][0]["details"]["last4"] == "4444"


async def test_a_card_that_is_there_already_replaces_the_one_that_became_it_in_place(world: World) -> None:
    await world.wallets(
        wallet("ann", card("a", wallet="ann"), card("b", wallet="ann"), links=[link("a", wallet="ann")])
    )
    assert await only_outcome(world, replaced("a", "b", new={"token": "tok_a"})) == ("APPLIED", None)
    (exported,) = await world.export()
    methods = {method["id"]: method for method in exported["paymentMethods"]}
    assert methods[named("ann/a")]["replacedBy"] == named("ann/b")
    assert exported["paymentLinks"][0]["paymentMethodId"] == named("ann/b")


async def test_a_card_changed_behind_a_token_alone_shows_what_the_vendor_said_last(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    await world.take_in(update("CLOSED", "a", day=1))
    for day, last4 in ((5, "5555"), (2, "2222")):
        body = replaced("a", "a", day=day, new={"last4": last4, "fingerprint": None, "brand": "MASTERCARD"})
        await world.take_in(body)
    (exported,) = await world.export()
    (method,) = exported["paymentMethods"]
    assert (method["details"]["last4"], method["details"]["cardBrand"]) == ("5555", "MASTERCARD")
    assert method["status"] == "ACTIVE"


async def test_a_number_is_known_by_its_fingerprint_under_the_key_before(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    body = replaced("a", "b") | {"old": {"fingerprint": "v2_a", "formerFingerprint": "fp_a"}}
    body["new"] = {"fingerprint": "v2_b", "formerFingerprint": "fp_b", "last4": "5678"}
    assert await only_outcome(world, body) == ("APPLIED", None)
    known = await world.rows("SELECT key FROM payment_method_credentials WHERE live ORDER BY key")
    assert known == [(":fp_b",), (":v2_b",)]


# --- parked -------------------------------------------------------------------------------------------------------


async def test_a_parked_update_is_settled_when_a_fact_makes_its_credential_known(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    later = replaced("b", "c", day=2)
    assert await only_outcome(world, later) == ("PARKED", None)
    await world.take_in(replaced("a", "b", day=1))
    assert (await world.outcomes())[later["id"]] == ("APPLIED", None)
    assert await world.rows("SELECT count(*) FROM parked_updates") == [(0,)]
    (method,) = (await world.live())["ann"]
    assert "fp_c" in method["credentials"]


async def test_a_parked_update_is_settled_when_a_wallet_is_imported(world: World) -> None:
    fact, closed, stranger = replaced("a", "b", day=1), update("CLOSED", "b", day=2), replaced("q", "r")
    await world.take_in(fact, closed, stranger)
    assert Counter((await world.outcomes()).values()) == {("PARKED", None): 3}
    await world.wallets(wallet("ann", card("a", wallet="ann"), links=[link("a", wallet="ann")]))
    (method,) = (await world.live())["ann"]
    assert (method["status"], len(method["links"])) == ("CLOSED", 1)
    assert await world.outcomes() == {
        fact["id"]: ("APPLIED", None),
        closed["id"]: ("APPLIED", None),
        stranger["id"]: ("PARKED", None),
    }
    assert [name for _, name, _ in await world.told()] == ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"]


async def test_what_was_told_while_nobody_knew_the_card_is_applied_by_whoever_told_it(world: World) -> None:
    expiry = update("EXPIRY_UPDATED", "a", new={"expiryMonth": 1, "expiryYear": 2030})
    fact, again = replaced("b", "c", day=1), replaced("b", "c", day=2, new={"expiryYear": 2033})
    await world.take_in(expiry, fact)
    await world.take_in(again)
    assert Counter((await world.outcomes()).values()) == {("PARKED", None): 3}
    await world.wallets(wallet("ann", card("a", wallet="ann")), wallet("bob", card("b", wallet="bob")))
    assert Counter((await world.outcomes()).values()) == {("APPLIED", None): 3}


async def test_a_parked_merge_is_done_when_the_wallets_are_imported(world: World) -> None:
    body = merged("ann", "bea")
    assert await only_outcome(world, body) == ("PARKED", None)
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    assert (await world.outcomes())[body["id"]] == ("PARKED", None)
    await world.wallets(wallet("bea", card("b", wallet="bea")))
    assert (await world.outcomes())[body["id"]] == ("APPLIED", None)
    assert [len(methods) for methods in (await world.live()).values()] == [2]


# --- merges -------------------------------------------------------------------------------------------------------


async def test_a_merge_moves_methods_and_replaces_the_ones_that_are_in_both(world: World) -> None:
    await world.wallets(
        wallet(
            "ann",
            card("a", wallet="ann", default=True),
            card("same", wallet="ann"),
            links=[link("same", wallet="ann"), link("a", wallet="ann", status="CANCELLED")],
        ),
        wallet("bea", card("b", wallet="bea", default=True), card("same", wallet="bea"), told=["gym"]),
    )
    body = merged("ann", "bea")
    assert await only_outcome(world, body) == ("APPLIED", None)
    exported = {each["customer"]["enterpriseId"]: each for each in await world.export()}
    assert exported["ann"]["mergedInto"] == exported["bea"]["id"]
    assert exported["bea"]["merchants"] == ["gym", "shop"]
    methods = {method["id"]: method for method in exported["bea"]["paymentMethods"]}
    assert set(methods) == {named(f"{name}") for name in ("ann/a", "ann/same", "bea/b", "bea/same")}
    gone = methods[named("ann/same")]
    assert (gone["status"], gone["replacedBy"], gone["deletedReason"]) == ("DELETED", named("bea/same"), "WALLET_MERGE")
    assert [method["id"] for method in methods.values() if method["default"]] == [named("bea/b")]
    at = {each["status"]: each["paymentMethodId"] for each in exported["bea"]["paymentLinks"]}
    assert at == {"ACTIVE": named("bea/same"), "CANCELLED": named("ann/a")}
    assert await only_outcome(world, merged("ann", "bea")) == ("DUPLICATE", "ALREADY_SO")


async def test_what_names_the_former_customer_reaches_the_merged_wallet(world: World) -> None:
    await world.wallets(
        wallet("ann", card("a", wallet="ann")),
        wallet("bea", card("b", wallet="bea")),
        wallet("cat", card("c", wallet="cat")),
    )
    await world.take_in(merged("ann", "bea"))
    await world.take_in(merged("bea", "cat"))
    assert await only_outcome(world, replaced("a", "z", customer={"enterpriseId": "ann"})) == ("APPLIED", None)
    assert [len(methods) for methods in (await world.live()).values()] == [3]


async def test_a_merge_in_one_batch_with_updates_of_both_wallets(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")), wallet("bea", card("b", wallet="bea")))
    taken = await world.take_in(
        replaced("a", "x"), merged("ann", "bea"), replaced("b", "x", day=2), replaced("x", "y", day=3)
    )
    assert taken.outcomes == {Outcome.APPLIED: 4}
    (method,) = (await world.live())["bea"]
    assert "fp_y" in method["credentials"]


# --- many wallets, many merchants ---------------------------------------------------------------------------------


async def test_a_shared_card_is_replaced_in_each_wallet_by_a_method_of_its_own(world: World) -> None:
    await world.wallets(*(wallet(name, card("a", wallet=name)) for name in ("ann", "bea")))
    assert (await world.take_in(replaced("a", "b"))).outcomes == {Outcome.APPLIED: 1}
    ids = {
        method["id"]
        for each in await world.export()
        for method in each["paymentMethods"]
        if method["status"] == "ACTIVE"
    }
    assert len(ids) == 2


async def test_only_subscribed_endpoints_are_told(world: World) -> None:
    await world.merchants("gym", event_types=["PAYMENT_METHOD_DELETED"])
    await world.wallets(wallet("ann", card("a", wallet="ann"), told=["gym"]))
    await world.take_in(replaced("a", "b"))
    assert await world.rows("SELECT endpoint_id, sequence, due_at IS NULL FROM deliveries") == [("to-gym", 2, False)]


async def test_sequences_have_no_gaps_over_batches(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann"), told=["gym", "shop"]))
    await world.take_in(replaced("a", "b", day=1))
    await world.take_in(update("CLOSED", "b", day=2), replaced("b", "c", day=3))
    await world.take_in(update("SUSPENDED", "c", day=4))
    sequences: dict[str, list[int]] = {}
    for merchant, _, sequence in await world.told():
        sequences.setdefault(merchant, []).append(sequence)
    assert sequences["gym"] == sequences["shop"] == list(range(1, len(sequences["gym"]) + 1))


# --- the topic ----------------------------------------------------------------------------------------------------


async def test_a_message_read_again_is_not_counted_again(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    messages = [world.message(replaced("a", "b")), world.message(b"{"), world.message(replaced("q", "r"))]
    first, again = await world.take_messages(messages), await world.take_messages(messages)
    assert (first.outcomes.total(), first.unreadable, first.redelivered) == (2, 1, 0)
    assert (again.outcomes.total(), again.redelivered, again.events) == (0, 2, 0)
    assert await world.rows("SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM dead_letters)") == [(2, 1)]


async def test_a_topic_made_anew_counts_its_offsets_from_zero_and_loses_nothing(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    await world.take_messages([world.message(replaced("a", "b"), offset=0)])
    taken = await world.take_messages([world.message(replaced("b", "c", day=2), offset=0)])
    assert taken.outcomes == {Outcome.APPLIED: 1}


# --- statements ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
async def test_a_batch_runs_as_many_statements_whatever_its_size(world: World, *, mixed: bool) -> None:
    names = [f"n{number}" for number in range(602)]
    await world.wallets(*(wallet(name, card(name, wallet=name), links=[link(name, wallet=name)]) for name in names))
    counted: list[int] = []
    for size in (1, 100, 500):
        bodies = [replaced(name, f"{name}-new") for name in names[:size]]
        if mixed:
            bodies += [update("CLOSED", f"{name}-new", day=9) for name in names[:size]] + [{"id": "broken"}] * size
            bodies += [replaced(f"unknown-{size}-{name}", "y") for name in names[:size]]
        del names[:size]
        statements: list[object] = []

        def count(*arguments: object, statements: list[object] = statements) -> None:
            statements.append(arguments[2])

        hooks.listen(world.engine.sync_engine, "before_cursor_execute", count)
        await world.take_in(*bodies)
        hooks.remove(world.engine.sync_engine, "before_cursor_execute", count)
        counted.append(len(statements))
    assert counted[0] == counted[1] == counted[2] < 32


async def test_a_chain_costs_one_more_round_for_each_step_that_was_not_loaded(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    await world.take_in(replaced("b", "c", day=2))
    await world.take_in(replaced("c", "d", day=3))
    await world.take_in(replaced("a", "b", day=1))
    (method,) = (await world.live())["ann"]
    assert "fp_d" in method["credentials"]
    assert set((await world.outcomes()).values()) == {("APPLIED", None)}


# --- imports ------------------------------------------------------------------------------------------------------


async def test_an_import_is_whole_or_nothing(world: World) -> None:
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    with pytest.raises(Refused, match=named("ann/a")):
        await world.wallets(wallet("bea", card("b", wallet="bea")), wallet("cat", card("a", wallet="ann")))
    with pytest.raises(Refused, match="nobody"):
        await world.wallets(wallet("bea", card("b", wallet="bea"), told=["nobody"]))
    assert list(await world.live()) == ["ann"]


async def test_export_import_export_is_the_same(world: World) -> None:
    await world.wallets(
        wallet(
            "ann",
            card("a", wallet="ann", default=True),
            links=[link("a", wallet="ann")],
            hsid="h1",
            dateOfBirth="1980-01-31",
        ),
        wallet("bea", card("b", wallet="bea"), metadata={"patientId": "rx-1"}),
    )
    await world.take_in(replaced("a", "b"), merged("ann", "bea"), update("CLOSED", "b", day=3))
    first = await world.export()
    async with world.engine.begin() as connection:
        tables = "wallets, merchants, credentials, replacement_facts, inbox, events"
        await connection.exec_driver_sql(f"TRUNCATE {tables} CASCADE")
    await world.merchants("shop", "gym")
    await world.wallets(*first)
    assert json.dumps(await world.export()) == json.dumps(first)


async def test_an_update_from_the_far_future_is_set_aside(world: World) -> None:
    """It would stand against every later report, of all vendors, until then."""
    await world.wallets(wallet("ann", card("a", wallet="ann")))
    now = datetime.now(UTC)
    soon, late = (
        update("CLOSED", "a") | {"occurredAt": (now + timedelta(days=days)).isoformat()} for days in (365, 367)
    )
    taken = await world.take_in(soon, late)
    assert (taken.outcomes, taken.unreadable) == ({Outcome.APPLIED: 1}, 1)
    [(reason,)] = await world.rows("SELECT reason FROM dead_letters")
    assert reason == "occurredAt: expected a time at most 366 days ahead"
