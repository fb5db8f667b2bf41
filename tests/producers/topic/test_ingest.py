"""What reaches the topic of a feed: every line, in order, and no card number."""

import asyncio
import base64
import bz2
import gzip
import json
import lzma
import os
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from itertools import pairwise
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from domain.refusal import Refused
from ops import embedded
from producers.lines import FilePosition
from producers.topic import ingest, stream
from producers.topic.stream import FeedLine, Unreachable, send
from schemas.canonical import UNREADABLE_HEADER, parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.fingerprint import Fingerprints, Key
from schemas.intake import LONGEST, TopicMessage
from testbed.kafka import Broker
from tests.acceptance.lines import replaced

PAN = "4111111111111111"
AT = datetime(2026, 11, 20, tzinfo=UTC)
ENCODED = base64.b64encode(json.dumps(replaced(1) | {"note": PAN}).encode()).decode()


async def read(servers: str, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    got: list[Any] = []
    async with consumer, asyncio.timeout(60):
        while len(got) < count:
            got += [one for each in (await consumer.getmany(timeout_ms=500)).values() for one in each]
    return got


def feed(*lines: bytes | object) -> BufferedReader:
    texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return cast(BufferedReader, BytesIO(b"\n".join(texts)))


async def test_every_line_arrives_in_the_order_of_its_credential(kafka: str, topic: str) -> None:
    lines = [replaced(number % 7, update_id=f"vau-{number}") for number in range(3000)]
    sent = await send(ingest.read_updates(feed(*lines)), bootstrap_servers=kafka, topic=topic)
    assert (sent.lines, sent.acknowledged, sent.refused, sent.unusable) == (3000, 3000, 0, 0)
    by_key: dict[bytes, list[int]] = {}
    for message in await read(kafka, topic, 3000):
        by_key.setdefault(message.key, []).append(int(json.loads(message.value)["id"].removeprefix("vau-")))
    assert set(by_key) == {f"vau:tok_{number}".encode() for number in range(7)}
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert sum(map(len, by_key.values())) == 3000


class SlowProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """Its batches leave late, as on a slow line; a message that is sent alone takes another connection."""

    async def send_batch(self, *batch: Any, **more: Any) -> "asyncio.Future[object]":
        send_now = super().send_batch

        async def send_late() -> object:
            await asyncio.sleep(0.3)
            return await (await send_now(*batch, **more))

        return asyncio.create_task(send_late())


@pytest.mark.parametrize("in_flight", [True, False], ids=["on their way", "not sent yet"])
async def test_a_long_message_stays_behind_the_messages_before_it(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, *, in_flight: bool
) -> None:
    """Of one credential: A→B, then the long report of its details, then B→C."""
    monkeypatch.setattr(stream, "AIOKafkaProducer", SlowProducer)
    lengths = [10, 10, 200_000, 10, 150_000, 10]

    async def lines() -> AsyncIterator[FeedLine]:
        for number, length in enumerate(lengths, 1):
            if in_flight:
                await asyncio.sleep(0.1)
            yield FeedLine(number, 0, (TopicMessage(b"vau:tok_1", b"%d" % number + b" " * length, ()),))

    told: list[FeedLine] = []
    sent = await send(lines(), bootstrap_servers=kafka, topic=topic, on_acknowledged=told.append)
    assert (sent.acknowledged, [line.number for line in told]) == (6, [1, 2, 3, 4, 5, 6])
    assert [int(message.value) for message in await read(kafka, topic, 6)] == [1, 2, 3, 4, 5, 6]


async def read_as_canonical(content: str) -> list[FeedLine]:
    return [line async for line in ingest.read_updates(feed(content.encode()))]


async def test_a_document_of_updates_is_read_as_lines_of_them_are() -> None:
    updates = [replaced(1), replaced(2, new=PAN), {"id": "x"}, replaced(3)]
    lines = [line async for line in ingest.read_updates(feed(*updates))]
    for indent in (None, 2):
        of_document = await read_as_canonical(json.dumps(updates, indent=indent))
        assert [line._replace(end=0) for line in lines] == of_document
    [alone] = await read_as_canonical(json.dumps(updates[0], indent=2))
    assert alone == lines[0]._replace(end=0)


async def test_half_a_document_of_updates_is_one_unusable_line_without_its_numbers() -> None:
    half = json.dumps([replaced(1), replaced(2, new=PAN), 1], indent=1)
    [line] = await read_as_canonical(half[:-2])
    assert line.refusal_text == "document: expected JSON"
    assert PAN.encode() not in line.messages[0].value
    assert [each.refusal_text for each in await read_as_canonical(half)][2] == "record: expected a JSON object"
    [long] = await read_as_canonical("[\n" + json.dumps(replaced(1), indent=1) + "," * LONGEST)
    assert (long.messages, (long.refusal_text or "")[:16]) == ((), "document: expect")


def zipped(content: bytes) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("feed.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize("of", [None, "vau", "nacha", "nmi"])
@pytest.mark.parametrize(
    ("pack", "name"),
    [(gzip.compress, "gzip"), (zipped, "zip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
    ids=["gzip", "zip", "bzip2", "xz"],
)
async def test_a_packed_file_is_said_to_be_one_and_none_of_it_is_kept(
    pack: Callable[[bytes], bytes], name: str, of: str | None
) -> None:
    """Whoever unpacks what is kept would see the numbers."""
    content = pack("".join(f"{PAN},{number},A\n" for number in range(5000)).encode())
    stream = cast(BufferedReader, BytesIO(content))
    found = ingest.read_updates(stream) if of is None else ingest.read_feed(FEEDS[of], stream, Edge(AT))
    [line] = [line async for line in found]
    assert (line.number, line.refusal_text) == (1, f"file: expected it unpacked, not as {name}")
    [letter] = line.messages
    assert letter.value == b""
    assert dict(letter.headers)[UNREADABLE_HEADER] == (line.refusal_text or "").encode()


async def test_what_surrounds_the_parts_of_a_record_is_kept_once(kafka: str, topic: str) -> None:
    good = [{"customer_vault_id": f"{number}", "cc_number": "400000******0042"} for number in range(2)]
    cards = [good[0], *[{}] * 60, good[1]]
    body = {"updated_date": "2026-11-20", "merchant": {"id": 1}, "vault_updates": cards}
    event = {"event_id": "e-1", "event_type": "acu.summary.closedaccount", "event_body": body, "note": "x " * 100_000}
    lines = [line async for line in ingest.read_feed(FEEDS["nmi"], feed(event, event | {"note": ""}), Edge(AT))]
    assert [line.refusal_text is None for line in lines] == [True, *[False] * 60, True] * 2
    assert len({line.refusal_text for line in lines if line.refusal_text}) == 1
    assert [line.parts for line in lines] == [61] * 62 + [122] * 62
    assert [bool(line.end) for line in lines] == [False] * 61 + [True] + [False] * 62
    sent = await send(_given(lines), bootstrap_servers=kafka, topic=topic)
    assert (sent.lines, sent.unusable, sent.acknowledged, sent.refused) == (124, 120, 6, 0)
    letters = [each for each in await read(kafka, topic, 6) if each.headers]
    assert sorted(json.loads(each.value) == event for each in letters) == [False, True]
    reason = b"event_body.vault_updates.customer_vault_id: required (part 2 of 62, and 59 others)"
    assert {dict(each.headers)[UNREADABLE_HEADER] for each in letters} == {reason}


async def _given(lines: Iterable[FeedLine]) -> AsyncIterator[FeedLine]:
    for line in lines:
        yield line


async def test_where_a_record_was_looked_for_is_said_if_it_is_further_inside() -> None:
    row = {"oldCardholderAccountNumber": PAN, "serviceIdentifier": "C"}
    edge = Edge(AT, Fingerprints(Key("v1", bytes(range(32)))))
    for content, refusal in (
        ({"responses": [row]}, " in the outermost object, which has not the names of a record of this feed"),
        (row | {"serviceIdentifier": ""}, ""),
    ):
        [line] = [line async for line in ingest.read_feed(FEEDS["vau"], feed(content), edge)]
        assert line.refusal_text == f"serviceIdentifier: required{refusal}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (replaced(1, new=PAN), "$.new.token: expected no card number"),
        (replaced(1) | {"old": {"token": PAN}}, "$.old.token: expected no card number"),
        (replaced(1) | {"note": f"was {PAN[:4]} {PAN[4:8]} {PAN[8:12]} {PAN[12:]}"}, "$.note: expected no card number"),
        (json.dumps(replaced(1, new=PAN)).replace("4111", "\\u00341\\u00311").encode(), "$.new.token: expected no"),
        ({"specversion": "1.0", "data_base64": ENCODED}, "$.data_base64: expected no card number"),
        (f"half a line with {PAN}".encode(), "message: expected JSON"),
        (b"\xff " + PAN.encode(), "message: expected UTF-8"),
    ],
    ids=["new token", "old token", "unknown field", "escaped", "base64", "no JSON", "no UTF-8"],
)
async def test_a_card_number_never_reaches_the_topic(kafka: str, topic: str, line: object, reason: str) -> None:
    sent = await send(ingest.read_updates(feed(line)), bootstrap_servers=kafka, topic=topic)
    assert (sent.acknowledged, sent.unusable) == (1, 1)
    [message] = await read(kafka, topic, 1)
    whole = b" ".join((message.key or b"", message.value, *(value for _, value in message.headers)))
    for shown in (PAN.encode(), PAN[4:8].encode(), base64.b64encode(PAN.encode())[:12], b"\\u00341"):
        assert shown not in whole
    assert [name for name, _ in message.headers] == [UNREADABLE_HEADER]
    with pytest.raises(Refused) as refused:
        parse(message.value, message.headers)
    assert str(refused.value).startswith(reason)


def test_a_masked_line_stays_with_the_updates_of_its_credential() -> None:
    line = ingest.read_update(1, json.dumps(replaced(1, new=PAN)).encode())
    assert [message.key for message in line.messages] == [b"vau:tok_1"]


async def test_what_is_no_update_is_sent_as_it_is(kafka: str, topic: str) -> None:
    """So that it becomes a dead letter, with its own bytes and a reason found anew."""
    undated = {key: value for key, value in replaced(1).items() if key != "occurredAt"}
    lines = ingest.read_updates(feed(b"half a li", undated, b"", b"  ", replaced(2)))
    sent = await send(lines, bootstrap_servers=kafka, topic=topic)
    assert (sent.lines, sent.acknowledged, sent.unusable) == (3, 3, 2)
    messages = {message.value: message for message in await read(kafka, topic, 3)}
    assert messages[b"half a li"].key is None
    assert messages[json.dumps(undated).encode()].key == b"vau:tok_1"
    assert not any(message.headers for message in messages.values())


async def test_lines_are_numbered_as_an_editor_numbers_them() -> None:
    lines = [line async for line in ingest.read_updates(feed(replaced(1), b"", b"x", replaced(2)))]
    assert [(line.number, line.refusal_text is None) for line in lines] == [(1, True), (3, False), (4, True)]


async def test_a_line_without_end_is_refused_and_the_next_one_read() -> None:
    lines = [line async for line in ingest.read_updates(feed(b"x" * (3 * LONGEST), replaced(2)))]
    assert [(line.number, not line.messages) for line in lines] == [(1, True), (2, False)]


@pytest.mark.parametrize(
    "line",
    [{"vendor": "vau", "old": {"token": "tok_\ud800"}}, b'{"vendor": "vau", "old": ' + b"[" * 200_000],
    ids=["half a character", "deep"],
)
async def test_a_line_whose_credential_cannot_be_made_out_is_refused(line: object) -> None:
    (found,) = [each async for each in ingest.read_updates(feed(line))]
    assert found.refusal_text is not None
    assert found.messages[0].key is None


async def test_what_is_masked_grows_no_longer_than_is_taken() -> None:
    """Bytes that are no UTF-8 are written as four each."""
    noise = b'{"note": "' + PAN.encode() + b"\xff" * (LONGEST - 100) + b'"}'
    (line,) = [line async for line in ingest.read_updates(feed(noise))]
    assert len(line.messages[0].value) == LONGEST
    assert PAN.encode() not in line.messages[0].value


async def test_a_line_is_sent_as_soon_as_it_comes(kafka: str, topic: str) -> None:
    """A pipe may be silent for hours; what it said before is on the topic meanwhile."""
    out, into = os.pipe()
    with os.fdopen(out, "rb") as stream, os.fdopen(into, "wb", buffering=0) as writer:
        lines = ingest.read_updates(stream)
        sending = asyncio.create_task(send(lines, bootstrap_servers=kafka, topic=topic))
        writer.write(json.dumps(replaced(1)).encode() + b"\n" + b'{"id": "half')
        [message] = await read(kafka, topic, 1)
        assert message.key == b"vau:tok_1"
        assert not sending.done()
        writer.close()
        sent = await sending
    assert (sent.lines, sent.acknowledged, sent.unusable) == (2, 2, 1)


async def test_a_topic_that_is_not_there_is_said_once(broker: Broker) -> None:
    if not broker.real:
        pytest.skip("the stand-in broker makes every topic that it is asked for")
    lines = ingest.read_updates(feed(*(replaced(number) for number in range(100))))
    with pytest.raises(Unreachable, match=r"topic nowhere at .* is not known there \(REPOINT_KAFKA_TOPIC\)"):
        await send(lines, bootstrap_servers=broker.servers, topic="nowhere")


async def test_a_topic_of_thin_events_that_is_not_there_ends_the_sending_once_it_is_needed(
    kafka: str, topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not broker.real:
        pytest.skip("the stand-in broker makes every topic that it is asked for")

    async def lines() -> AsyncIterator[FeedLine]:
        yield ingest.read_update(1, json.dumps(replaced(1)).encode())
        monkeypatch.setattr(stream, "_TOPIC_SECONDS", 0.5)
        yield FeedLine(2, 0, [TopicMessage(b"k", b"{}", (), thin=True)])

    with pytest.raises(Unreachable, match=r"topic nowhere at .* is not known there \(REPOINT_KAFKA_THIN_TOPIC\)"):
        await send(lines(), bootstrap_servers=kafka, topic=topic, thin_topic="nowhere")


async def test_a_feed_that_is_silent_for_long_is_waited_for() -> None:
    reading = asyncio.create_task(asyncio.sleep(1.1))
    await stream._watch(reading, stream.SendCounts(messages=7, acknowledged=5, refused=2), 0.3)
    assert reading.done()


async def test_a_broker_that_owes_an_answer_is_not_waited_for_though_others_came() -> None:
    reading = asyncio.create_task(asyncio.sleep(3600))
    with pytest.raises(Unreachable, match=r"^messages that the broker took: 5 of 7, and then none"):
        await stream._watch(reading, stream.SendCounts(messages=7, acknowledged=5, refused=1), 0.3)
    reading.cancel()


async def test_a_broker_that_goes_away_is_not_waited_for_for_ever() -> None:
    gone = asyncio.Event()

    async def lines() -> AsyncIterator[FeedLine]:
        yield ingest.read_update(1, json.dumps(replaced(1)).encode())
        await gone.wait()
        yield ingest.read_update(2, json.dumps(replaced(2)).encode())

    with embedded.broker() as servers:
        sending = asyncio.create_task(send(lines(), bootstrap_servers=servers, topic="updates", patience=2))
        await read(servers, "updates", 1)
    gone.set()
    with pytest.raises(Unreachable, match="the broker took: 1 of 2"):
        await sending


EVENT: dict[str, object] = {
    "id": "EV1",
    "created_at": "2026-11-20T09:14:13Z",
    "resource_type": "mandates",
    "action": "replaced",
}
EVENT |= {"links": {"mandate": "MD1", "new_mandate": "MD2"}}


def card(of: str, becomes: str) -> dict[str, object]:
    expiry = {"expiration-month": "11", "expiration-year": "2029"}
    return {
        "update-response-code": "500",
        "original-card": {"card-number": of},
        "updated-card": {"card-number": becomes, **expiry},
    }


async def test_parts_of_records_are_in_the_order_of_the_file_also_where_reading_goes_on() -> None:
    """A→B and B→C in one batch, and C→D in the next: nothing but their order says which is the last."""
    numbers = (PAN, "4012888888881881", "4222222222222", "4000056655665556")
    first, second, third = (card(*pair) for pair in pairwise(numbers))
    file = feed({"account-update": [first, second]}, third, {"account-update": [second, first, third]}, third, b"")
    edge = Edge(AT, Fingerprints(Key("v1", bytes(16))))
    told = [line async for line in ingest.read_feed(FEEDS["bluesnap"], file, edge)]
    dates = [json.loads(message.value)["occurredAt"] for line in told for message in line.messages]
    assert len(dates) == len(set(dates)) == 7
    assert dates == sorted(dates)
    for number, line in enumerate(told, 1):
        if line.end:
            file.seek(0)
            rest = ingest.read_feed(FEEDS["bluesnap"], file, edge, FilePosition(line.end, line.number, line.parts))
            assert [one async for one in rest] == told[number:]


async def test_a_part_that_is_refused_does_not_take_the_others_along(kafka: str, topic: str) -> None:
    record = {"events": [EVENT, EVENT | {"action": "lost"}, EVENT | {"id": "EV3"}]}
    edge = Edge(AT)
    told: list[FeedLine] = []
    lines = ingest.read_feed(FEEDS["gocardless"], feed(record, EVENT | {"resource_type": "payments"}, b""), edge)
    sent = await send(lines, bootstrap_servers=kafka, topic=topic, on_acknowledged=told.append)
    assert (sent.lines, sent.unusable, sent.acknowledged, sent.refused) == (4, 1, 3, 0)
    assert [(each.number, each.end > 0, len(each.messages)) for each in told] == [
        (1, False, 1),
        (1, False, 1),
        (1, True, 1),
        (2, True, 0),  # which tells nothing of a mandate, and is no failure
    ]
    (letter,) = (each for each in await read(kafka, topic, 3) if each.headers)
    assert json.loads(letter.value) == EVENT | {"action": "lost"}
