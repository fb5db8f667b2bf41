"""`repoint inbox show|release|discard`: an update that waits for a person, with all that the person needs."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.wallet import Details
from tests.acceptance.program import Program
from tests.consumers.harness import Harness, merging
from tests.domain.build import link, live, method, removed, replaced, wallet, who


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def shown(program: Program, inbox_id: int = 1) -> dict[str, Any]:
    (shown,) = [(await program("inbox", "show", str(inbox_id), "--json")).json()]
    return dict(shown)


async def test_an_update_about_another_customer_is_shown_with_both_customers_wallets(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(
        wallet(method("A"), removed("R"), customer="e1", merchants=("pharmacy",)),
        wallet(method("B"), customer="e9"),
        wallet(method("C"), customer="e3"),
    )
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="2222", brand="VISA"))
    update = await shown(program)
    assert {
        name: update[name] for name in ("id", "vendor", "updateId", "outcome", "reason", "oldKeys", "customers")
    } == {
        "id": 1,
        "vendor": "vau",
        "updateId": "vau-1",
        "outcome": "QUARANTINED",
        "reason": "OWNER_MISMATCH",
        "oldKeys": ["vau:A"],
        "customers": {"customer": {"enterpriseId": "e9"}},
    }
    (reported,) = update["reported"]
    assert (reported["key"], reported["last4"], reported["brand"], reported["reason"]) == (
        *("vau:B", "2222", "VISA", "REISSUED"),
    )
    by_customer = {held["identities"]["enterpriseId"]: held for held in update["wallets"]}
    first, ninth = by_customer["e1"], by_customer["e9"]
    assert len(by_customer) == 2
    assert (first["walletId"], first["merchantIds"], first["mergedInto"]) == (harness.id_of("w-e1"), ["pharmacy"], None)
    assert (first["knowsOld"], first["knowsNew"]) == ([harness.id_of("m-A")], [])
    assert (ninth["knowsOld"], ninth["knowsNew"]) == ([], [harness.id_of("m-B")])
    assert {row["id"]: row["status"] for row in first["paymentMethods"]} == {
        harness.id_of("m-A"): "ACTIVE",
        harness.id_of("m-R"): "DELETED",
    }
    text = (await program("inbox", "show", "1")).well().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert {"reason OWNER_MISMATCH", "old vau:A", "customer enterpriseId=e9", "new vau:B REISSUED VISA 2222"} <= set(
        lines
    )
    assert f"wallet {harness.id_of('w-e1')} enterpriseId=e1" in lines
    assert "merchants pharmacy" in lines


async def test_a_parked_update_says_what_it_looks_for_and_that_no_wallet_knows_it(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced(("X", ":fx"), "Y", on=1))
    update = await shown(program)
    assert (update["outcome"], update["oldKeys"], update["customers"], update["wallets"]) == (
        *("PARKED", [":fx", "vau:X"], {}, []),
    )
    text = (await program("inbox", "show", "1")).well().out
    assert "\nno wallet knows one of its credentials, or is of its customer\n" in text
    assert "release --accept: no wallet knows its credential" in text


async def test_an_applied_update_shows_the_wallet_in_which_it_is_so(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    update = await shown(program)
    (held,) = update["wallets"]
    assert (update["outcome"], update["oldKeys"], held["knowsOld"]) == ("APPLIED", ["vau:A"], [harness.id_of("m-A")])
    assert len(held["knowsNew"]) == 1
    assert {row["id"]: row["status"] for row in held["paymentMethods"]}[held["knowsNew"][0]] == "ACTIVE"


async def test_of_an_id_that_was_used_before_the_report_of_the_first_is_not_shown(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, id="u"))
    await harness.report(replaced("A", "C", on=2, id="u"))
    first, second = await shown(program, 1), await shown(program, 2)
    assert (first["outcome"], [new["key"] for new in first["reported"]]) == ("APPLIED", ["vau:B"])
    assert (second["reason"], second["oldKeys"], second["reported"]) == ("ID_REUSED", ["vau:A"], [])


async def test_a_number_that_no_update_has_is_named(program: Program, harness: Harness) -> None:
    ended = await program("inbox", "show", "7")
    assert (ended.code, ended.err.splitlines()[-1]) == (1, "repoint: there is no update 7")


async def test_each_choice_is_shown_with_what_it_would_do_and_nothing_is_done(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(
        wallet(method("A"), links=[link("m-A")], customer="e1"), wallet(method("A", id="m-A2"), customer="e2")
    )
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="2222", brand="VISA"))
    choices = {choice["choice"]: choice for choice in (await shown(program))["choices"]}
    first, second = (harness.id_of(name) for name in ("w-e1", "w-e2"))
    assert choices.keys() == {f"release --to {first}", f"release --to {second}", "release --accept", "discard"}
    to_first = choices[f"release --to {first}"]
    assert (to_first["outcome"], to_first["reason"], to_first["obstacle"]) == ("APPLIED", None, None)
    (change,) = to_first["changes"]
    assert (change["walletId"], change["change"], change["paymentMethodId"], change["becomesId"]) == (
        *(first, "REPLACED", harness.id_of("m-A")),
        None,
    )
    assert (change["becomes"]["last4"], change["linksMoved"]) == ("2222", 1)
    assert {change["walletId"] for change in choices["release --accept"]["changes"]} == {first, second}
    assert (choices["discard"]["outcome"], choices["discard"]["reason"]) == ("IGNORED", "DISCARDED")
    assert choices["discard"]["factsTakenBack"] == ["vau:A → vau:B"]
    text = (await program("inbox", "show", "1")).well().out
    assert f"release --to {first}: APPLIED\n  REPLACED {harness.id_of('m-A')} by a new one (VISA, 2222, ACTIVE)" in text
    assert "discard: IGNORED DISCARDED\n  takes back vau:A → vau:B\n" in text
    assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
    assert await harness.events("pharmacy") == []


async def test_a_choice_that_cannot_be_made_says_why(program: Program, harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1, id="u"))
    await harness.report(replaced("A", "C", on=2, id="u"))
    update = await shown(program, 2)
    assert {choice["choice"]: choice["obstacle"] for choice in update["choices"]} == {
        "release --accept": "its id was used before, and its content was not kept: have the vendor send it under an id"
        " of its own",
        "discard": None,
    }
    ended = await program("inbox", "release", "2", "--accept", "--reason", "r")
    assert (ended.code, "update 2 stays as it is: its id was used before" in ended.err) == (1, True)


async def test_the_customers_of_a_quarantined_merge_are_shown(program: Program, harness: Harness) -> None:
    e1 = wallet(method("A"))
    other = e1._replace(id="w-other", methods=(method("Q"),))
    await harness.import_wallets(e1, other, wallet(method("P"), customer="e2"))
    await harness.report(merging(who("e2"), who("e1")))
    update = await shown(program)
    assert update["customers"] == {"from": {"enterpriseId": "e2"}, "into": {"enterpriseId": "e1"}}
    assert {held["walletId"] for held in update["wallets"]} == {harness.id_of(w) for w in ("w-e1", "w-other", "w-e2")}
    choices = {choice["choice"]: choice["obstacle"] for choice in update["choices"]}
    assert choices[f"release --to {harness.id_of('w-e1')}"] is None
    assert choices["release --accept"] == "the customer that it merges into has several wallets: expected --to WALLET"


async def test_a_parked_update_is_shown_with_its_near_misses(program: Program, harness: Harness) -> None:
    face = Details(last4="2222", brand="VISA")
    await harness.import_wallets(
        wallet(method("F", ":fb", id="m-fingerprint"), customer="e1"),
        wallet(method("mdes:X", id="m-token"), customer="e2"),
        wallet(method("Q", id="m-face", details=face), method("R", id="m-none"), customer="e3"),
    )
    await harness.report(replaced("X", ("Y", ":fb"), on=1, last4="2222", brand="VISA"))
    await harness.report(replaced("X", "Z", on=2, customer="e3"))
    misses = {
        harness.name_of(miss["paymentMethod"]["id"]): miss["because"] for miss in (await shown(program))["nearMisses"]
    }
    assert misses == {
        "m-fingerprint": ["same fingerprint"],
        "m-token": ["same token of another vendor"],
        "m-face": ["same last4 and brand"],
    }
    of_the_second = (await shown(program, 2))["nearMisses"]
    names = {harness.name_of(miss["paymentMethod"]["id"]) for miss in of_the_second}
    assert names == {"m-token", "m-face", "m-none"}
    assert "same token of another vendor" in (await program("inbox", "show", "1")).well().out


async def test_an_update_is_released_once_and_the_second_time_is_told_so(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    to = harness.id_of("w-e1")
    release = ("inbox", "release", "1", "--to", to, "--reason", "asked for 4111 1111 1111 1111")
    would = await program(*release, "--dry-run")
    assert would.well().out == "would release update 1: APPLIED (1 wallet, 4 events, 1 fact taken back)\n"
    assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
    released = (await program(*release, "--json")).json()
    assert released == {
        "id": 1,
        "outcome": "APPLIED",
        "reason": None,
        "doneBefore": False,
        "walletIds": [to],
        "events": 4,
        "factsTakenBack": 1,
    }
    again = await program(*release)
    assert again.well().out == "released before update 1: APPLIED (1 wallet, 4 events, 1 fact taken back)\n"
    assert "update 1: update released to" in again.err
    assert live(await harness.wallet()).keys() == {"B"}
    for other in (("release", "1", "--accept"), ("discard", "1")):
        refused = await program("inbox", *other, "--reason", "r")
        assert (refused.code, "stays as it is: update released" in refused.err) == (1, True)
    (act,) = (await program("audit", "list", "--subject", "update 1", "--json")).json()
    assert (act["action"], act["reason"]) == ("update released", "asked for **** **** **** ****")


async def test_a_discarded_update_never_applies(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    discard = ("inbox", "discard", "1", "--reason", "the vendor took it back")
    assert (await program(*discard)).well().out == (
        "discarded update 1: IGNORED DISCARDED (0 wallets, 0 events, 1 fact taken back)\n"
    )
    assert (await program(*discard)).well().out.startswith("discarded before update 1")
    assert (await shown(program))["choices"] == []


async def test_a_release_needs_a_choice_and_a_reason(program: Program, harness: Harness) -> None:
    for words, expected in (
        (("release", "1", "--reason", "r"), "expected --to WALLET or --accept"),
        (("release", "1", "--accept", "--reason", " "), "expected a reason"),
        (("release", "1", "--to", "w", "--reason", "r"), "expected the id of a wallet, a UUID"),
    ):
        refused = await program("inbox", *words)
        assert (refused.code, expected in " ".join(refused.err.replace("│", " ").split())) == (2, True)
    missing = await program("inbox", "discard", "7", "--reason", "r")
    assert (missing.code, missing.err.splitlines()[-1]) == (1, "repoint: there is no update 7")
