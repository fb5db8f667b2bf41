"""Wallets left for later, with limits of two in place of a thousand: which wallets each transaction takes."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from consumers.batch import take_in
from domain.effort import TooMuch
from domain.update import Update, UpdateType
from store.inbox import GATE
from store.knowledge import Contended
from tests.consumers.harness import RETENTION, Harness
from tests.consumers.paused_worker import waits
from tests.domain.build import Names, link, method, removed, replaced, reported, wallet
from wallets import loading, unfinished
from wallets.announcements import Announced
from wallets.loading import Limits
from wallets.unfinished import _Pace

CLOSED = UpdateType.CLOSED
TWO = Limits(of_a_credential=2)


async def import_hub(harness: Harness, count: int, names: Names = "A") -> list[str]:
    """So many wallets that hold the card A; their names in the order of their ids."""
    keys = (names,) if isinstance(names, str) else names
    brought = [
        wallet(method(*keys, id=f"m-{n}"), customer=f"e{n}", links=[link(f"m-{n}", id=f"l-{n}")]) for n in range(count)
    ]
    await harness.import_wallets(*brought)
    return sorted((each.id for each in brought), key=harness.id_of)


async def take(harness: Harness, *updates: Update, limits: Limits = TWO) -> None:
    await take_in(harness.engine, [harness.message(update) for update in updates], RETENTION, limits=limits)


async def wallets_with(harness: Harness, key: str) -> set[str]:
    rows = await harness.rows(
        "SELECT CAST(wallet_id AS text) AS id FROM payment_method_credentials WHERE live AND key = :key", key=key
    )
    return {harness.name_of(row.id) for row in rows}


async def left(harness: Harness) -> int:
    return len(await harness.rows("SELECT * FROM unfinished_updates"))


def events() -> float:
    return REGISTRY.get_sample_value("repoint_events_total") or 0.0


@pytest.mark.parametrize(
    ("updates", "reason", "leaves"),
    [
        ([reported(CLOSED, "A", on=1, id="u")], None, 1),
        ([reported(UpdateType.OPTED_OUT, "A", on=1, id="u")], "OPTED_OUT", 0),
        ([reported(UpdateType.NO_CHANGE, "A", on=1, id="u")], "NO_CHANGE", 0),
        ([reported(UpdateType.NO_MATCH, "A", on=1, id="u")], "NO_MATCH", 0),
        ([replaced("A", "A", on=1, id="u", expiry=None)], "SAME_CREDENTIAL", 0),
        ([replaced("A", "B", on=1, id="first"), replaced("A", "B", on=1, id="u")], "ALREADY_KNOWN", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_only_updates_with_something_to_do_are_left_for_the_other_wallets(
    harness: Harness, updates: Sequence[Update], reason: str | None, leaves: int
) -> None:
    await import_hub(harness, 3)
    await take(harness, *updates)
    assert (await harness.outcome("u"))[1] == reason
    rows = await harness.rows(
        "SELECT update_id FROM unfinished_updates JOIN inbox ON inbox.id = unfinished_updates.inbox_id"
    )
    assert [row.update_id for row in rows] == [updates[0].stamp.update_id] * leaves


@pytest.mark.parametrize("count", [2, 3, 4, 5])
async def test_each_transaction_takes_the_next_wallets_in_the_order_of_their_ids(harness: Harness, count: int) -> None:
    names = await import_hub(harness, count)
    await take(harness, replaced("A", "B", on=1))
    assert await wallets_with(harness, "vau:B") == set(names[:2])
    assert await left(harness) == (count > 2)
    done, told = 2, events()
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        assert REGISTRY.get_sample_value("repoint_updates_unfinished") == 1
        done += 2
        assert await wallets_with(harness, "vau:B") == set(names[:done])
        rows = await harness.rows("SELECT CAST(after_wallet AS text) AS id FROM unfinished_updates")
        assert {harness.name_of(row.id) for row in rows} <= {names[min(done, count) - 1]}
    assert REGISTRY.get_sample_value("repoint_updates_unfinished") == 0
    assert await wallets_with(harness, "vau:A") == set()
    assert await left(harness) == 0
    (all_events,) = await harness.rows("SELECT count(*), count(DISTINCT wallet_id) AS wallets FROM events")
    assert all_events.wallets == count
    of_first_two = [
        row for row in await harness.rows("SELECT wallet_id FROM events") if harness.name_of(str(row[0])) in names[:2]
    ]
    assert events() - told == all_events.count - len(of_first_two)


@pytest.mark.parametrize("held", ["wallet", "credential", "gate"])
async def test_the_next_wallets_are_resolved_behind_the_locks_of_a_batch(harness: Harness, held: str) -> None:
    names = await import_hub(harness, 3)
    await take(harness, replaced("A", "B", on=1))
    holds = {
        "wallet": f"SELECT FROM wallets WHERE id = '{harness.id_of(names[2])}' FOR NO KEY UPDATE",
        "credential": "SELECT FROM credentials WHERE key = 'vau:A' FOR UPDATE",
        "gate": f"SELECT pg_advisory_xact_lock({GATE})",
    }
    async with harness.engine.connect() as batch:
        await batch.execute(text(holds[held]))
        resolving = asyncio.create_task(unfinished.run_once(harness.engine, RETENTION))
        await waits(harness.engine, resolving)
        assert not resolving.done()
        await batch.commit()
    assert await resolving is not None
    assert await wallets_with(harness, "vau:B") == set(names)


async def test_credentials_that_came_within_reach_are_locked_with_those_of_the_update(harness: Harness) -> None:
    """Their rows are made by the lock. Otherwise each further try would find them beyond its locks again."""
    await import_hub(harness, 3)
    await take(harness, replaced("A", "B", on=1))
    await unfinished.run_once(harness.engine, RETENTION, _Pace(within_reach=frozenset({"vau:Q"})))
    assert await harness.rows("SELECT key FROM credentials WHERE key = 'vau:Q'") == [("vau:Q",)]


async def test_what_is_left_is_of_both_names_of_a_credential(harness: Harness) -> None:
    """Some wallets know its token alone, some its fingerprint."""
    tokens = [wallet(method("A", id=f"m-{n}"), customer=f"e{n}") for n in range(3)]
    prints = [wallet(method(":a", id=f"m-{n}"), customer=f"e{n}") for n in range(3, 6)]
    await harness.import_wallets(*tokens, *prints)
    await take(harness, replaced(("A", ":a"), "B", on=1))
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert len(await wallets_with(harness, "vau:B")) == 6


async def test_one_that_names_a_customer_is_left_for_that_customer_alone(harness: Harness) -> None:
    names = await import_hub(harness, 5)
    customer = names[-1].removeprefix("w-")
    await take(harness, replaced("A", "B", on=1, customer=customer))
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert await wallets_with(harness, "vau:B") == {names[-1]}
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]


async def test_updates_of_several_credentials_are_finished_the_oldest_first(harness: Harness) -> None:
    first = await import_hub(harness, 4)
    await harness.import_wallets(*(wallet(method("X", id=f"x-{n}"), customer=f"x{n}") for n in range(3)))
    await take(harness, replaced("A", "B", on=1))
    await take(harness, replaced("X", "Y", on=1, id="x"))
    await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2))
    assert await wallets_with(harness, "vau:B") == set(first)
    assert len(await wallets_with(harness, "vau:Y")) == 2
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert len(await wallets_with(harness, "vau:Y")) == 3


async def test_an_outcome_of_the_first_wallets_is_not_taken_back_by_the_last(harness: Harness) -> None:
    """One that waits for its customer goes on waiting until a wallet of theirs comes to know the card."""
    names = await import_hub(harness, 3)
    await take(harness, reported(CLOSED, "A", on=5, id="later"), limits=Limits())
    await take(harness, reported(UpdateType.RESUMED, "A", on=1, id="older", customer="nobody"))
    before = await harness.outcome("older")
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert await harness.outcome("older") == before
    assert await harness.outcome("later") == ("APPLIED", None)
    assert len(names) == 3


@pytest.mark.parametrize(
    ("updates", "limits", "too_much"),
    [
        (
            [replaced("A", "B", on=1), reported(CLOSED, "X", on=1, id="x")],
            Limits(of_a_credential=2),
            "in more than 2 wallets",
        ),
        ([replaced("A", "B", on=1), reported(CLOSED, "X", on=1, id="x")], Limits(of_a_credential=3), None),
        ([replaced("A", "B", on=1), reported(CLOSED, "X", on=1, id="x")], Limits(wallets=3), "more than 3 wallets"),
        ([replaced("A", "B", on=1), reported(CLOSED, "X", on=1, id="x")], Limits(wallets=4), None),
        ([replaced("A", "B", on=1)], Limits(wallets=2), "more than 2 wallets"),
        ([replaced("A", "B", on=1)], Limits(wallets=3), None),
        ([replaced("A", "B", on=1)], Limits(wallets=2, of_a_credential=2), None),
    ],
)
async def test_a_batch_takes_as_many_wallets_as_it_may(
    harness: Harness, updates: Sequence[Update], limits: Limits, too_much: str | None
) -> None:
    await import_hub(harness, 3)
    await harness.import_wallets(wallet(method("X"), customer="other"))
    if too_much is None:
        await take(harness, *updates, limits=limits)
    else:
        with pytest.raises(TooMuch, match=too_much):
            await take(harness, *updates, limits=limits)
    assert len(await harness.outcomes()) == (0 if too_much else len(updates))


def test_the_pace_falls_to_a_single_wallet_and_grows_again() -> None:
    pace = _Pace()
    for at_once in (100, 10, 1):
        pace.shrink("too slow")
        assert (pace.at_once, pace.failed) == (at_once, None)
    pace.shrink("too slow")
    assert (pace.at_once, pace.failed) == (1, ((), "too slow"))
    pace.within_reach = frozenset({"vau:A"})
    for at_once in (10, 100, 1000, 1000):
        pace.grow()
        assert (pace.at_once, pace.within_reach) == (at_once, frozenset())


async def test_credentials_that_came_within_reach_stay_there_until_a_transaction_succeeds(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the dispatcher hears of the endpoints that have something due, and of nothing else."""
    stopping, tries = asyncio.Event(), [frozenset({"vau:A"}), frozenset({"vau:B"})]
    told: list[AbstractSet[str]] = []
    seen: list[frozenset[str]] = []
    results = [Announced(3, frozenset({"shop"})), Announced(1, frozenset())]

    async def run_once(_engine: object, _retention: object, pace: _Pace) -> Announced | None:
        seen.append(pace.within_reach)
        if tries:
            raise Contended(tries.pop(0))
        if results:
            return results.pop(0)
        stopping.set()
        return None

    monkeypatch.setattr(unfinished, "run_once", run_once)
    await unfinished.run(harness.engine, RETENTION, stopping=stopping, on_due=told.append)
    assert seen == [frozenset(), frozenset({"vau:A"}), frozenset({"vau:A", "vau:B"}), frozenset(), frozenset()]
    assert told == [{"shop"}]


