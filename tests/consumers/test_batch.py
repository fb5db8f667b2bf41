"""What becomes of the messages of a batch: their outcomes, the wallets, and what merchants are told."""

import json
from collections import Counter
from typing import Any

import pytest

from consumers.batch import take_in
from domain.update import Outcome, Reason, Update, UpdateType
from domain.wallet import Details, Expiry, LinkStatus, MethodStatus, MethodType
from store.accounting import take_stock
from tests.consumers.harness import EVERYTHING, RETENTION, Delivery, Harness, merging, written
from tests.domain.build import link, live, method, removed, replaced, reported, wallet, who

# --- outcomes -----------------------------------------------------------------------------------------------------

WALLETS = (
    wallet(
        method("A", default=True, subscription_default=True, par="P1"),
        method("O", par="P2"),
        method("G", type=MethodType.GIFT_CARD),
        removed("R"),
        links=[link("m-A")],
    ),
    wallet(method("A", id="m-A2"), customer="e2"),
)

APPLIED, SUPERSEDED, DUPLICATE = Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.DUPLICATE
PARKED, IGNORED, QUARANTINED = Outcome.PARKED, Outcome.IGNORED, Outcome.QUARANTINED
CLOSED, RESUMED, DETAILS = UpdateType.CLOSED, UpdateType.RESUMED, UpdateType.DETAILS_UPDATED


@pytest.mark.parametrize(
    ("before", "update", "outcome", "reason"),
    [
        ([], replaced("A", "B", on=1), APPLIED, None),
        ([], reported(CLOSED, "A", on=1), APPLIED, None),
        ([], reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=Expiry(2030, 1)), APPLIED, None),
        ([], reported(DETAILS, "A", on=1, holder_name="Jo"), APPLIED, None),
        ([reported(CLOSED, "A", on=5)], reported(RESUMED, "A", on=3), SUPERSEDED, "NEWER_KNOWN"),
        ([replaced("A", "C", on=5)], replaced("A", "B", on=3), SUPERSEDED, "NEWER_FACT"),
        ([reported(CLOSED, "X", on=5)], reported(RESUMED, "X", on=3), SUPERSEDED, "NEWER_KNOWN"),
        ([replaced("A", "B", on=1)], replaced("A", "B", on=1), DUPLICATE, "SAME_MESSAGE"),
        ([replaced("A", "B", on=1)], replaced("A", "B", on=9, id="new"), DUPLICATE, "ALREADY_KNOWN"),
        ([replaced("X", "Y", on=1)], replaced("X", "Y", on=9, id="new"), DUPLICATE, "ALREADY_KNOWN"),
        ([], reported(RESUMED, "A", on=1), DUPLICATE, "ALREADY_SO"),
        ([], replaced("X", "Y", on=1), PARKED, None),
        ([], reported(CLOSED, "X", on=1), PARKED, None),
        ([], replaced("X", "Y", on=1, customer="e1"), PARKED, None),
        ([], reported(UpdateType.OPTED_OUT, "A", on=1), IGNORED, "OPTED_OUT"),
        ([], reported(UpdateType.NO_CHANGE, "X", on=1), IGNORED, "NO_CHANGE"),
        ([], reported(UpdateType.NO_MATCH, "A", on=1), IGNORED, "NO_MATCH"),
        ([], replaced("A", "A", on=1, expiry=None), IGNORED, "SAME_CREDENTIAL"),
        ([], replaced("R", "S", on=1), IGNORED, "CUSTOMER_REMOVED"),
        ([], replaced("A", "G", on=1, customer="e1"), QUARANTINED, "TYPE_CONFLICT"),
        ([], replaced("A", "O", on=1, customer="e1"), QUARANTINED, "ACCOUNT_CONFLICT"),
        ([], replaced("A", "B", on=1, par="P9", customer="e1"), QUARANTINED, "ACCOUNT_CONFLICT"),
        ([], replaced("A", "B", on=1, customer="e9"), QUARANTINED, "OWNER_MISMATCH"),
        ([replaced("A", "B", on=1)], replaced("A", "C", on=1), QUARANTINED, "ID_REUSED"),
        ([replaced("X", "Y", on=1)], reported(CLOSED, "A", on=2, id="vau-1"), QUARANTINED, "ID_REUSED"),
        ([], merging(who("e2"), who("e1")), APPLIED, None),
        ([], merging(who("e1"), who("e1")), DUPLICATE, "ALREADY_SO"),
        ([merging(who("e2"), who("e1"))], merging(who("e2"), who("e1"), id="again"), DUPLICATE, "ALREADY_SO"),
        ([], merging(who("e9"), who("e1")), PARKED, None),
        ([], merging(who("e1"), who("e9")), PARKED, None),
        ([], merging(who("e8"), who("e9")), PARKED, None),
        ([], merging(who("e9"), who("e9")), PARKED, None),
    ],
)
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "in one batch"])
async def test_every_update_has_the_outcome_and_the_reason_of_the_page(
    harness: Harness, before: list[Update], update: Update, outcome: Outcome, reason: str | None, *, together: bool
) -> None:
    await harness.import_wallets(*WALLETS)
    if together:
        taken = await harness.report(*before, update)
    else:
        for each in before:
            await harness.report(each)
        taken = await harness.report(update)

    assert (await harness.outcomes())[-1] == (update.stamp.update_id, outcome.value, reason)
    assert len(await harness.outcomes()) == len(before) + 1
    assert taken.outcomes[outcome] >= 1
    assert await harness.dead_letters() == []


