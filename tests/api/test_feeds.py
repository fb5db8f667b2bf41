"""What vendors post is on the topic when they are told so, and is theirs to post again until then."""

import asyncio
import copy
import gzip
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import aiohttp
import pytest
from prometheus_client import REGISTRY

from api import body, feeds, listener
from api.body import MOST_RECORDS, PostedRow
from loops import giving_way
from schemas.canonical import UNREADABLE_HEADER
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.intake import FEED_HEADER
from testbed.kafka import Broker
from tests.api import test_authentication as vendors
from tests.api.posting import SECRETS, FeedClient, listening, make_topic, on_topic
from tests.consumers.test_worker import broker_on_a_leash
from tests.consumers.test_worker import make_topic as make_updates_topic
from tests.parts.until import until
from tests.producers import canaries

SAMPLES = Path(__file__).parents[2] / "examples" / "feeds"
PAN = "4539578763621486"
JSON = {"Content-Type": "application/json"}


def samples(feed: str) -> list[Any]:
    return [json.loads(line) for line in (SAMPLES / f"{feed}.jsonl").read_text().splitlines()]


@pytest.fixture
async def thin_topic(broker: Broker) -> str:
    return await make_topic(broker.servers, real=broker.real)


@pytest.fixture
async def client(kafka: str, topic: str, thin_topic: str) -> AsyncIterator[FeedClient]:
    async with listening(kafka, topic, thin_topic) as client:
        yield client


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_what_was_answered_with_202_is_on_the_topic(client: FeedClient, kafka: str, topic: str) -> None:
    before = counted("repoint_feed_requests_total", feed="stripe", status="202")
    event = samples("stripe")[0]
    for secret in SECRETS["stripe"]:
        answer = await client.post("stripe", event, secret=secret)
        assert (answer.status, answer.body) == (202, {"accepted": 1, "refused": 0, "reasons": {}})
    found = await on_topic(kafka, topic)
    assert [json.loads(one.value or b"")["id"] for one in found] == [event["id"]] * 2
    assert {one.key for one in found} == {b"stripe:pm_1OBoatCard"}
    assert counted("repoint_feed_requests_total", feed="stripe", status="202") == before + 2


class Pool(ThreadPoolExecutor):
    """Counts what is done on its threads."""

    jobs = 0

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self.jobs += 1
        return super().submit(*arguments, **named)


async def test_of_a_large_body_only_large_parts_are_read_on_a_thread(client: FeedClient) -> None:
    pool = Pool()
    asyncio.get_running_loop().set_default_executor(pool)
    event = samples("stripe")[0] | {"type": "customer.created"}
    tiny = {key: event[key] for key in ("id", "object", "created", "type")}
    answer = await client.post("stripe", [tiny] * 4_900)
    assert (answer.status, answer.body["irrelevant"]) == (202, 4_900)
    of_tiny_ones, pool.jobs = pool.jobs, 0
    answer = await client.post("stripe", [tiny, *[tiny | {"note": "x" * 100_000}] * 8])
    assert (answer.status, answer.body["irrelevant"]) == (202, 9)
    assert of_tiny_ones <= 4
    assert pool.jobs >= 8


@pytest.mark.parametrize("is_framed_by_length", [True, False])
@pytest.mark.parametrize(("more", "status"), [(0, 422), (1, 413)])
async def test_a_body_of_a_megabyte_is_read_and_no_longer_one(
    client: FeedClient, more: int, status: int, *, is_framed_by_length: bool
) -> None:
    content = b"[" + b" " * (999_998 + more) + b"]"
    signed = JSON | dict(vendors.stripe(SECRETS["stripe"][0], content, at=time.time()).headers)

    async def in_chunks() -> AsyncIterator[bytes]:
        yield content

    answer = await client.send("stripe", content if is_framed_by_length else in_chunks(), signed)
    assert answer.status == status


