"""A vendor's CSV is taken as its file would be; and however a body is written, what is made of it has bounds."""

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from api.authentication import content_types
from api.body import LONGEST_BODY, MOST_LINES, MOST_RECORDS
from producers.topic import ingest
from schemas.canonical import UNREADABLE_HEADER
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed
from schemas.feeds.reading import MOST_VALUES, parse_json
from schemas.intake import FEED_HEADER
from testbed.kafka import Broker
from tests.api import test_authentication as vendors
from tests.api.posting import FINGERPRINTS, SECRETS, Answer, FeedClient, listening, make_topic, on_topic
from tests.parts.thorough import sampled

SAMPLES = Path(__file__).parents[2] / "examples" / "feeds"
TABLES = [feed for feed in FEEDS.values() if "text/csv" in content_types(feed)]
PAN = "4539578763621486"
NAMES = "oldCardholderAccountNumber,newCardholderAccountNumber,newExpirationDate,serviceIdentifier"


@pytest.fixture
async def client(kafka: str, topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FeedClient]:
    for feed in TABLES:
        monkeypatch.setitem(SECRETS, feed.name, [f"a-token-of-{feed.name}-now"])
    async with listening(kafka, topic, await make_topic(broker.servers, real=broker.real)) as client:
        yield client


async def post(client: FeedClient, feed: str, table: bytes | str, *, kind: str = "text/csv") -> Answer:
    body = table.encode() if isinstance(table, str) else table
    return await client.send(feed, body, {"Authorization": f"Bearer {SECRETS[feed][0]}", "Content-Type": kind})


def test_each_feed_whose_sample_is_a_table_is_posted_as_one_unless_its_vendor_signs() -> None:
    in_files = {file.stem for file in SAMPLES.glob("*.csv") if file.stem in FEEDS}
    assert {feed.name for feed in TABLES} == in_files - {"braintree"}


@pytest.mark.parametrize("feed", TABLES, ids=lambda feed: feed.name)
async def test_a_table_that_is_posted_tells_what_the_file_does(
    client: FeedClient, kafka: str, topic: str, feed: Feed
) -> None:
    file = SAMPLES / f"{feed.name}.csv"
    at = datetime(2026, 11, 20, tzinfo=UTC)
    with file.open("rb") as stream:
        lines = [line async for line in ingest.read_feed(feed, stream, Edge(at, FINGERPRINTS))]
    answer = await post(client, feed.name, file.read_bytes())
    refused = sum(line.refusal_text is not None for line in lines)
    assert (answer.status, answer.body["accepted"], answer.body["refused"]) == (202, len(lines) - refused, refused)
    wanted = [message for line in lines for message in line.messages]
    found = await on_topic(kafka, topic)
    assert sorted((one.key or b"") for one in found) == sorted((each.key or b"") for each in wanted)
    assert sorted(len(one.headers) for one in found) == sorted(len(each.headers) for each in wanted)


@pytest.mark.parametrize("is_table", [True, False], ids=["a table", "an array"])
async def test_of_records_without_a_date_what_is_behind_another_in_the_body_is_the_later(
    client: FeedClient, kafka: str, topic: str, *, is_table: bool
) -> None:
    """A → B and B → C of one day: at one moment nobody could say which of the two is so now."""
    rows = [f"{old},{new},2812,A" for old, new in pairwise([PAN, "4111111111111111", "4012888888881881", PAN])]
    objects = [dict(zip(NAMES.split(","), row.split(","), strict=True)) for row in rows]
    body = "\r\n".join([NAMES, *rows]) if is_table else json.dumps(objects)
    answer = await post(client, "vau", body, kind="text/csv" if is_table else "application/json")
    assert (answer.status, answer.body["accepted"]) == (202, 3)
    updates = [json.loads(one.value or b"") for one in await on_topic(kafka, topic)]
    updates.sort(key=lambda update: update["occurredAt"])
    assert [update["new"]["last4"] for update in updates] == ["1111", "1881", PAN[-4:]]
    assert len({update["occurredAt"] for update in updates}) == 3


