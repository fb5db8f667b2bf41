"""What vendors' files tell, from the file through the adapters to wallets and webhooks."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from producers import ingest
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.fingerprint import Fingerprints, Key
from tests.consumers.world import JSON, World, card, link, named, wallet

KEY = Key("v1", b"a key of 16 bytes")
EDGE = Edge(datetime(2026, 11, 20, tzinfo=UTC), Fingerprints(KEY))
A, B, C, D = "4111111111111111", "4012888888881881", "4000056655665556", "4222222222222220"
VAU = "oldCardholderAccountNumber,newCardholderAccountNumber,newExpirationDate,serviceIdentifier"


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    world = World(engine)
    await world.merchants("shop", "gym")
    return world


def held(number: str) -> JSON:
    """A card of Ann's, known by its number's fingerprint."""
    return card(number, wallet="ann", fingerprint=KEY.fingerprint(number), credentials=[])


async def tell(world: World, feed: str, *lines: str, edge: Edge = EDGE) -> None:
    """A file of `feed`, taken in as one batch; nothing in it is refused."""
    file = cast(BufferedReader, BytesIO("\n".join(lines).encode()))
    told = [line async for line in ingest.vendors(FEEDS[feed], file, edge)]
    assert [line.unusable for line in told if line.unusable] == []
    await world.take(*(message.value for line in told for message in line.messages))


async def cards(world: World) -> Sequence[tuple[str, str, str | None]]:
    """(last4, status, last4 of the successor) of each card of Ann's."""
    (exported,) = await world.export()
    methods = {each["id"]: each for each in exported["paymentMethods"]}
    return sorted(
        (each["details"]["last4"], each["status"], methods.get(each["replacedBy"], {}).get("details", {}).get("last4"))
        for each in methods.values()
    )


def chain(*numbers: str) -> list[str]:
    return [f"{old},{new},2911,A" for old, new in itertools.pairwise(numbers)]


@pytest.mark.parametrize("numbers", [(A, B, C, D), (D, C, B, A), (B, D, A, C), (C, A, D, B)])
async def test_a_chain_in_one_file_ends_at_its_end(world: World, numbers: Sequence[str]) -> None:
    await world.wallets(wallet("ann", *(held(each) for each in numbers), links=[link(numbers[0], wallet="ann")]))
    await tell(world, "vau", VAU, *chain(*numbers))
    (exported,) = await world.export()
    (live,) = (each for each in exported["paymentMethods"] if each["status"] != "DELETED")
    assert live["id"] == named(f"ann/{numbers[-1]}")
    assert exported["paymentLinks"][0]["paymentMethodId"] == live["id"]


async def test_a_number_that_forks_and_comes_back_in_one_file_is_what_was_told_last(world: World) -> None:
    await world.wallets(wallet("ann", held(A)))
    await tell(world, "vau", VAU, *chain(A, B), *chain(A, C), *chain(C, D), *chain(D, B))
    assert [each for each in await cards(world) if each[1] != "DELETED"] == [("1881", "ACTIVE", None)]