async def test_a_body_of_too_many_values_is_not_taken_and_not_kept(client: FeedClient, kafka: str, topic: str) -> None:
    answer = await client.post("stripe", b"[" + b"0," * 100_000 + b"0]")
    assert (answer.status, answer.body["detail"]) == (413, "expected 100,000 values at most")
    assert await on_topic(kafka, topic) == []


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "application/cloudevents+json"}, JSON | {"Content-Encoding": "identity"}],
    ids=["another kind of JSON", "not packed"],
)
async def test_json_by_another_name_and_a_body_that_is_said_not_to_be_packed_are_read(
    client: FeedClient, headers: dict[str, str]
) -> None:
    content = json.dumps(samples("stripe")[0]).encode()
    signed = vendors.stripe(SECRETS["stripe"][0], content, at=time.time())
    assert (await client.send("stripe", content, dict(signed.headers) | headers)).status == 202


async def test_what_is_irrelevant_is_taken_counted_and_not_kept(client: FeedClient, kafka: str, topic: str) -> None:
    before = counted("repoint_feed_records_total", feed="stripe", outcome="irrelevant")
    event = samples("stripe")[0] | {"type": "customer.created"}
    answer = await client.post("stripe", [event, event | {"type": "invoice.paid"}])
    assert (answer.status, answer.body) == (202, {"accepted": 0, "irrelevant": 2, "refused": 0, "reasons": {}})
    assert counted("repoint_feed_records_total", feed="stripe", outcome="irrelevant") == before + 2
    assert await on_topic(kafka, topic) == []
    mixed = await client.post("stripe", [event, event | {"type": "unheard.of"}])
    assert (mixed.status, mixed.body["irrelevant"], mixed.body["refused"]) == (202, 1, 1)
    assert len(await on_topic(kafka, topic)) == 1