async def test_of_a_table_the_rows_that_cannot_be_used_are_set_aside_by_themselves(
    client: FeedClient, kafka: str, topic: str
) -> None:
    rows = [f"{PAN},4111111111111111,2812,A", f"{PAN},,,Z", f"{PAN},4111", "", f"{PAN},,2812,E"]
    answer = await post(client, "vau", "\r\n".join([NAMES, *rows]))
    assert (answer.status, answer.body["accepted"], answer.body["refused"]) == (202, 2, 2)
    assert answer.body["reasons"] == {
        "serviceIdentifier: expected a code of this feed": 1,
        "line: expected 4 columns, not 2": 1,
    }
    found = await on_topic(kafka, topic)
    assert sorted(len(one.headers) for one in found) == [0, 0, 2, 2]
    assert PAN not in "".join(f"{one.value!r}{one.key!r}{one.headers}" for one in found)
    letters = [one for one in found if one.headers]
    assert {dict(one.headers)[FEED_HEADER] for one in letters} == {b"vau"}
    assert sorted((one.value or b"").strip() for one in letters) == [b"****************,,,Z", b"****************,4111"]


UNUSABLE = [
    ("", "body: expected CSV with a line of names"),
    ("  \r\n\r\n", "body: expected CSV with a line of names"),
    ('{"oldCardholderAccountNumber": ""}', "body: expected CSV with a line of names"),
    (f"{PAN},4111111111111111,2812,A\r\n{PAN},,,C", "line of names: expected the names of this feed's columns"),
    (f"{NAMES},{NAMES}\r\n{PAN},,,C", "line of names: expected a name for each column, and each one once"),
    (f"{NAMES}\r\n{PAN},,,C".encode("utf-16"), "body: expected UTF-8, not UTF-16"),
    (gzip.compress(f"{NAMES}\r\n{PAN},,,C".encode()), "body: expected it unpacked, not as gzip"),
    (f"{NAMES}{''.join(f',c{n}' for n in range(1_000))}\r\n", "line of names: expected 1,000 columns at most"),
]


@pytest.mark.parametrize(("table", "reason"), UNUSABLE, ids=range(len(UNUSABLE)))
async def test_a_table_without_its_names_is_kept_whole_and_masked(
    client: FeedClient, kafka: str, topic: str, table: str | bytes, reason: str
) -> None:
    answer = await post(client, "vau", table)
    assert (answer.status, answer.body["detail"], answer.body["reasons"]) == (422, reason, {reason: 1})
    [letter] = await on_topic(kafka, topic)
    assert dict(letter.headers)[UNREADABLE_HEADER] == reason.encode()
    assert PAN not in (letter.value or b"").decode().replace("\\x00", "").replace("\0", "")
    assert (letter.value == b"") is (not table or "gzip" in reason)


async def test_an_empty_table_tells_nothing(client: FeedClient, kafka: str, topic: str) -> None:
    answer = await post(client, "vau", NAMES + "\r\n")
    assert (answer.status, answer.body) == (202, {"accepted": 0, "refused": 0, "reasons": {}})
    assert await on_topic(kafka, topic) == []


