"""What vendors' files tell, from the file through the adapters to wallets and webhooks."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BufferedReader, BytesIO
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from producers.topic import ingest
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Fetch
from schemas.feeds.reading import read, read_answer
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
    told = [line async for line in ingest.read_feed(FEEDS[feed], file, edge)]
    assert [line.refusal_text for line in told if line.refusal_text] == []
    await world.take_in(*(message.value for line in told for message in line.messages))


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


# --- meaning, not ids -------------------------------------------------------------------------------------------------

CYBERSOURCE = {
    "response": "NAN",
    "token": "cs-B",
    "cardNumber": "401288XXXXXX1881",
    "cardType": "VISA",
    "cardExpiryMonth": "11",
    "cardExpiryYear": "2029",
}
TOLD_BY = {
    "vau": [VAU, f"{A},{B},2911,A"],
    "basis-theory": [
        "token,new_token,new_expiration_year,new_expiration_month,result_code,new_fingerprint,new_brand,new_last4",
        "bt-A,bt-B,2029,11,UPD_PAN_EXP_DATE,CC2XvyoohnqecEq4r3FtXv6M,visa,1881",
    ],
    "cybersource": [json.dumps({"sourceRecord": {"token": "cs-A"}, "responseRecord": CYBERSOURCE})],
}
KNOWN_TO = [{"vendor": "basis-theory", "token": "bt-A"}, {"vendor": "cybersource", "token": "cs-A"}]
ONCE = [
    (merchant, f"PAYMENT_METHOD_{name}", sequence)
    for merchant in ("gym", "shop")
    for sequence, name in enumerate(("REPLACED", "DELETED"), start=1)
]


in_every_order = pytest.mark.parametrize("order", list(itertools.permutations(TOLD_BY)), ids="-".join)


async def anns(world: World) -> None:
    """Ann's card A, of which three vendors know, with a subscription at each merchant."""
    mine = held(A) | {"credentials": KNOWN_TO}
    links = [link(A, wallet="ann", merchant=merchant) for merchant in ("gym", "shop")]
    await world.wallets(wallet("ann", mine, links=links, told=["gym", "shop"]))


@in_every_order
async def test_a_replacement_that_three_feeds_tell_is_one(world: World, order: Sequence[str]) -> None:
    await anns(world)
    for days, name in enumerate(order):
        await tell(world, name, *TOLD_BY[name], edge=replace(EDGE, at=EDGE.at + timedelta(days=days)))
    assert len(await world.rows("SELECT old_id, new_id FROM lineage")) == 1
    assert await world.told() == ONCE
    (exported,) = await world.export()
    (live,) = (each for each in exported["paymentMethods"] if each["status"] != "DELETED")
    assert live["details"]["last4"] == "1881"
    assert {each["paymentMethodId"] for each in exported["paymentLinks"]} == {live["id"]}
    assert {each.get("token") for each in live["credentials"]} >= {"bt-B", "cs-B"}


@in_every_order
async def test_the_order_of_arrival_is_not_that_of_telling_and_makes_no_difference(
    world: World, order: Sequence[str]
) -> None:
    await anns(world)
    days = {name: timedelta(days=number) for number, name in enumerate(TOLD_BY)}
    for name in order:
        await tell(world, name, *TOLD_BY[name], edge=replace(EDGE, at=EDGE.at + days[name]))
    assert len(await world.rows("SELECT old_id, new_id FROM lineage")) == 1
    assert await world.told() == ONCE


# A network tells another number, a token service and a processor keep their tokens and say which card is behind them.
TOKEN = {
    "tokenUniqueReference": "mdes-A",
    "status": "ACTIVE",
    "reasonCode": "FUNDING_ACCOUNT_UPDATE",
    "tokenInfo": {"accountPanSuffix": "1881", "accountPanExpiry": "1129"},
}
TRANSACTION = {
    "token": "transaction",
    "succeeded": True,
    "transaction_type": "ReplacePaymentMethod",
    "payment_method": {
        "token": "spreedly-A",
        "payment_method_type": "credit_card",
        "card_type": "visa",
        "last_four_digits": "1881",
        "month": 11,
        "year": 2029,
        "fingerprint": "of-B",
    },
}
KEPT_BY = ("vau", "mdes", "spreedly")


def kept_by(feed: str, at: datetime) -> list[str]:
    match feed:
        case "vau":
            return [VAU, f"{A},{B},2911,A"]
        case "mdes":
            tokens = [TOKEN | {"statusTimestamp": at.isoformat()}]
            return [json.dumps({"requestId": "1", "encryptedPayload": {"encryptedData": {"tokens": tokens}}})]
        case _:
            dates = dict.fromkeys(("created_at", "updated_at"), at.isoformat())
            return [json.dumps({"transaction": TRANSACTION | dates})]


