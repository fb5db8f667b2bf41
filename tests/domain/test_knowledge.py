"""What a report adds to what is known: how new it is, what stays of two reports, and what stands on which of them."""

from collections.abc import Sequence

import pytest

from domain.knowledge import Contribution, Fact, Knowledge, Novelty
from domain.update import Reason, Update, UpdateType
from domain.wallet import Expiry, MethodStatus
from tests.domain.build import knowledge, replaced, reported, stays

EARLIER, EXPIRY, LATER = Expiry(2029, 11), Expiry(2029, 12), Expiry(2030, 1)
DETAILS = UpdateType.DETAILS_UPDATED
CLOSED, RESUMED, EXPIRES = UpdateType.CLOSED, UpdateType.RESUMED, UpdateType.EXPIRY_UPDATED


def again(*, on: int = 9, expiry: Expiry | None = EXPIRY, old: tuple[str, str] = ("A", ":fp_A")) -> Update:
    return replaced(old, "B", on=on, id=f"again-{on}", expiry=expiry)


@pytest.mark.parametrize(
    ("known", "update", "novelty"),
    [
        ([], again(), Novelty.NEW),
        *(
            ([again(on=5, expiry=known)], again(on=on, expiry=expiry), novelty)
            for on in (1, 9)
            for known, expiry, novelty in (
                (EXPIRY, EXPIRY, Novelty.NONE),
                (EXPIRY, LATER, Novelty.NEW),
                (EXPIRY, EARLIER, Novelty.OLDER),
                (EXPIRY, None, Novelty.NONE),
                (None, EXPIRY, Novelty.NEW),
                (None, None, Novelty.NONE),
            )
        ),
        ([again(on=5), again(on=6, expiry=LATER)], again(on=9), Novelty.OLDER),
        ([again(on=5), again(on=6, expiry=LATER)], again(on=9, expiry=LATER), Novelty.NONE),
        ([reported(CLOSED, "A", on=5)], reported(CLOSED, "A", on=1), Novelty.NONE),
        ([reported(CLOSED, "A", on=5)], reported(RESUMED, "A", on=1), Novelty.OLDER),
        ([reported(CLOSED, "A", on=5)], reported(RESUMED, "A", on=9), Novelty.NEW),
        ([reported(CLOSED, "A", on=5)], reported(EXPIRES, "A", on=1, expiry=EXPIRY), Novelty.NEW),
        ([reported(EXPIRES, "A", on=5, expiry=EXPIRY)], reported(EXPIRES, "A", on=9, expiry=EXPIRY), Novelty.NONE),
        ([reported(EXPIRES, "A", on=5, expiry=EXPIRY)], reported(EXPIRES, "A", on=9, expiry=EARLIER), Novelty.OLDER),
        ([reported(EXPIRES, "A", on=5, expiry=EXPIRY)], reported(EXPIRES, "A", on=1, expiry=LATER), Novelty.NEW),
        ([reported(DETAILS, "A", on=5, zip_code="1")], reported(DETAILS, "A", on=1, zip_code="1"), Novelty.NONE),
        ([reported(DETAILS, "A", on=5, zip_code="1")], reported(DETAILS, "A", on=1, zip_code="2"), Novelty.OLDER),
        (
            [reported(DETAILS, "A", on=5, zip_code="1", holder_name="x")],
            reported(DETAILS, "A", on=1, zip_code="1", holder_name="y"),
            Novelty.OLDER,
        ),
        ([reported(DETAILS, "A", on=5, zip_code="1")], reported(DETAILS, "A", on=1, holder_name="x"), Novelty.NEW),
        # one of two names of the credential was not known so
        ([reported(CLOSED, "A", on=5)], reported(CLOSED, ("A", ":a"), on=1), Novelty.NEW),
        ([reported(CLOSED, "A", on=5)], reported(RESUMED, ("A", ":a"), on=1), Novelty.NEW),
        # of another customer, nothing was known
        ([reported(CLOSED, "A", on=5)], reported(CLOSED, "A", on=5, customer="e1"), Novelty.NEW),
        ([stays("T", on=5, last4="1881")], stays("T", on=9, last4="1881"), Novelty.NEW),
        ([stays("T", on=5, last4="1881"), stays("T", on=9, last4="1882")], stays("T", on=1, last4="1883"), Novelty.NEW),
        ([reported(CLOSED, "A", on=5)], reported(UpdateType.NO_CHANGE, "A", on=9), Novelty.NONE),
    ],
)
def test_how_a_report_compares_with_what_is_known(known: Sequence[Update], update: Update, novelty: Novelty) -> None:
    assert knowledge(*known).learn(update) is novelty