async def test_what_waited_for_a_customer_has_its_outcome_from_the_wallet_that_was_left(harness: Harness) -> None:
    names = await import_hub(harness, 3)
    await take(harness, reported(CLOSED, "B", on=5, id="newer"))
    customer = names[-1].removeprefix("w-")
    await take(harness, reported(UpdateType.RESUMED, "B", on=3, id="older", customer=customer))
    await take(harness, replaced("A", "B", on=1))
    assert await harness.outcome("older") == ("QUARANTINED", "OWNER_MISMATCH")
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert await harness.outcome("older") == ("SUPERSEDED", "NEWER_KNOWN")


async def test_a_wallet_without_the_card_takes_no_outcome_back(harness: Harness) -> None:
    names = sorted((f"w-e{n}" for n in range(3)), key=harness.id_of)
    cards = (method("A", id="m-0"), method("A", id="m-1"), removed("A", id="m-2"))
    await harness.import_wallets(
        *(wallet(card, customer=name.removeprefix("w-")) for name, card in zip(names, cards, strict=True))
    )
    await take(harness, reported(CLOSED, "A", on=5, id="newer"), limits=Limits())
    await take(harness, reported(UpdateType.RESUMED, "A", on=1, id="older"))
    assert await harness.outcome("older") == ("SUPERSEDED", "NEWER_KNOWN")
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert await harness.outcome("older") == ("SUPERSEDED", "NEWER_KNOWN")