async def test_a_thin_event_goes_onto_a_topic_of_its_own_and_is_asked_for_by_nobody_yet(
    client: FeedClient, kafka: str, topic: str, thin_topic: str
) -> None:
    answer = await client.post(
        "adyen", next(one for one in samples("adyen") if one["type"] == "recurring.token.updated")
    )
    assert (answer.status, answer.body["accepted"]) == (202, 1)
    assert await on_topic(kafka, topic) == []
    [event] = await on_topic(kafka, thin_topic)
    told = json.loads(event.value or b"")
    assert (told["feed"], told["path"].partition("?")[0]) == ("adyen", "storedPaymentMethods")


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def report(**changes: str) -> bytes:
    """Braintree's webhook, as its own client makes it to try one."""
    said = {
        "kind": "account_updater_daily_report",
        "timestamp": "2026-11-20T04:05:06Z",
        "report-date": "2026-11-20",
        "report-url": "https://assets.braintreegateway.com/report.csv",
        "note": "",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return f"""<?xml version="1.0" encoding="UTF-8"?>
    <notification>
      <kind>{said["kind"]}</kind>
      <timestamp type="datetime">{said["timestamp"]}</timestamp>
      <subject>
        <account-updater-daily-report>
          <report-date type="date">{said["report-date"]}</report-date>
          <report-url>{said["report-url"]}</report-url>
        </account-updater-daily-report>
      </subject><note>{said["note"]}</note>
    </notification>
    """.encode()


async def test_a_form_of_braintrees_is_read_where_it_is_signed(
    client: FeedClient, kafka: str, topic: str, thin_topic: str
) -> None:
    signed = vendors.braintree(SECRETS["braintree"][0], report())
    answer = await client.send("braintree", signed.body, FORM)
    assert (answer.status, answer.body["accepted"]) == (202, 1)
    assert len(await on_topic(kafka, thin_topic)) == 1
    another = vendors.braintree("public:another-key-of-tests", report())
    assert (await client.send("braintree", another.body, FORM)).status == 401
    assert (await client.send("braintree", signed.body.replace(b"public", b"other"), FORM)).status == 401
    assert (await client.send("braintree", signed.body.replace(b"bt_payload", b"bt_other"), FORM)).status == 401
    assert (await client.send("braintree", signed.body.replace(b"bt_signature", b"bt_other"), FORM)).status == 401
    assert (await client.send("braintree", b"bt_payload=\xff&&&", FORM)).status == 401
    assert (await client.send("braintree", json.dumps(dict(signed.form)), JSON)).status == 415
    assert (await client.send("braintree", signed.body, {"Content-Type": "multipart/form-data"})).status == 415
    assert len(await on_topic(kafka, thin_topic)) == 1
    assert await on_topic(kafka, topic) == []


async def test_the_dead_letter_of_a_form_is_without_its_signature(client: FeedClient, kafka: str, topic: str) -> None:
    signed = vendors.braintree(SECRETS["braintree"][0], report(kind="payment_method_revoked_by_customer"))
    assert (await client.send("braintree", signed.body, FORM)).status == 422
    [letter] = await on_topic(kafka, topic)
    assert json.loads(letter.value or b"") == {"bt_payload": signed.form["bt_payload"]}


async def test_what_braintree_sends_to_try_the_url_is_taken_and_tells_nothing(
    client: FeedClient, kafka: str, topic: str, thin_topic: str
) -> None:
    signed = vendors.braintree(SECRETS["braintree"][0], report(kind="check"))
    assert (await client.send("braintree", signed.body, FORM)).status == 202
    assert [*await on_topic(kafka, topic), *await on_topic(kafka, thin_topic)] == []


async def test_a_vendor_that_only_calls_a_url_proves_itself_by_the_url(
    client: FeedClient, kafka: str, thin_topic: str
) -> None:
    body = json.dumps({"eventId": "e-1"})
    assert (await client.send("apple-pay", body, JSON, query="?token=in-the-url-of-another")).status == 401
    assert (await client.send("apple-pay", body, JSON, query=f"?token={SECRETS['apple-pay'][0]}")).status == 202
    # that is for those who cannot do better
    assert (await client.send("vgs", body, JSON, query=f"?token={SECRETS['vgs'][0]}")).status == 401
    assert len(await on_topic(kafka, thin_topic)) == 1


async def test_who_is_not_the_vendor_is_told_nothing_and_nothing_is_kept(
    client: FeedClient, kafka: str, topic: str
) -> None:
    event = json.dumps(samples("stripe")[0]).encode()
    for answer in (
        await client.send("stripe", event, JSON),
        await client.post("stripe", event, secret="whsec_guessed"),
        await client.send("stripe", event, JSON | dict(vendors.stripe(SECRETS["stripe"][0], event, at=1).headers)),
        await client.send("stripe", event + b" ", JSON | dict(vendors.stripe(SECRETS["stripe"][0], event).headers)),
    ):
        assert (answer.status, answer.body["code"]) == (401, "NOT_AUTHENTICATED")
    # neither a feed that there is, but without a secret, nor one that there is not
    for feed in ("jpmorgan", "nacha", "no-such-feed", "%2e%2e"):
        assert (await client.send(feed, event, JSON)).status == 404
    assert await on_topic(kafka, topic) == []
    assert "no-such-feed" not in {sample.labels.get("feed") for sample in next(iter(feeds.REQUESTS.collect())).samples}


async def test_what_is_too_large_or_not_what_the_vendor_sends_is_not_read(
    client: FeedClient, kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.post("stripe", b"[" + b" " * body.LONGEST_BODY + b"]")).status == 413

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(1100):
            yield bytes(1000)

    assert (await client.send("stripe", dripping(), JSON)).status == 413
    for other in ("text/plain", "text/xml", "application/x-www-form-urlencoded", ""):
        assert (await client.send("stripe", b"{}", {"Content-Type": other})).status == 415
    assert (await client.send("stripe", b"{}", JSON | {"Content-Encoding": "gzip"})).status == 415
    async with client.session.get(f"{client.address}/v1/feeds/stripe") as answer:
        assert answer.status == 405
    monkeypatch.setattr(body, "_BODY_SECONDS", 0)
    assert (await client.send("stripe", dripping(), JSON)).status == 408
    assert await on_topic(kafka, topic) == []


@pytest.mark.parametrize("framed", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_who_breaks_off_is_no_error_of_ours(
    client: FeedClient, caplog: pytest.LogCaptureFixture, framed: str
) -> None:
    def broken_off() -> float:
        return counted("repoint_feed_requests_total", feed="stripe", status="400")

    async def once_more() -> bool:
        return broken_off() == before + 1

    before = broken_off()
    host, port = client.address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/feeds/stripe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framed}\r\n\r\n"
    writer.write(head.encode() + b"5\r\nhalf ")
    await writer.drain()
    async with client.session.get(f"{client.address}/v1/feeds/stripe") as answer:
        assert answer.status == 405  # by now it is being read
    writer.transport.abort()
    await until(once_more)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@asynccontextmanager
async def half_a_header(client: FeedClient) -> AsyncIterator[asyncio.StreamReader]:
    """Somebody who is connected and never says what for; gone at the end."""
    host, port = client.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/feeds/stripe HTTP/1.1\r\nHost: ")
    yield reader
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_who_never_ends_a_header_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_IDLE_SECONDS", 0.1)
    async with listening("127.0.0.1:1", "none") as client, asyncio.timeout(60), half_a_header(client) as reader:
        assert await reader.read() == b""


async def answers(client: FeedClient) -> bool:
    """Whether it does to somebody new."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{client.address}/v1/feeds/none") as answer:
                return answer.status == 404
        except aiohttp.ClientError:
            return False


async def test_who_comes_when_all_connections_are_taken_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is let in when there is room again."""
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 3)
    async with listening("127.0.0.1:1", "none") as client, half_a_header(client), half_a_header(client):
        await until(partial(answers, client))
        async with half_a_header(client):
            await until(partial(negated, partial(answers, client)))
            assert not await answers(client)
            async with asyncio.timeout(60), half_a_header(client) as reader:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        await until(partial(answers, client))