async def test_a_customer_of_two_wallets_is_no_target_for_a_merge(harness: Harness) -> None:
    twice = wallet(method("T"))._replace(id="w-e1-again")
    await harness.import_wallets(*WALLETS, twice)
    await harness.report(merging(who("e2"), who("e1")))
    assert await harness.outcome("merge") == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")


async def test_every_message_is_accounted_for(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    contents: list[Any] = [
        replaced("A", "B", on=1),
        replaced("A", "B", on=1),
        replaced("A", "C", on=1),
        b"{",
        replaced("X", "Y", on=2),
        b"",
        reported(UpdateType.NO_MATCH, "A", on=3),
        reported(CLOSED, "A", on=4, customer="e9"),
        written(replaced("A", "4111111111111111", on=5)),
    ]
    taken = await harness.report(*contents)

    assert taken.outcomes == Counter({APPLIED: 1, DUPLICATE: 1, QUARANTINED: 2, PARKED: 1, IGNORED: 1})
    assert taken.unreadable == 3
    assert taken.redelivered == 0
    assert Counter(outcome for _, outcome, _ in await harness.outcomes()) == Counter(
        {each.value: count for each, count in taken.outcomes.items()}
    )
    assert len(await harness.outcomes()) + len(await harness.dead_letters()) == len(contents)
    (events,) = await harness.rows("SELECT count(*) FROM events")
    assert taken.events == events.count


async def test_updates_are_recorded_in_the_order_of_their_names(harness: Harness) -> None:
    """Two workers that take in the same updates, each in another order, would otherwise wait for each other."""
    await harness.import_wallets(*WALLETS)
    first = [reported(CLOSED, "X", on=1, id=id_, vendor=vendor) for vendor, id_ in (("vau", "2"), ("vau", "1"))]
    # by another vendor, of a wallet's card, and one that is repeated
    others = [reported(RESUMED, "abu:X", on=3, id="9", vendor="abu"), reported(CLOSED, "A", on=2, id="3"), first[0]]
    await harness.report(*first, *others)
    rows = await harness.rows("SELECT vendor, update_id FROM inbox ORDER BY id")
    assert [tuple(row) for row in rows] == [("abu", "9"), ("vau", "1"), ("vau", "2"), ("vau", "2"), ("vau", "3")]


# --- messages met before ------------------------------------------------------------------------------------------


async def test_a_message_read_again_is_not_taken_in_again(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    batch = [harness.message(each) for each in (replaced("A", "B", on=1), reported(CLOSED, "X", on=2), b"{")]
    await harness.take_in(batch)
    before = await everything(harness)

    taken = await harness.take_in(batch)
    assert (taken.redelivered, taken.outcomes, taken.events) == (2, Counter(), 0)
    assert await everything(harness) == before

    taken = await harness.take_in([*batch, harness.message(reported(CLOSED, "O", on=3))])
    assert (taken.redelivered, taken.outcomes) == (2, Counter({APPLIED: 1}))


async def test_a_topic_made_anew_counts_from_zero_and_is_taken_in(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    await harness.report(replaced("A", "B", on=1), b"{")
    anew = [harness.message(reported(CLOSED, "A", on=2), offset=0), harness.message(b"[", offset=1)]
    taken = await harness.take_in(anew)
    assert (taken.redelivered, sum(taken.outcomes.values()), taken.unreadable) == (0, 1, 1)
    assert len(await harness.outcomes()) == 2
    assert [letter.body for letter in await harness.dead_letters()] == [b"{", b"["]


async def test_one_place_of_two_topics_is_two_places(harness: Harness) -> None:
    await harness.report(replaced("X", "Y", on=1))
    other = Harness(harness.engine, topic="other")
    await other.report(replaced("X", "Y", on=1))
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["PARKED", "DUPLICATE"]


async def everything(harness: Harness) -> dict[str, Any]:
    """Each row of the tables that a batch writes."""
    tables = ("inbox", "parked_updates", "dead_letters", "events", "deliveries", "credentials", "replacement_facts",
              "payment_methods", "payment_links", "wallet_merchants", "lineage")  # fmt: skip
    rows = {}
    for table in tables:
        ignored = "- 'kept_until'" if table in {"credentials", "replacement_facts"} else ""
        found = await harness.rows(f"SELECT CAST(to_jsonb(t) {ignored} AS text) AS row FROM {table} AS t")  # noqa: S608
        rows[table] = sorted(row.row for row in found)
    return rows


# --- dead letters -------------------------------------------------------------------------------------------------


async def test_a_letter_says_where_it_stood_and_why_and_keeps_the_message_masked(harness: Harness) -> None:
    body = json.dumps({"id": "1", "card": "4111 1111 1111 1111"}).encode()
    messages = [
        harness.message(body, partition=2, offset=41, key=b"vau:4111111111111111"),
        harness.message(b"\xff\x00", partition=2, offset=42, key=b"a\x00b"),
        harness.message(b"", partition=2, offset=43),
    ]
    await harness.take_in(messages)
    first, second, third = await harness.dead_letters()
    assert first._asdict() == {
        "topic": "updates",
        "partition": 2,
        "offset": 41,
        "reason": "$.card: expected no card number",
        "key": "vau:****************",
        "body": b'{"id": "1", "card": "**** **** **** ****"}',
    }
    assert (second.reason, second.key, second.body) == ("message: expected UTF-8", "a\\x00b", b"\\xff\x00")
    assert (third.key, third.body) == (None, b"")


async def test_tombstones_are_counted_once_each_and_nothing_is_kept_of_them(harness: Harness) -> None:
    closing = reported(CLOSED, "A", on=1)
    first = [harness.message(content) for content in (None, closing, None)]
    elsewhere = [harness.message(None, partition=1)]
    taken = await harness.take_in([*first, *elsewhere])
    assert (taken.empty, taken.unreadable) == (3, 0)
    # a crash before the offsets were committed: they are read again, with one that is new
    await harness.take_in([*first, harness.message(None)])
    assert await harness.dead_letters() == []
    async with harness.engine.begin() as connection:
        accounts = await take_stock(connection)
    assert (accounts.empty, accounts.received) == (4, 5)


async def test_a_message_at_the_same_place_of_a_topic_made_anew_is_another_one(harness: Harness) -> None:
    """With the same content it is a repetition, which has a row; what nobody can read has a letter."""
    closing = reported(CLOSED, "A", on=1)
    messages = [harness.message(closing), harness.message(b"{"), harness.message(None)]
    for incarnation in (0, 0, 1, 1):
        await take_in(harness.engine, messages, RETENTION, incarnation=incarnation)
    async with harness.engine.begin() as connection:
        assert (await take_stock(connection)).empty == 2
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["PARKED", "DUPLICATE"]
    assert len(await harness.dead_letters()) == 2


@pytest.mark.parametrize(
    "content",
    [
        b'{"\\ud800": "4111111111111111"}',
        b'{"id": "1", "customer": {"metadata": {"a\\u0000": "b"}}}',
        b'{"specversion": "1.0", "data_base64": "\\ud800"}',
        b'["\\u0041", ' + b"[" * 10_000,
    ],
)
async def test_what_no_text_column_takes_is_kept_all_the_same(harness: Harness, content: bytes) -> None:
    await harness.import_wallets(*WALLETS)
    await harness.take_in(
        [
            harness.message(content, key=b"\x00\xff", headers=[("ce_id", None)]),
            harness.message(reported(CLOSED, "A", on=1)),
        ]
    )
    assert len(await harness.dead_letters()) == 1
    assert await harness.outcome("vau-1") == ("APPLIED", None)


async def test_the_mates_of_unreadable_messages_are_applied(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    await harness.report(b"\x00", reported(CLOSED, "A", on=1), b"{}", replaced("A", "B", on=2), b"[]")
    assert live(await harness.wallet()).keys() == {"B", "G", "O"}
    assert len(await harness.dead_letters()) == 3


async def test_of_two_messages_at_one_offset_the_one_that_cannot_be_used_is_set_aside_alone(harness: Harness) -> None:
    """They stand in two partitions."""
    far = written(reported(CLOSED, "X", on=1, id="far")) | {"occurredAt": "2999-01-01T00:00:00Z"}
    await harness.take_in([harness.message(far), harness.message(reported(CLOSED, "Y", on=1, id="y"), partition=1)])
    assert await harness.outcomes() == [("y", "PARKED", None)]
    assert [(letter.partition, letter.offset) for letter in await harness.dead_letters()] == [(0, 0)]


# --- wallets ------------------------------------------------------------------------------------------------------


async def test_a_replacement_is_written_whole(harness: Harness) -> None:
    old = method("A", default=True, nickname="Mine", par="P1")._replace(
        details=Details("1111", "VISA", Expiry(2026, 6), "Jo", "12345", manufacturer_card=True),
    )
    links = [
        link("m-A", id="active"),
        link("m-A", id="paused", status=LinkStatus.PAUSED, merchant="optician"),
        link("m-A", id="cancelled", status=LinkStatus.CANCELLED),
        link("m-O", id="other"),
    ]
    await harness.import_wallets(wallet(old, method("O", subscription_default=True), links=links))
    await harness.report(replaced("A", ("B", ":fb"), on=1, last4="2222", brand="VISA", reason=Reason.LOST_OR_STOLEN))

    now = await harness.wallet()
    (new,) = (each for each in now.live_methods if "vau:B" in each.keys)
    gone = next(each for each in now.methods if each.id == "m-A")
    assert new == new._replace(
        type=MethodType.CARD,
        status=MethodStatus.ACTIVE,
        keys=frozenset({"vau:B", ":fb"}),
        details=Details("2222", "VISA", Expiry(2029, 12), "Jo", "12345", manufacturer_card=True),
        nickname="Mine",
        par="P1",
        default=True,
        subscription_default=False,
    )
    assert (gone.status, gone.replaced_by, gone.deleted_reason) == (MethodStatus.DELETED, new.id, "LOST_OR_STOLEN")
    assert {each.id: each.method_id for each in now.links} == {
        "active": new.id,
        "paused": new.id,
        "cancelled": "m-A",
        "other": "m-O",
    }
    (row,) = await harness.rows(
        "SELECT CAST(old_id AS text), CAST(new_id AS text), reason, vendor, update_id FROM lineage"
    )
    assert row == (harness.id_of("m-A"), new.id, "LOST_OR_STOLEN", "vau", "vau-1")


async def test_a_shared_card_is_replaced_in_every_wallet_on_its_own(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    await harness.report(replaced("A", "B", on=1, par="P1"))
    one, other = await harness.wallet("e1"), await harness.wallet("e2")
    (mine,) = (each for each in one.live_methods if "vau:B" in each.keys)
    (theirs,) = other.live_methods
    assert mine.id != theirs.id
    assert theirs.keys == {"vau:B"}
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]


async def test_what_names_a_customer_reaches_no_other_wallet(harness: Harness) -> None:
    await harness.import_wallets(*WALLETS)
    await harness.report(replaced("A", "B", on=1, customer="e2"))
    assert "A" in live(await harness.wallet("e1"))
    assert live(await harness.wallet("e2")).keys() == {"B"}


async def test_a_chain_that_arrives_backwards_ends_at_its_end(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await harness.report(replaced("C", "D", on=3))
    await harness.report(replaced("B", "C", on=2))
    await harness.report(replaced("A", "B", on=1))
    now = await harness.wallet()
    assert live(now).keys() == {"D"}
    assert now.links[0].method_id == live(now)["D"].id
    assert now.leads >= {"vau:B", "vau:C"}
    assert await harness.outcomes() == [
        ("vau-3", "APPLIED", None),
        ("vau-2", "APPLIED", None),
        ("vau-1", "APPLIED", None),
    ]


async def test_many_updates_of_one_wallet_cost_one_set_of_events(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await harness.report(*(replaced(f"{'A' if n == 1 else n}", f"{n + 1}", on=n) for n in range(1, 30)))
    assert live(await harness.wallet()).keys() == {"30"}
    assert [name for name, _ in await harness.told("pharmacy")] == ["REPLACED", "DELETED"]


# --- merges -------------------------------------------------------------------------------------------------------


async def test_a_merged_wallet_moves_with_all_it_has(harness: Harness) -> None:
    target = wallet(
        method("A", default=True),
        method("T"),
        links=[link("m-T", id="l-T", merchant="optician")],
        merchants=("optician",),
    )
    source = wallet(
        method("A", id="m-A2", default=True, subscription_default=True),
        method("S"),
        removed("Z"),
        links=[
            link("m-A2", id="l-A2"),
            link("m-S", id="l-S"),
            link("m-A2", id="l-cancelled", status=LinkStatus.CANCELLED),
        ],
        customer="e2",
        merchants=("pharmacy",),
    )
    await harness.import_wallets(target, source)
    await harness.report(replaced("S", "S2", on=1), reported(CLOSED, "Q", on=1, id="q"))
    await harness.report(merging(who("e2"), who("e1")))

    now, left = await harness.wallet("e1"), await harness.wallet("e2")
    assert (left.methods, left.links, left.leads, left.merged_into) == ((), (), frozenset(), "w-e1")
    assert left.customer == source.customer
    assert now.merchants == ("optician", "pharmacy")
    assert live(now).keys() == {"A", "T", "S2"}
    current = live(now)
    assert (current["A"].id, current["A"].default, current["A"].subscription_default) == ("m-A", True, True)
    moved = {each.id: each.method_id for each in now.links}
    assert moved == {"l-T": "m-T", "l-A2": "m-A", "l-S": current["S2"].id, "l-cancelled": "m-A2"}
    gone = {each.id: (each.replaced_by, each.deleted_reason) for each in now.methods if not each.live}
    assert gone["m-A2"] == ("m-A", "WALLET_MERGE")
    assert gone["m-S"] == (current["S2"].id, "REISSUED")
    assert now.former_identities == {("enterpriseId", "e2")}
    assert ("DELETED", "m-A2") in await harness.told("optician")
    assert ("DELETED", "m-A2") in await harness.told("pharmacy")
    # what either merchant could not see before
    assert ("UPDATED", "m-T") in await harness.told("pharmacy")
    assert ("UPDATED", current["S2"].id) in await harness.told("optician")

    await harness.report(replaced("S2", "S3", on=9, customer="e2"))
    assert await harness.outcome("vau-9") == ("APPLIED", None)


async def test_a_merged_wallet_knows_nothing_any_more(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("T")), wallet(method("S"), customer="e2"))
    await harness.report(replaced("S", "S2", on=1), replaced("S2", "S3", on=2))
    assert (await harness.wallet("e2")).leads
    await harness.report(merging(who("e2"), who("e1")))
    assert (await harness.wallet("e2")).leads == frozenset()
    assert {"vau:S2"} <= (await harness.wallet("e1")).leads


@pytest.mark.parametrize("together", [False, True])
async def test_a_chain_of_merges_ends_in_one_wallet(harness: Harness, *, together: bool) -> None:
    await harness.import_wallets(*(wallet(method(f"C{n}"), customer=f"e{n}") for n in range(1, 6)))
    merges = [merging(who(f"e{n}"), who(f"e{n + 1}"), id=f"m{n}") for n in (3, 1, 2, 4)]
    if together:
        await harness.report(*merges)
    else:
        for each in merges:
            await harness.report(each)
    every = await harness.wallets()
    assert {name: each.merged_into for name, each in every.items()} == {
        "w-e1": "w-e5",
        "w-e2": "w-e5",
        "w-e3": "w-e5",
        "w-e4": "w-e5",
        "w-e5": None,
    }
    assert live(every["w-e5"]).keys() == {f"C{n}" for n in range(1, 6)}
    await harness.report(replaced("C1", "D1", on=1, customer="e1"))
    assert await harness.outcome("vau-1") == ("APPLIED", None)


@pytest.mark.parametrize("source_first", [True, False])
@pytest.mark.parametrize("there_already", ["neither", "source", "target"])
async def test_a_merge_that_came_too_early_follows_when_the_customers_come(
    harness: Harness, *, source_first: bool, there_already: str
) -> None:
    source, target = wallet(method("S"), customer="e2"), wallet(method("T"))
    if there_already == "source":
        await harness.import_wallets(source)
    if there_already == "target":
        await harness.import_wallets(target)
    await harness.report(merging(who("e2"), who("e1")))
    assert await harness.outcome("merge") == ("PARKED", None)

    late = {"neither": [source, target], "source": [target], "target": [source]}[there_already]
    for each in late if source_first else reversed(late):
        await harness.import_wallets(each)

    assert await harness.outcome("merge") == ("APPLIED", None)
    assert live(await harness.wallet()).keys() == {"S", "T"}
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def test_a_merge_of_customers_who_share_an_identity_can_wait(harness: Harness) -> None:
    shared = ("metadata.patientId", "x")
    merge = merging((("hsid", "h1"), shared), (("hsid", "h2"), shared))
    await harness.report(merge)
    assert await harness.outcome("merge") == ("PARKED", None)


# --- parked updates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("customer", [None, "e1"])
async def test_a_parked_update_follows_when_a_fact_leads_to_its_credential(
    harness: Harness, customer: str | None
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("B", "C", on=2, customer=customer), reported(CLOSED, ("B", ":b"), on=1, id="close"))
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["PARKED", "PARKED"]
    await harness.report(replaced("A", "B", on=1))
    assert await harness.outcome("vau-2") == ("APPLIED", None)
    # closed, but replaced since: it is not the current card any more
    assert await harness.outcome("close") == ("SUPERSEDED", "NEWER_FACT")
    assert await harness.rows("SELECT * FROM parked_updates") == []
    assert live(await harness.wallet()).keys() == {"C"}


@pytest.mark.parametrize("batches_of", [1, 1000])
async def test_parked_updates_follow_when_a_wallet_is_imported(harness: Harness, batches_of: int) -> None:
    await harness.report(
        replaced("A", "B", on=1, last4="2222"),
        reported(CLOSED, "B", on=2),
        reported(CLOSED, "N", on=3, customer="e9"),
        reported(RESUMED, "O", on=4),
        replaced("R", "S", on=5),
    )
    await harness.import_wallets(
        wallet(method("A"), method("N"), method("O"), removed("R"), links=[link("m-A")]),
        wallet(method("A", id="m-A2"), customer="e2", merchants=("optician",)),
        of=batches_of,
    )
    assert await harness.outcomes() == [
        ("vau-1", "APPLIED", None),
        ("vau-2", "APPLIED", None),
        ("vau-3", "QUARANTINED", "OWNER_MISMATCH"),
        ("vau-4", "DUPLICATE", "ALREADY_SO"),
        ("vau-5", "IGNORED", "CUSTOMER_REMOVED"),
    ]
    for customer in ("e1", "e2"):
        current = live(await harness.wallet(customer))["B"]
        assert (current.status, current.details.last4) == (MethodStatus.CLOSED, "2222")
    assert [name for name, _ in await harness.told("pharmacy")] == ["REPLACED", "DELETED"]
    assert [name for name, _ in await harness.told("optician", "w-e2")] == ["REPLACED", "DELETED"]
    # its customer may still turn up
    assert await harness.rows("SELECT key FROM parked_updates") == [("vau:N",)]


async def test_a_chain_that_came_backwards_and_before_its_wallet_follows_whole(harness: Harness) -> None:
    for link_of_it in (replaced("C", "D", on=3), replaced("B", "C", on=2), replaced("A", "B", on=1)):
        await harness.report(link_of_it)
    await harness.import_wallets(wallet(method("A")))
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"] * 3
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def test_a_merge_that_waited_lets_an_update_follow_that_came_before_it(harness: Harness) -> None:
    """The card is the merged wallet's; only the customer of the other one is told that it is another card now."""
    await harness.report(reported(CLOSED, "N", on=3, customer="e2", id="close"))
    await harness.report(replaced("A", "N", on=1, customer="e1"))
    await harness.report(merging((("enterpriseId", "e2"),), (("enterpriseId", "e1"),)))
    await harness.import_wallets(wallet(method("A"), customer="e2"))
    await harness.import_wallets(wallet(method("O"), customer="e1"))
    outcomes = {name: outcome for name, outcome, _ in await harness.outcomes()}
    assert outcomes == {"close": "APPLIED", "vau-1": "APPLIED", "merge": "APPLIED"}
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def test_an_update_of_another_customers_follows_when_that_customers_wallet_comes_to_know(
    harness: Harness,
) -> None:
    await harness.import_wallets(wallet(method("A"), customer="e1"))
    await harness.report(replaced("A", "B", on=1))
    await harness.report(reported(CLOSED, "B", on=2, customer="e2", id="close"))
    assert await harness.outcome("close") == ("QUARANTINED", "OWNER_MISMATCH")
    await harness.import_wallets(wallet(method("A", id="m-A2"), customer="e2"))
    assert live(await harness.wallet("e2"))["B"].status is MethodStatus.CLOSED
    assert await harness.outcome("close") == ("APPLIED", None)


async def test_an_update_that_comes_before_and_in_one_batch_with_its_wallet_s_fact_is_not_parked(
    harness: Harness,
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(reported(CLOSED, "B", on=2), replaced("A", "B", on=1))
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED", "APPLIED"]
    assert await harness.rows("SELECT * FROM parked_updates") == []


# --- events -------------------------------------------------------------------------------------------------------


async def test_each_merchant_hears_of_its_own_links_alone_and_in_its_own_sequence(harness: Harness) -> None:
    links = [
        link("m-A", id="one"),
        link("m-A", id="two", merchant="optician"),
        link("m-A", id="three", merchant="optician"),
    ]
    await harness.import_wallets(
        wallet(method("A"), method("O"), links=links, merchants=("dentist", "optician", "pharmacy"))
    )
    await harness.report(reported(CLOSED, "O", on=1))
    await harness.report(replaced("A", "B", on=2))
    for merchant, mine in (("dentist", []), ("optician", ["three", "two"]), ("pharmacy", ["one"])):
        updated, replaced_, deleted = await harness.events(merchant)
        assert [each["sequence"] for each in (updated, replaced_, deleted)] == [1, 2, 3]
        assert [each["name"] for each in (updated, replaced_, deleted)] == [*reversed(EVERYTHING[:1] + EVERYTHING[2:]),
                                                                            EVERYTHING[1]]  # fmt: skip
        assert sorted(harness.name_of(each["id"]) for each in replaced_["payload"]["paymentLinks"]) == mine
        assert harness.name_of(replaced_["payload"]["deletedPaymentMethodId"]) == "m-A"
        assert deleted["payload"]["replacedByPaymentMethodId"] == replaced_["payload"]["paymentMethod"]["id"]
        assert deleted["payload"]["paymentMethod"]["card"]["status"] == "DELETED"
    bodies = [row.body for row in await harness.rows("SELECT body FROM events")]
    assert len(set(bodies)) == 9


async def test_an_event_has_the_keys_of_its_version_and_the_id_of_its_wallet(harness: Harness) -> None:
    """Two wallets of one customer count their events each for itself."""
    await harness.import_wallets(*(wallet(method(name))._replace(id=f"w-{name}") for name in "AB"))
    await harness.report(reported(CLOSED, "A", on=1), reported(CLOSED, "B", on=1, id="b"))
    for name in ("w-A", "w-B"):
        (event,) = await harness.events("pharmacy", name)
        assert list(event) == ["id", "name", "createdAt", "version", "walletId", "sequence", "reason", "payload"]
        assert (event["version"], event["walletId"], event["sequence"]) == (1, harness.id_of(name), 1)
        assert event["payload"]["customer"]["enterpriseId"] == "e1"


async def test_sequences_have_no_gaps_over_batches_and_wallets(harness: Harness) -> None:
    await harness.import_wallets(
        *(wallet(method(f"A{n}"), method("S", id=f"m-S{n}"), customer=f"e{n}") for n in range(4))
    )
    for on in range(1, 9):
        await harness.report(
            replaced("S" if on == 1 else f"S{on - 1}", f"S{on}", on=on),
            *(reported(CLOSED if on % 2 else RESUMED, f"A{n}", on=on, id=f"a{n}-{on}") for n in range(0, 4, 2)),
        )
    rows = await harness.rows(
        "SELECT array_agg(events.sequence ORDER BY events.sequence) AS sequences, told.sequence AS latest"
        " FROM events JOIN wallet_merchants AS told USING (wallet_id, merchant_id)"
        " GROUP BY wallet_id, merchant_id, told.sequence"
    )
    assert len(rows) == 8
    for row in rows:
        assert row.sequences == list(range(1, row.latest + 1))


async def test_an_event_goes_to_the_endpoints_that_asked_for_it(harness: Harness) -> None:
    await harness.add_merchants(
        "pharmacy",
        "optician",
        endpoints={
            "pharmacy/all": EVERYTHING,
            "pharmacy/deleted": ["PAYMENT_METHOD_DELETED"],
            "optician/updated": ["PAYMENT_METHOD_UPDATED"],
        },
    )
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1))
    assert await harness.deliveries() == [
        Delivery("pharmacy/all", 1, "PENDING"),
        Delivery("pharmacy/all", 2, "PENDING"),
        Delivery("pharmacy/deleted", 2, "PENDING"),
    ]
    assert len(await harness.events("optician")) == 2


async def test_what_a_merchant_is_told_holds_no_credential(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("tok-secret", ":fp-secret", default=True)))
    await harness.report(
        replaced(("tok-secret", ":fp-secret"), ("tok-secret-2", ":fp-secret-2"), on=1, par="par-secret")
    )
    bodies = [row.body for row in await harness.rows("SELECT body FROM events")]
    assert bodies
    assert not [body for body in bodies if b"secret" in body]