async def test_updates_of_one_token_that_differ_in_the_fingerprint_go_on_apart(harness: Harness) -> None:
    """The one by the token alone reaches no wallet that knows the fingerprint alone."""
    names = sorted((f"w-e{n}" for n in range(4)), key=harness.id_of)
    await harness.import_wallets(
        *(
            wallet(method(key, id=f"m-{name}"), customer=name.removeprefix("w-"))
            for name, key in zip(names, ("A", "A", "A", ":a"), strict=True)
        )
    )
    await take(harness, replaced("A", "B", on=1, id="token"))
    await take(harness, replaced(("A", ":a"), "C", on=2, id="both"))
    assert await left(harness) == 2
    while await unfinished.run_once(harness.engine, RETENTION, _Pace(at_once=2)) is not None:
        pass
    assert await wallets_with(harness, "vau:C") == set(names)


@pytest.mark.parametrize(("limit", "is_too_much"), [(4, True), (5, False)])
async def test_credentials_within_reach_count_over_all_rounds(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, limit: int, *, is_too_much: bool
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await take(harness, *(replaced(*pair, on=day, id=pair) for day, pair in enumerate(("BC", "CD", "DE"), 2)))
    monkeypatch.setattr(loading, "_KEYS_LIMIT", limit)
    if is_too_much:
        with pytest.raises(TooMuch, match="more than 4 credentials are within reach"):
            await take(harness, replaced("A", "B", on=1))
    else:
        await take(harness, replaced("A", "B", on=1))
        assert await wallets_with(harness, "vau:E") == {"w-e1"}