async def negated(asked: Callable[[], Awaitable[bool]]) -> bool:
    return not await asked()


async def test_where_nothing_can_be_used_it_says_what_was_wrong_and_keeps_it(
    client: FeedClient, kafka: str, topic: str
) -> None:
    unknown = samples("stripe")[0] | {"type": "payment_method.eaten"}
    posted = [
        (b"no JSON", {"body: expected JSON": 1}),
        (b"[" * 9000, {"body: expected JSON": 1}),
        (b"[]", {"body: expected a JSON object, or an array of them": 1}),
        (b"[1]", {"body: expected a JSON object, or an array of them": 1}),
        (json.dumps(unknown).encode(), {"type: expected a code of this feed": 1}),
        (json.dumps([unknown, unknown]).encode(), {"type: expected a code of this feed": 2}),
    ]
    for written, reasons in posted:
        answer = await client.post("stripe", written)
        assert answer.status == 422
        assert answer.body["reasons"] == reasons
        assert "eaten" not in json.dumps(answer.body)
    letters = await on_topic(kafka, topic)
    assert len(letters) == 7
    assert all({name for name, _ in one.headers} == {UNREADABLE_HEADER, FEED_HEADER} for one in letters)


async def test_a_packed_body_is_said_to_be_one_and_none_of_it_is_kept(
    client: FeedClient, kafka: str, topic: str
) -> None:
    answer = await client.post("vau", gzip.compress(json.dumps([{"oldCardholderAccountNumber": PAN}]).encode()))
    assert (answer.status, answer.body["detail"]) == (422, "body: expected it unpacked, not as gzip")
    [letter] = await on_topic(kafka, topic)
    assert letter.value == b""


async def test_where_a_record_was_looked_for_is_said_if_it_is_further_inside(client: FeedClient) -> None:
    answer = await client.post("vau", {"responses": [{"oldCardholderAccountNumber": PAN, "serviceIdentifier": "C"}]})
    said = "serviceIdentifier: required in the outermost object, which has not the names of a record of this feed"
    assert (answer.status, answer.body["reasons"]) == (422, {said: 1})