def only_fact(known: Knowledge) -> Fact:
    (fact,) = known.facts.values()
    return fact


@pytest.mark.parametrize("early_first", [True, False])
def test_a_fact_stays_as_it_was_reported_first_with_all_names_and_the_latest_expiry(*, early_first: bool) -> None:
    early = replaced(("A", ":a"), "B", on=1, last4="1111", reason=Reason.EXPIRED)
    late = replaced("A", ("B", ":b"), on=5, last4="2222", reason=Reason.BRAND_CHANGE, expiry=LATER)

    known = knowledge(*((early, late) if early_first else (late, early)))

    fact = only_fact(known)
    assert (fact.stamp, fact.reason, fact.reported.last4) == (early.stamp, Reason.EXPIRED, "1111")
    assert (fact.old.keys, fact.new.keys) == (("vau:A", ":a"), ("vau:B", ":b"))
    assert fact.reported.credential == fact.new
    assert fact.expiry == (LATER, late.stamp)
    assert list(known.facts_from(":a")) == [fact]


def test_of_two_fingerprints_of_one_token_one_counts_in_every_order() -> None:
    updates = [replaced(("A", f":{name}"), ("B", f":{name}"), on=on) for on, name in ((1, "y"), (2, "x"))]
    for order in (updates, updates[::-1]):
        fact = only_fact(knowledge(*order))
        assert (fact.old.alias, fact.new.alias) == (":x", ":x")


def test_what_is_reported_again_counts_as_reported() -> None:
    known = knowledge(again(), reported(CLOSED, ("A", ":a"), on=1, customer="e1"))
    known.reported_facts.clear()
    known.reported_states.clear()

    known.learn(again())
    known.learn(reported(CLOSED, ("A", ":a"), on=1, customer="e1"))
    known.learn(reported(UpdateType.NO_CHANGE, "Z", on=1))

    scope = (("enterpriseId", "e1"),)
    assert known.reported_facts == {("vau:A", "vau:B", ())}
    assert known.reported_states == {("vau:A", scope), (":a", scope)}


def test_what_stands_on_which_report() -> None:
    first, later = again(on=1), again(on=2, expiry=LATER)
    closed = reported(CLOSED, "A", on=3)
    expires = reported(EXPIRES, ":fp_A", on=4, expiry=LATER)
    moved = reported(DETAILS, "A", on=5, zip_code="1")
    token = stays("T", on=6, last4="1881")
    known = knowledge(first, later, closed, expires, moved, token, reported(RESUMED, "A", on=2, id="older"))
    fact = only_fact(known)

    def of(update: Update, *keys: str) -> Contribution:
        return known.contribution(update.stamp, keys)

    assert of(first, "vau:A", ":fp_A") == of(later, ":fp_A") == ((fact,), False, False)
    assert of(closed, "vau:A") == of(expires, "vau:A", ":fp_A") == of(moved, "vau:A") == ((), True, False)
    assert of(closed, ":fp_A") == of(reported(RESUMED, "A", on=2, id="older"), "vau:A") == ((), False, False)
    assert of(token, "vau:A", "mdes:T") == of(token, "mdes:T", "vau:A") == ((), True, True)


def test_a_contribution_is_read_anew_after_another_report() -> None:
    closed = reported(CLOSED, "A", on=1)
    known = knowledge(closed)
    assert known.contribution(closed.stamp, ["vau:A"]).in_place
    known.learn(reported(RESUMED, "A", on=2))
    assert not known.contribution(closed.stamp, ["vau:A"]).in_place
    fact = replaced("A", "B", on=3)
    assert known.contribution(fact.stamp, ["vau:A"]).facts == ()
    known.learn(fact)
    assert len(known.contribution(fact.stamp, ["vau:A"]).facts) == 1


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        (UpdateType.SUSPENDED, MethodStatus.SUSPENDED),
        (UpdateType.RESUMED, MethodStatus.ACTIVE),
        (UpdateType.CLOSED, MethodStatus.CLOSED),
        (UpdateType.CONTACT_CARDHOLDER, MethodStatus.ACTION_REQUIRED),
    ],
)
def test_which_status_a_report_means(type_: UpdateType, status: MethodStatus) -> None:
    update = reported(type_, "A", on=1)
    assert knowledge(update).states["vau:A"][()].status == (status, update.stamp)
