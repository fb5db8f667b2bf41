"""The outcome of an update: one row for each (outcome, reason) that `decide` gives, without a database."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.decide import Decision, Verdict, WaitingUpdate, decide
from domain.knowledge import Knowledge
from domain.merge import Merged
from domain.resolve import Replaced
from domain.update import Outcome, Scope, Stamp, Update, UpdateType
from domain.wallet import Customer, Details, Expiry, MethodStatus, MethodType, Wallet, WalletId
from tests.domain.build import day, method, removed, replaced, reported, wallet, who

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"

ANN = wallet(method("A"), customer="ann")
BEA = wallet(method("P"), customer="bea")
BEA_AGAIN = wallet(method("Q"), customer="bea")._replace(id="w-bea-again")


def merged(source: Scope, target: Scope) -> Update:
    stamp = Stamp(day(1), "crm", "merge")
    return Update(stamp, UpdateType.WALLET_MERGED, None, merge_from=source, merge_into=target)


ANN_BY_TWO_NAMES = ANN._replace(customer=Customer(frozenset({*who("ann"), ("hsid", "h1")})))


class Case(NamedTuple):
    """`reported` are the updates that came before `update`."""

    outcome: Outcome
    reason: str | None
    update: Update
    wallets: tuple[Wallet, ...] = (ANN,)
    reported: tuple[Update, ...] = ()


EARLIER = Expiry(2026, 1)
CASES = {
    "a replacement": Case(Outcome.APPLIED, None, replaced("A", "B", on=1)),
    "a status": Case(Outcome.APPLIED, None, reported(UpdateType.CLOSED, "A", on=1)),
    "an expiry": Case(Outcome.APPLIED, None, reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=Expiry(2030, 1))),
    "a number that stays, with a later expiry": Case(
        Outcome.APPLIED, None, replaced("A", "A", on=1, expiry=Expiry(2030, 1))
    ),
    "a merge of two customers": Case(Outcome.APPLIED, None, merged(who("ann"), who("bea")), (ANN, BEA)),
    "an older replacement of what was replaced": Case(
        Outcome.SUPERSEDED, "NEWER_FACT", replaced("A", "B", on=2), reported=(replaced("A", "C", on=5),)
    ),
    "an older status": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.SUSPENDED, "A", on=1),
        reported=(reported(UpdateType.CLOSED, "A", on=5),),
    ),
    "an expiry before the method's own": Case(
        Outcome.SUPERSEDED, "NEWER_KNOWN", reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=EARLIER)
    ),
    "an older status of a credential that no wallet knows": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.SUSPENDED, "Z", on=1),
        reported=(reported(UpdateType.CLOSED, "Z", on=5),),
    ),
    "the same by another vendor": Case(
        Outcome.DUPLICATE,
        "ALREADY_KNOWN",
        replaced("A", "B", on=5, vendor="mdes"),
        reported=(replaced("A", "B", on=1),),
    ),
    "what the wallet is already": Case(Outcome.DUPLICATE, "ALREADY_SO", reported(UpdateType.RESUMED, "A", on=1)),
    "a replacement that its customer has made already": Case(
        Outcome.DUPLICATE,
        "ALREADY_SO",
        replaced("A", "B", on=1, expiry=None),
        (wallet(removed("A"), method("B")),),
    ),
    "an earlier replacement of the same method by another card": Case(
        Outcome.SUPERSEDED,
        "NEWER_FACT",
        replaced("A", "B", on=1),
        (wallet(method("A"), method("C")),),
        (replaced("A", "C", on=5),),
    ),
    "a status that a later replacement implies": Case(
        Outcome.DUPLICATE,
        "ALREADY_SO",
        reported(UpdateType.RESUMED, "B", on=3),
        reported=(replaced("A", "B", on=5),),
    ),
    "an older status than a later replacement implies": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.CLOSED, "B", on=3),
        reported=(replaced("A", "B", on=5),),
    ),
    "a status of what was replaced since": Case(
        Outcome.SUPERSEDED,
        "NEWER_FACT",
        reported(UpdateType.CLOSED, "A", on=1),
        reported=(replaced("A", "B", on=5),),
    ),
    "a replacement that is so already in one of two wallets, and was replaced since in the other": Case(
        Outcome.DUPLICATE,
        "ALREADY_SO",
        replaced("A", "B", on=1, expiry=None),
        (
            wallet(removed("A", id="of-ann"), method("B", id="b-of-ann"), customer="ann"),
            wallet(method("A", id="of-bea"), method("C", id="c-of-bea"), customer="bea"),
        ),
        (replaced("A", "C", on=5, customer="bea"),),
    ),
    "an older status of the same method under another name": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.SUSPENDED, ":fp_A", on=1),
        (wallet(method("A", ":fp_A")),),
        (reported(UpdateType.CLOSED, "A", on=5),),
    ),
    "an older detail of the same method under another name": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.DETAILS_UPDATED, ":fp_A", on=1, zip_code="11111"),
        (wallet(method("A", ":fp_A")),),
        (reported(UpdateType.DETAILS_UPDATED, "A", on=5, zip_code="12345"),),
    ),
    "the same detail of the same method under another name": Case(
        Outcome.DUPLICATE,
        "ALREADY_SO",
        reported(UpdateType.DETAILS_UPDATED, ":fp_A", on=1, zip_code="12345"),
        (wallet(method("A", ":fp_A")),),
        (reported(UpdateType.DETAILS_UPDATED, "A", on=5, zip_code="12345"),),
    ),
    "an earlier expiry of the same method under another name": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.EXPIRY_UPDATED, ":fp_A", on=7, expiry=Expiry(2029, 1)),
        (wallet(method("A", ":fp_A")),),
        (reported(UpdateType.EXPIRY_UPDATED, "A", on=5, expiry=Expiry(2030, 1)),),
    ),
    "a merge of one wallet with itself": Case(Outcome.DUPLICATE, "ALREADY_SO", merged(who("ann"), who("ann"))),
    "what the wallet is already, in one of two wallets of which the other has removed it": Case(
        Outcome.DUPLICATE,
        "ALREADY_SO",
        reported(UpdateType.RESUMED, "A", on=1),
        (ANN, wallet(removed("A", id="of-bea"), customer="bea")),
    ),
    "an expiry before the own one of a method in one of two wallets": Case(
        Outcome.SUPERSEDED,
        "NEWER_KNOWN",
        reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=EARLIER),
        (ANN, wallet(method("A", id="of-bea", details=Details(expiry=EARLIER)), customer="bea")),
    ),
    "a change in one of two wallets": Case(
        Outcome.APPLIED,
        None,
        reported(UpdateType.CLOSED, "A", on=1),
        (wallet(removed("A", id="of-ann"), customer="ann"), wallet(method("A", id="of-bea"), customer="bea")),
    ),
    "a conflict in one of two wallets": Case(
        Outcome.QUARANTINED,
        "ACCOUNT_CONFLICT",
        replaced("A", "B", on=1, par="P2"),
        (
            wallet(method("A", id="of-ann", par="P1"), customer="ann"),
            wallet(removed("A", id="of-bea", par="P2"), customer="bea"),
        ),
    ),
    "a credential that no wallet knows": Case(Outcome.PARKED, None, replaced("Z", "B", on=1)),
    "a merge of a customer without a wallet": Case(Outcome.PARKED, None, merged(who("ann"), who("carl"))),
    "a merge of a customer of whom a second name is another's": Case(
        Outcome.PARKED, None, merged((*who("ann"), ("hsid", "h2")), who("bea")), (ANN_BY_TWO_NAMES, BEA)
    ),
    "a merge into a customer of whom a second name is another's": Case(
        Outcome.PARKED, None, merged(who("bea"), (*who("ann"), ("hsid", "h2"))), (ANN_BY_TWO_NAMES, BEA)
    ),
    "a merge of a customer whom no wallet knows": Case(
        Outcome.PARKED, None, merged(who("carl"), who("ann")), (ANN, BEA)
    ),
    "a method that its customer removed": Case(
        Outcome.IGNORED, "CUSTOMER_REMOVED", replaced("A", "B", on=1), (wallet(removed("A")),)
    ),
    "a cardholder who opted out": Case(Outcome.IGNORED, "OPTED_OUT", reported(UpdateType.OPTED_OUT, "A", on=1)),
    "an answer without a change": Case(Outcome.IGNORED, "NO_CHANGE", reported(UpdateType.NO_CHANGE, "A", on=1)),
    "an answer without a match": Case(Outcome.IGNORED, "NO_MATCH", reported(UpdateType.NO_MATCH, "A", on=1)),
    "a number that stays": Case(Outcome.IGNORED, "SAME_CREDENTIAL", replaced("A", "A", on=1, expiry=None)),
    "a number that stays, under one of its names": Case(
        Outcome.IGNORED, "SAME_CREDENTIAL", replaced(("A", ":fp_A"), ":fp_A", on=1, expiry=None)
    ),
    "a number that stays, whose name is new": Case(
        Outcome.APPLIED, None, replaced("A", "A", on=1, expiry=None, holder_name="Jane Roe")
    ),
    "another type of method": Case(
        Outcome.QUARANTINED,
        "TYPE_CONFLICT",
        replaced("A", "B", on=1),
        (wallet(method("A"), method("B", type=MethodType.BANK_ACCOUNT)),),
    ),
    "another payment account reference": Case(
        Outcome.QUARANTINED,
        "ACCOUNT_CONFLICT",
        replaced("A", "B", on=1, par="P2"),
        (wallet(method("A", par="P1")),),
    ),
    "another customer than the wallet's": Case(
        Outcome.QUARANTINED, "OWNER_MISMATCH", replaced("A", "B", on=1, customer="bea")
    ),
    "a merge into one of two wallets": Case(
        Outcome.QUARANTINED, "AMBIGUOUS_CUSTOMER", merged(who("ann"), who("bea")), (ANN, BEA, BEA_AGAIN)
    ),
}
# These two come from the inbox (a repeated id), this one from its upkeep, and these from people.
NOT_DECIDED = {"SAME_MESSAGE", "ID_REUSED", "UNKNOWN_PAYMENT_METHOD", "DISCARDED", "RETRACTED", "VENDOR_PAUSED"}


def decided(*updates: Update, of: tuple[Wallet, ...]) -> Decision:
    return decide(updates, of, Knowledge(), (), lambda _, key: f"made-{key}")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_outcome(case: Case) -> None:
    decision = decided(*case.reported, case.update, of=case.wallets)
    assert decision.verdicts[-1] == Verdict(case.outcome, case.reason)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_only_an_applied_update_changes_methods_or_their_wallet(case: Case) -> None:
    without = contents(decided(*case.reported, of=case.wallets), case.wallets)
    changed = contents(decided(*case.reported, case.update, of=case.wallets), case.wallets)
    assert (changed != without) == (case.outcome is Outcome.APPLIED)


@pytest.mark.parametrize("merge_comes", ["first", "between", "last"])
def test_a_merge_and_updates_of_both_wallets_come_to_the_same_in_any_order(merge_comes: str) -> None:
    both_hold = wallet(method("A", id="a-of-bea"), method("P"), customer="bea")
    merge = merged(who("ann"), who("bea"))
    updates = [replaced("P", "Q", on=2), reported(UpdateType.CLOSED, "A", on=3)]
    updates.insert(["first", "between", "last"].index(merge_comes), merge)

    decision = decided(*updates, of=(ANN, both_hold))

    assert {verdict.outcome for verdict in decision.verdicts} == {Outcome.APPLIED}
    source, target = (
        next(changed for changed in decision.changed if changed.after.id == name) for name in ("w-ann", "w-bea")
    )
    assert (source.after.methods, source.after.merged_into, source.changes) == ((), "w-bea", ())
    assert [(change.old.id, change.new.id) for change in target.changes if isinstance(change, Replaced)] == [
        ("m-A", "a-of-bea"),
        ("m-P", "made-CARD:vau:Q"),
    ]
    assert {method.id: method.status for method in target.after.live_methods} == {
        "a-of-bea": MethodStatus.CLOSED,
        "made-CARD:vau:Q": MethodStatus.ACTIVE,
    }
    assert {method.id: method.replaced_by for method in target.after.methods} == {
        "a-of-bea": None,
        "m-P": "made-CARD:vau:Q",
        "m-A": "a-of-bea",
        "made-CARD:vau:Q": None,
    }
    assert decision.known == {"vau:A", "vau:P", "vau:Q"}


@pytest.mark.parametrize(
    ("into", "seen_by"),
    [
        # ann's wallet into bea's, and that into carl's
        (["bea", "carl"], {("m-A", "b"), ("m-B", "a"), ("m-A", "c"), ("m-B", "c"), ("m-C", "a"), ("m-C", "b")}),
        # both into carl's: ann's merchant sees bea's method when it comes
        (["carl", "carl"], {("m-A", "c"), ("m-C", "a"), ("m-B", "a"), ("m-B", "c"), ("m-A", "b"), ("m-C", "b")}),
    ],
)
def test_all_merges_of_a_batch_are_announced_by_the_last_target(into: list[str], seen_by: set[tuple[str, str]]) -> None:
    wallets = tuple(
        wallet(method(name[0].upper()), customer=name, merchants=(name[0],)) for name in ("ann", "bea", "carl")
    )
    merges = [merged(who(source), who(target)) for source, target in zip(("ann", "bea"), into, strict=True)]

    changed = {each.after.id: each for each in decided(*merges, of=wallets).changed}

    assert {name: each.after.merged_into for name, each in changed.items()} == {
        "w-ann": "w-carl", "w-bea": "w-carl", "w-carl": None,
    }  # fmt: skip
    assert (changed["w-ann"].changes, changed["w-bea"].changes) == ((), ())
    announced = [
        (change.method.id, merchant)
        for change in changed["w-carl"].changes
        if isinstance(change, Merged)
        for merchant in change.merchants
    ]
    assert sorted(announced) == sorted(seen_by)


def contents(decision: Decision, wallets: Sequence[Wallet]) -> dict[WalletId, object]:
    after = [*wallets, *(changed.after for changed in decision.changed)]
    return {wallet.id: (wallet.methods, wallet.merged_into) for wallet in after}


class Later(NamedTuple):
    """`update` changes nothing when it is decided; its outcome once `later` was learnt in the same batch."""

    before: Verdict
    update: Update
    later: Update
    wallets: tuple[Wallet, ...]
    earlier: tuple[Update, ...] = ()
    after: Verdict = Verdict(Outcome.APPLIED)


LATER = {
    "its credential becomes known": Later(
        Verdict(Outcome.PARKED), replaced("B", "C", on=2), replaced("A", "B", on=1), (ANN,)
    ),
    "the holder of its credential becomes its customer": Later(
        Verdict(Outcome.QUARANTINED, "OWNER_MISMATCH"),
        replaced("A", "B", on=2, customer="bea"),
        merged(who("ann"), who("bea")),
        (ANN, BEA),
    ),
    "an earlier fact decides which of two accounts it is": Later(
        Verdict(Outcome.QUARANTINED, "ACCOUNT_CONFLICT"),
        replaced("A", "C", on=3),
        replaced("A", "D", on=1, par="P2"),
        (wallet(method("A"), method("B", par="P1"), method("C", par="P2")),),
        (replaced("A", "B", on=2),),
    ),
    "two wallets of a customer become one": Later(
        Verdict(Outcome.QUARANTINED, "AMBIGUOUS_CUSTOMER"),
        merged(who("ann"), who("bea")),
        merged((("hsid", "second"),), (("hsid", "first"),)),
        (
            ANN,
            BEA._replace(customer=Customer(frozenset({*who("bea"), ("hsid", "first")}))),
            BEA_AGAIN._replace(customer=Customer(frozenset({*who("bea"), ("hsid", "second")}))),
        ),
    ),
}


@pytest.mark.parametrize("case", LATER.values(), ids=LATER)
def test_what_changed_nothing_is_decided_again_after_its_batch(case: Later) -> None:
    assert decided(*case.earlier, case.update, of=case.wallets).verdicts[-1] == case.before

    verdicts = decided(*case.earlier, case.update, case.later, of=case.wallets).verdicts

    assert verdicts[len(case.earlier) :] == (case.after, Verdict(Outcome.APPLIED))


def test_updates_that_waited_and_those_of_the_batch_are_decided_each_for_itself() -> None:
    knowledge = Knowledge()
    earlier = [replaced("Y", "Z", on=1), replaced("X", "Y", on=2, id="known now"), replaced("N", "O", on=3)]
    for update in earlier:
        knowledge.learn(update)
    waiting = [
        WaitingUpdate(number, update.stamp, update.old.keys)
        for number, update in enumerate(earlier, 1)
        if update.old is not None
    ]
    batch = [replaced("M", "P", on=4), replaced("B", "C", on=5), replaced("A", "B", on=3), replaced("C", "X", on=6)]

    decision = decide(batch, [ANN], knowledge, waiting, lambda _, key: f"made-{key}")

    assert [verdict.outcome for verdict in decision.verdicts] == [
        Outcome.PARKED, Outcome.APPLIED, Outcome.APPLIED, Outcome.APPLIED,
    ]  # fmt: skip
    # X is known now, and reported to be current; Y and Z were reported before that
    assert {update.inbox_id: verdict for update, verdict in decision.waiting} == {
        1: Verdict(Outcome.SUPERSEDED, "NEWER_FACT"),
        2: Verdict(Outcome.SUPERSEDED, "NEWER_FACT"),
    }


def test_an_update_that_waited_for_the_card_that_a_known_fact_leads_to_is_applied() -> None:
    knowledge = Knowledge()
    became_b, became_c = replaced("A", "B", on=1), replaced("B", "C", on=2)
    for update in (became_b, became_c):
        knowledge.learn(update)

    decision = decide((), [ANN], knowledge, [WaitingUpdate(1, became_c.stamp, ("vau:B",))], lambda _, key: key)

    assert [verdict for _, verdict in decision.waiting] == [Verdict(Outcome.APPLIED)]


@pytest.mark.parametrize("merge_waits", ["first", "last"])
def test_a_merge_that_waited_decides_whom_the_updates_beside_it_are_about(merge_waits: str) -> None:
    of_bea = replaced("A", "B", on=2, customer="bea")
    knowledge = Knowledge()
    knowledge.learn(of_bea)
    waiting = [
        WaitingUpdate(1, of_bea.stamp, ("vau:A",), of_bea.scope),
        WaitingUpdate(2, Stamp(day(1), "crm", "merge"), (), merge_from=who("ann"), merge_into=who("bea")),
    ]

    decision = decide((), (ANN, BEA), knowledge, waiting[:: -1 if merge_waits == "first" else 1], lambda _, key: key)

    assert {update.inbox_id: verdict for update, verdict in decision.waiting} == {
        1: Verdict(Outcome.APPLIED),
        2: Verdict(Outcome.APPLIED),
    }


def test_every_reason_in_the_document_has_a_row() -> None:
    table = RUNNING.read_text().partition("| Outcome | Reason |")[2].partition("\n\n")[0]
    documented = {word for word in re.findall(r"`([A-Z_]+)`", table) if not word.startswith("REPOINT_")}
    rows = {case.reason for case in CASES.values()} | {case.outcome.value for case in CASES.values()}
    assert documented - rows == NOT_DECIDED