async def test_of_a_body_some_of_which_can_be_used_the_rest_is_set_aside(
    client: FeedClient, kafka: str, topic: str
) -> None:
    events = [event for one in samples("gocardless") for event in one.get("events", [one])][:3]
    before = records("gocardless")
    answer = await client.post("gocardless", {"events": [*events, events[0] | {"action": "unheard-of"}]})
    assert (answer.status, answer.body["accepted"], answer.body["refused"]) == (202, 3, 1)
    assert answer.body["reasons"] == {"action: expected a code of this feed": 1}
    found = await on_topic(kafka, topic)
    assert sorted(len(one.headers) for one in found) == [0, 0, 0, 2]
    accepted, refused = (now - former for now, former in zip(records("gocardless"), before, strict=True))
    assert (accepted, refused) == (3, 1)


def records(feed: str) -> list[float]:
    """How many were accepted, and refused."""
    return [counted("repoint_feed_records_total", feed=feed, outcome=outcome) for outcome in ("accepted", "refused")]


def summary(cards: list[Any], **more: str) -> Any:
    """Of NMI's, with these cards."""
    event = samples("nmi")[1]
    return event | {"event_body": event["event_body"] | {"vault_updates": cards} | more}


async def test_a_body_of_more_records_than_any_vendors_is_not_taken(client: FeedClient, kafka: str, topic: str) -> None:
    too_many = MOST_RECORDS + 1
    for feed, posted in (
        ("vgs", [{}] * too_many),
        ("nmi", summary([{}] * too_many)),
        ("nmi", [summary([{}] * 999)] * 6),
    ):
        answer = await client.post(feed, posted)
        assert (answer.status, answer.body["detail"]) == (413, "expected 5,000 records at most, or parts of records")
    assert await on_topic(kafka, topic) == []
    answer = await client.post("vgs", [{}] * MOST_RECORDS)
    assert (answer.status, sum(answer.body["reasons"].values())) == (422, MOST_RECORDS)


async def test_what_surrounds_the_parts_of_a_record_is_kept_once(client: FeedClient, kafka: str, topic: str) -> None:
    good = {"customer_vault_id": "1", "cc_number": "400000******0042", "cc_exp": "11/27"}
    around = "x " * 100_000
    answer = await client.post("nmi", summary([good, *[{}] * 60, good | {"customer_vault_id": "2"}], note=around))
    assert (answer.status, answer.body["accepted"], answer.body["refused"]) == (202, 2, 60)
    [letter] = [one for one in await on_topic(kafka, topic) if one.headers]
    reason = b"event_body.vault_updates.customer_vault_id: required (part 2 of 62, and 59 others)"
    assert dict(letter.headers)[UNREADABLE_HEADER] == reason
    assert json.loads(letter.value or b"")["event_body"]["vault_updates"][1:61] == [{}] * 60


async def test_of_a_record_one_part_of_which_is_refused_that_part_is_kept(
    client: FeedClient, kafka: str, topic: str
) -> None:
    await client.post("nmi", summary([{"customer_vault_id": "1"}, {"of": "nobody"}]))
    [letter] = [one for one in await on_topic(kafka, topic) if one.headers]
    assert dict(letter.headers)[UNREADABLE_HEADER] == b"event_body.vault_updates.customer_vault_id: required"
    assert json.loads(letter.value or b"")["event_body"]["vault_updates"] == [{"of": "nobody"}]