# Who tells it first decides.
HEARD = {"vau": ["REPLACED", "DELETED"], "mdes": ["UPDATED"], "spreedly": ["UPDATED"]}


@pytest.mark.parametrize("order", list(itertools.permutations(KEPT_BY)), ids="-".join)
async def test_a_replacement_that_is_told_in_place_too_ends_in_one_card(world: World, order: Sequence[str]) -> None:
    tokens = [{"vendor": "mdes", "token": "mdes-A"}, {"vendor": "spreedly", "token": "spreedly-A"}]
    links = [link(A, wallet="ann", merchant=merchant) for merchant in ("gym", "shop")]
    await world.wallets(wallet("ann", held(A) | {"credentials": tokens}, links=links, told=["gym", "shop"]))
    for days, name in enumerate(order):
        at = EDGE.at + timedelta(days=days)
        await tell(world, name, *kept_by(name, at), edge=replace(EDGE, at=at))
    (exported,) = await world.export()
    (live,) = (each for each in exported["paymentMethods"] if each["status"] != "DELETED")
    assert (live["details"]["last4"], live["details"]["expiryYear"]) == ("1881", 2029)
    assert {each["paymentMethodId"] for each in exported["paymentLinks"]} == {live["id"]}
    known = [{"fingerprint": KEY.fingerprint(number)} for number in (A, B)]
    assert all(each in live["credentials"] for each in [*tokens, *known])
    names = [name.removeprefix("PAYMENT_METHOD_") for merchant, name, _ in await world.told() if merchant == "gym"]
    assert names == HEARD[order[0]]


async def test_fourteen_copies_in_one_file_make_one_set_of_webhooks(world: World) -> None:
    await anns(world)
    await tell(world, "vau", VAU, *chain(A, B) * 14)
    assert await world.told() == ONCE
    assert Counter(outcome for outcome, _ in (await world.outcomes()).values()) == {"APPLIED": 1, "DUPLICATE": 13}


async def test_copies_of_an_in_place_change_under_other_ids_make_one_webhook_each(world: World) -> None:
    names = (
        "Record Type,Payment Method Id,Submitted Date,Response ID,Payment Brand,Payment Brand Change,"
        "New Masked Account,New Expiry,Reason Message,Network Response"
    )
    rows = [f"ACP-02 ,pm-1,3/17/2025,r-{n},VI,N,401288******1881,1129,NEW_ACCOUNT_AND_EXPIRY,A" for n in range(14)]
    known = card("pm", wallet="ann") | {"credentials": [{"vendor": "jpmorgan", "token": "pm-1"}], "fingerprint": None}
    await world.wallets(wallet("ann", known, told=["gym", "shop"]))
    await tell(world, "jpmorgan", names, *rows)
    assert await world.told() == [(merchant, "PAYMENT_METHOD_UPDATED", 1) for merchant in ("gym", "shop")]


async def test_an_event_that_apple_delivers_again_does_not_undo_a_later_one(world: World) -> None:
    token = {"vendor": "apple-pay", "token": "DN1"}
    known = card("pay", wallet="ann") | {"type": "DIGITAL_WALLET", "credentials": [token], "fingerprint": None}
    await world.wallets(wallet("ann", known))
    for hour, (event_id, suffix) in enumerate([("e-1", "1111"), ("e-2", "2222"), ("e-1", "1111")]):
        at = replace(EDGE, at=EDGE.at + timedelta(hours=hour))
        (fetch,) = read(FEEDS["apple-pay"], {"eventId": event_id}, at)
        assert isinstance(fetch, Fetch)
        details = {"cardMetadata": {"fpanSuffix": suffix}}
        answer = {"eventType": "UPDATED_METADATA", "merchantTokenIdentifier": "DN1", "merchantTokenMetadata": details}
        await world.take_in(*read_answer(FEEDS["apple-pay"], fetch, answer, at))
    assert await cards(world) == [("2222", "ACTIVE", None)]
    assert await world.told() == [("shop", "PAYMENT_METHOD_UPDATED", 1), ("shop", "PAYMENT_METHOD_UPDATED", 2)]


async def test_a_number_that_stays_and_an_earlier_expiry_change_nothing(world: World) -> None:
    await anns(world)
    await tell(world, "vau", VAU, f"{A},{A},2612,A", f"{A},,2501,E", f"{A},,2612,E", f"{A},{A},2512,A")
    assert await world.told() == []
    assert await cards(world) == [("1234", "ACTIVE", None)]
    assert await world.rows("SELECT old_id FROM lineage") == []
