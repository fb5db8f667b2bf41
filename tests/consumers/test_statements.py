"""A batch costs as many statements whatever its size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from domain.update import Update, UpdateType
from domain.wallet import Expiry
from tests.consumers.harness import Harness, merging
from tests.domain.build import link, live, method, replaced, reported, wallet, who


@contextmanager
def counted(harness: Harness) -> Iterator[list[str]]:
    """The statements that are run meanwhile."""
    statements: list[str] = []

    def note(*called: object) -> None:
        statements.append(str(called[2]))

    event.listen(harness.engine.sync_engine, "before_cursor_execute", note)
    yield statements
    event.remove(harness.engine.sync_engine, "before_cursor_execute", note)


def of_every_kind(n: int) -> Sequence[Update | bytes]:
    """Of the wallets e<n> and f<n>: one of each thing that a batch has statements for."""
    new = replaced(f"A{n}", (f"B{n}", f":b{n}"), on=2, id=f"a{n}", last4="1234")
    return [
        new,
        new,
        reported(UpdateType.CLOSED, f"B{n}", on=3, id=f"b{n}"),
        reported(UpdateType.DETAILS_UPDATED, f"O{n}", on=1, id=f"c{n}", holder_name="Jo"),
        reported(UpdateType.EXPIRY_UPDATED, f"O{n}", on=1, id=f"d{n}", expiry=Expiry(2031, 1)),
        # known of a wallet because of it, and told of before
        replaced(f"O{n}", f"P{n}", on=5, id=f"e{n}"),
        replaced(f"X{n}", f"Y{n}", on=1, id=f"f{n}"),
        reported(UpdateType.CLOSED, f"A{n}", on=1, id=f"g{n}", customer="nobody"),
        reported(UpdateType.NO_MATCH, f"A{n}", on=1, id=f"h{n}"),
        merging(who(f"f{n}"), who(f"e{n}"), id=f"m{n}"),
        b"{",
    ]


async def test_a_batch_of_everything_runs_as_many_statements_for_one_as_for_forty_and_two_hundred(
    harness: Harness,
) -> None:
    numbers = range(241)
    await harness.import_wallets(
        *(
            wallet(method(f"A{n}"), method(f"O{n}"), links=[link(f"m-A{n}")], customer=f"e{n}", merchants=("pharmacy",))
            for n in numbers
        ),
        *(wallet(method(f"F{n}"), customer=f"f{n}", merchants=("optician",)) for n in numbers),
    )
    await harness.report(*(reported(UpdateType.SUSPENDED, f"P{n}", on=9, id=f"p{n}") for n in numbers))
    counts = []
    for some in (numbers[:1], numbers[1:41], numbers[41:]):
        with counted(harness) as statements:
            taken = await harness.report(*(each for n in some for each in of_every_kind(n)))
        counts.append(len(statements))
        assert sum(taken.outcomes.values()) == 10 * len(some)
        assert len(taken.outcomes) == 5
    assert counts == [counts[0]] * 3
    # begun twice, for a merge must lock what is in both wallets
    assert counts[0] < 60


@pytest.mark.parametrize("kind", range(10))
async def test_a_batch_of_one_kind_runs_as_many_statements_whatever_its_size(harness: Harness, kind: int) -> None:
    numbers = range(601)
    await harness.import_wallets(
        *(
            wallet(method(f"A{n}"), method(f"O{n}"), links=[link(f"m-A{n}")], customer=f"e{n}", merchants=("pharmacy",))
            for n in numbers
        )
    )
    counts = []
    for some in (numbers[:1], numbers[1:101], numbers[101:]):
        with counted(harness) as statements:
            await harness.report(*(of_every_kind(n)[kind] for n in some))
        counts.append(len(statements))
    assert counts == [counts[0]] * 3
    assert counts[0] < 32


async def test_a_lone_replacement_runs_few_statements(harness: Harness) -> None:
    """For each of them the server is asked once, whoever waits for the answer."""
    await harness.add_merchants("pharmacy")
    await harness.import_wallets(
        wallet(method("A"), links=[link("m-A", merchant="pharmacy")], customer="e1", merchants=("pharmacy",))
    )
    with counted(harness) as statements:
        await harness.report(replaced("A", ("B", ":b"), on=1, id="a", last4="1234"))
    assert len(statements) <= 11


@pytest.mark.parametrize("length", [1, 5, 20])
async def test_a_chain_that_was_not_loaded_costs_a_round_for_each_of_its_steps_and_no_more(
    harness: Harness, length: int
) -> None:
    await harness.import_wallets(wallet(method("0")), wallet(method("Z"), customer="e2"))
    with counted(harness) as plain:
        await harness.report(replaced("Z", "Y", on=1))
    await harness.report(*(replaced(f"{n}", f"{n + 1}", on=n, id=f"{n}") for n in range(1, length + 1)))
    with counted(harness) as statements:
        await harness.report(replaced("0", "1", on=1, id="0"))
    assert live(await harness.wallet()).keys() == {str(length + 1)}
    # a lock and two loads a step; what waited is resolved, what was told of it kept longer (two tables), leads written
    assert len(statements) <= len(plain) + 3 * length + 4


async def test_a_chain_that_no_wallet_knows_costs_one_look_up_however_long_it_is(harness: Harness) -> None:
    """Facts are followed from what a wallet knows alone: else a chain about nobody would cost more with each link."""
    await harness.import_wallets(wallet(method("A"), method("E")))
    counts = []
    for start, length, name in ((100, 1, "A"), (200, 12, "E")):
        links = [replaced(f"X{n}", f"X{n + 1}", on=1, id=f"u{n}") for n in range(start, start + length)]
        await harness.report(*links[:0:-1], reported(UpdateType.CLOSED, "Y", on=1, id=f"y{start}"))
        with counted(harness) as statements:
            await harness.report(links[0], reported(UpdateType.CLOSED, name, on=1, id=f"a{start}"))
        counts.append(len(statements))
    assert counts[0] == counts[1]