async def test_others_have_their_turn_while_a_long_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen at the shortest of turns: each part is one."""
    monkeypatch.setattr(giving_way, "_SLICE_SECONDS", 0)
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(another())
    vgs, taken = FEEDS["vgs"], feeds._BodyResult()
    await feeds._adapt(
        vgs, feeds._split(vgs, [PostedRow(b"", {})] * 100), Edge(datetime(2026, 11, 20, tzinfo=UTC)), taken
    )
    beside.cancel()
    assert (len(taken.messages), taken.refused.total()) == (100, 100)
    assert turns >= 100


async def test_while_the_broker_is_away_vendors_are_asked_to_come_again_and_nothing_is_lost() -> None:
    async with broker_on_a_leash() as (proxy, servers), listening(servers, "updates", patience=2) as client:
        event = samples("stripe")[0]
        answer = await client.post("stripe", event)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        proxy.pass_on()
        await make_updates_topic(servers, "updates")
        assert (await client.post("stripe", event)).status == 202
        proxy.refuse()
        another = samples("stripe")[1]
        assert (await client.post("stripe", another)).status == 503
        proxy.pass_on()
        while (answer := await client.post("stripe", another)).status == 503:
            assert answer.headers["Retry-After"]
        assert answer.status == 202
        ids = [json.loads(one.value or b"")["id"] for one in await on_topic(servers, "updates")]
        assert set(ids) == {event["id"], another["id"]}
        # the broker has it and cannot say so: that is no acknowledgement either
        proxy.mute()
        third = samples("stripe")[2]
        assert (await client.post("stripe", third)).status == 503


CANARIES = [
    PAN,
    " ".join(PAN[at : at + 4] for at in range(0, 16, 4)),
    "-".join(PAN[at : at + 4] for at in range(0, 16, 4)),
    f"https://vendor.example/cards/{PAN}?pan={PAN}",
    b64encode(PAN.encode()).decode(),
    json.dumps({"inner": json.dumps({"pan": PAN})}),
]
FORBIDDEN = [*CANARIES[:3], b64encode(PAN.encode()).decode().rstrip("=")]


def planted(feed: str, canary: str) -> Iterator[object]:
    """A sample of the feed with the canary in every place there is, one at a time."""
    sample = samples(feed)[0]
    yield from ({**sample, place: canary} for place in ("note", canary))
    for path in paths(sample):
        changed = copy.deepcopy(sample)
        inside = changed
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = canary
        yield [changed, sample]


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (step,)
        if isinstance(inner, dict | list):
            yield from ((step, *path) for path in paths(inner))


@pytest.mark.parametrize("feed", ["stripe", "adyen", "gocardless", "vgs", "visa-tms", "worldpay"])
async def test_no_card_number_gets_through_to_topics_logs_or_answers(
    kafka: str, topic: str, thin_topic: str, capfd: pytest.CaptureFixture[str], feed: str
) -> None:
    seen = ""
    async with listening(kafka, topic, thin_topic) as client:
        for canary in CANARIES:
            for posted in (f"no JSON, but {canary}".encode(), *planted(feed, canary)):
                answer = await client.post(feed, posted)
                assert answer.status in {202, 422}
                seen += json.dumps(answer.body)
    for one in [*await on_topic(kafka, topic), *await on_topic(kafka, thin_topic)]:
        seen += (one.value or b"").decode() + (one.key or b"").decode()
        seen += "".join(f"{name}{(value or b'').decode()}" for name, value in one.headers)
    captured = capfd.readouterr()
    seen += captured.out + captured.err
    assert [shown for shown in FORBIDDEN if shown in seen] == []


async def test_a_number_in_what_braintree_encodes_is_hidden_too(
    kafka: str, topic: str, thin_topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = ""
    async with listening(kafka, topic, thin_topic) as client:
        for canary in CANARIES:
            said = escape(canary)
            for place in ("kind", "timestamp", "report_date", "report_url", "note"):
                for kind in ("account_updater_daily_report", "check", "disbursement"):
                    xml = report(**{"kind": kind, place: said})
                    signed = vendors.braintree(SECRETS["braintree"][0], xml)
                    answer = await client.send("braintree", signed.body, FORM)
                    assert answer.status in {202, 422}
                    seen += json.dumps(answer.body)
    letters = await on_topic(kafka, topic)
    assert len(letters) > len(CANARIES)
    for one in [*letters, *await on_topic(kafka, thin_topic)]:
        seen += (one.value or b"").decode() + f"{one.headers}"
    captured = capfd.readouterr()
    assert not canaries.is_in(seen.replace("\\n", "") + captured.out + captured.err)