async def test_a_table_of_more_rows_than_a_body_may_have_is_not_taken(
    client: FeedClient, kafka: str, topic: str
) -> None:
    rows = [f"{PAN},,2812,E"] * (MOST_RECORDS + 1)
    answer = await post(client, "vau", "\n".join([NAMES, *rows]))
    assert (answer.status, answer.body["code"]) == (413, "BODY_TOO_LARGE")
    assert (await post(client, "vau", NAMES + "\n" * LONGEST_BODY)).status == 413
    assert await on_topic(kafka, topic) == []
    answer = await post(client, "vau", "\n".join([NAMES, *rows[1:]]))
    assert (answer.status, answer.body["accepted"]) == (202, 5_000)


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \n"], ids=repr)
async def test_a_table_of_more_lines_than_a_body_may_have_is_not_cut_at_all(
    client: FeedClient, kafka: str, topic: str, blank: str
) -> None:
    answer = await post(client, "vau", NAMES + blank * (990_000 // len(blank) - len(NAMES)))
    assert (answer.status, answer.body["code"]) == (413, "BODY_TOO_LARGE")
    assert answer.body["detail"] == f"expected {MOST_LINES:,} lines at most, blank ones among them"
    for lines, status in ((20_000, 202), (20_001, 413)):
        assert (await post(client, "vau", NAMES + blank * lines)).status == status
    assert await on_topic(kafka, topic) == []


@pytest.mark.parametrize("unit", [",", '"",', ";"])
async def test_a_row_of_more_cells_than_a_spreadsheet_has_is_refused_by_that(client: FeedClient, unit: str) -> None:
    answer = await post(client, "vau", NAMES.replace(",", unit[-1]) + "\n" + unit * 200_000)
    assert (answer.status, answer.body["detail"]) == (422, "line: expected 20,000 cells at most")


async def test_a_table_is_taken_from_those_alone_who_send_one(client: FeedClient) -> None:
    table = f"{NAMES}\n{PAN},,2812,E"
    for kind, status in (
        ("text/csv", 202),
        ("text/csv; charset=UTF-8; header=present", 202),
        ("text/csv; charset=us-ascii", 202),
        ("text/csv; charset=iso-8859-1", 415),
        ("text/plain", 415),
        ("application/json", 422),
    ):
        assert (await post(client, "vau", table, kind=kind)).status == status, kind
    refused = await post(client, "vgs", table)
    assert (refused.status, refused.body["detail"]) == (415, "expected application/json")
    assert (await client.send("vau", table.encode(), {"Content-Type": "text/csv"})).status == 401


# --- bounds -------------------------------------------------------------------------------------------------------

MEGABYTE = 1_000_000
HOSTILE = {
    "zeros": b"[" + b"0," * (MEGABYTE // 2 - 2) + b"0]",
    "arrays": b"[" + b"[]," * (MEGABYTE // 3 - 2) + b"[]]",
    "objects": b"[" + b"{}," * (MEGABYTE // 3 - 2) + b"{}]",
    "keys": b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b"}",
    "keys of one record of many": b"[" + b",".join(b'{"%d":0}' % n for n in range(80_000)) + b"]",
    "depth of arrays": b"[" * MEGABYTE,
    "depth of objects": b'{"a":' * (MEGABYTE // 5),
    "depth that ends": b"[" * 450_000 + b"]" * 450_000,
    "depth inside a record": b'{"a":' + b"[" * 400 + b"]" * 400 + b"}",
    "a number": b"[" + b"9" * (MEGABYTE - 2) + b"]",
    "a text": b'{"a":"' + b"x" * (MEGABYTE - 8) + b'"}',
    "escapes": b'{"a":"' + b"\\u0041" * (MEGABYTE // 6 - 2) + b'"}',
    "commas in a text": b'{"a":"' + b"," * (MEGABYTE - 8) + b'"}',
    "parts": json.dumps({"events": [{}] * 90_000}).encode(),
}


@pytest.mark.parametrize("feed", sampled(["stripe", "google-pay", "gocardless", "nmi"], 4))
async def test_no_body_takes_more_than_a_hundred_times_its_length(feed: str, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setitem(SECRETS, "google-pay", ["in-the-url-of-google"])
    async with listening("127.0.0.1:1", "none", patience=0.01) as client:
        for name, body in HOSTILE.items():
            assert len(body) <= MEGABYTE
            tracemalloc.start()
            answer = await client.post(feed, body)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert answer.status in {413, 503}, name  # 503: it is a dead letter, which no broker takes here
            assert peak < 100 * MEGABYTE, (name, peak)


def test_json_of_more_values_than_records_have_is_not_read() -> None:
    for written in ("[" + "0," * MOST_VALUES + "0]", b"[" + b"[]," * MOST_VALUES + b"0]", bytearray(b"{" * 100_001)):
        with pytest.raises(ValueError, match="expected 100,000 values at most"):
            parse_json(written)
    assert len(parse_json("[" + "0," * (MOST_VALUES - 2) + "0]")) == MOST_VALUES - 1


async def test_a_form_and_its_xml_have_bounds(client: FeedClient, kafka: str, topic: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.send("braintree", b"a=1&" * 200_000, form)).status == 401
    secret = SECRETS["braintree"][0]
    for xml in (b"<a>" * 20_000, b"<a/>" * 100_000, b"<!DOCTYPE x [<!ENTITY a 'a'>]><x>&a;</x>", b"<a " * 9_000):
        signed = vendors.braintree(secret, xml)
        assert (await client.send("braintree", signed.body, form)).status in {413, 422}
