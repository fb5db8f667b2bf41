"""What is kept of answers that did not accept a webhook, and what of such answers is never kept."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from producers.egress import parse_networks
from producers.webhooks.connections import MOST_OF_AN_EXCERPT, header_names
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.evidence import MOST_OF_A_BODY, Evidence, ReadingBudget, evidence
from producers.webhooks.sender import FailingAnswer, Sender
from schemas.signature import secret
from store import delivery_answers
from tests.parts.receiver import Answer, Receiver
from tests.producers import raw
from tests.store.outbox import Outbox

CARD = "4111111111111111"
SECRET = secret(bytes(range(32)))
ID = "evt_019a3f0b5a7e7c11b0a4c6fe2f7b9d41"
SIGNATURE = "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
HEADERS = {"webhook-id": ID, "webhook-timestamp": "1763716454", "webhook-signature": f"v1,{SIGNATURE} v1,c2Vjb25k=="}
BODY = json.dumps(
    {
        "id": ID,
        "name": "PAYMENT_METHOD_REPLACED",
        "reason": "LOST_OR_STOLEN",
        "payload": {
            "paymentMethod": {"card": {"last4": "5678", "nameOnCard": "John Doe", "status": "ACTIVE"}},
            "customer": {"hsid": "h-0001-x", "metadata": {"town": "Größenau", "status": "WIDOWED"}},
        },
    },
    ensure_ascii=False,
).encode()


def kept(excerpt: bytes, names: Sequence[str] = ("date", "server")) -> Evidence | None:
    return evidence(FailingAnswer(names, excerpt), sent=HEADERS, body=BODY, secrets=[SECRET])


def text_kept(excerpt: bytes) -> str:
    found = kept(excerpt)
    assert found is not None
    return found.body


def test_an_answer_is_kept_as_text() -> None:
    assert kept(b'{"error": "no handler for PAYMENT_METHOD_REPLACED, ACTIVE"}') == Evidence(
        ["date", "server"], '{"error": "no handler for PAYMENT_METHOD_REPLACED, ACTIVE"}'
    )
    assert kept(b"", ()) == Evidence([], "")
    assert text_kept("Größe".encode()) == "Größe"
    assert text_kept("Größe".encode("latin-1")) == "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e"
    assert text_kept(b"a\0b") == "a\N{REPLACEMENT CHARACTER}b"


def test_card_numbers_and_secrets_are_masked() -> None:
    assert text_kept(b"card 4111 1111 1111 1111 refused") == "card **** **** **** **** refused"
    assert text_kept(b"Authorization: Bearer abcdefghijkl") == "Authorization: Bearer ***"
    assert text_kept(b"postgres://shop:hunter2@db/x") == "postgres://shop:***@db/x"
    assert kept(b"", [f"x-{CARD}"]) == Evidence(["x-" + "*" * 16], "")


@pytest.mark.parametrize(("repeated", "is_kept"), [("zqxwvk", False), ("zqxwv", True)])
def test_six_characters_name_something_and_five_do_not(repeated: str, *, is_kept: bool) -> None:
    answer = FailingAnswer(["date"], f"unknown: {repeated}".encode())
    for own, body in (({"x-shop": repeated}, b"{}"), ({}, json.dumps({"note": repeated}).encode())):
        assert (evidence(answer, sent=own, body=body, secrets=[SECRET]) is not None) == is_kept


@pytest.mark.parametrize("before", range(MOST_OF_A_BODY - 20, MOST_OF_A_BODY + 2))
def test_a_card_number_at_the_cut_is_masked(before: int) -> None:
    text = text_kept(b" " * before + CARD.encode() + b" " * 600)
    assert len(text) == MOST_OF_A_BODY
    assert not any(character.isdigit() for character in text)


@pytest.mark.parametrize("digits", range(1, len(CARD) + 1))
def test_a_card_number_at_the_end_of_the_excerpt_comes_no_nearer_where_masking_shortens(digits: int) -> None:
    before = b"Bearer " + b"a" * (MOST_OF_AN_EXCERPT - 8 - digits) + b" "
    text = text_kept((before + CARD.encode())[:MOST_OF_AN_EXCERPT])
    assert not any(character.isdigit() for character in text)


def test_the_cut_is_between_characters() -> None:
    whole = "ä" * 2000
    assert text_kept(whole.encode()[:MOST_OF_AN_EXCERPT]) == "ä" * (MOST_OF_A_BODY // 2)
    assert text_kept(b"x" + whole.encode()[: MOST_OF_AN_EXCERPT - 1]) == "x" + "ä" * (MOST_OF_A_BODY // 2 - 1)


@pytest.mark.parametrize(
    "repeated",
    [
        BODY,
        BODY.decode().encode("ascii", "backslashreplace"),
        json.dumps(BODY.decode()).encode(),
        b"<pre>" + BODY.replace(b'"', b"&quot;") + b"</pre>",
        quote(BODY).encode(),
        base64.b64encode(BODY),
        base64.urlsafe_b64encode(BODY),
        base64.encodebytes(BODY),
        b'{"data":"x' + base64.b64encode(BODY).replace(b"/", b"\\/"),
        BODY.hex().encode(),
        b"x" * (MOST_OF_A_BODY - 1) + BODY,
        b"no customer h-0001-x",
        b"Hello JOHN DOE",
        "Größenau".encode(),
        rb"Gr\u00f6\u00dfenau",
        b"is WIDOWED",
        ID.encode(),
        SIGNATURE.encode(),
        b"c2Vjb25k==",
        SECRET.encode(),
        SECRET.removeprefix("whsec_").encode(),
        secret(b"o" * 32).encode(),
        b"whsk_AAAA",
    ],
)
def test_an_answer_that_repeats_something_of_the_request_is_dropped_whole(repeated: bytes) -> None:
    assert kept(repeated[:MOST_OF_AN_EXCERPT]) is None


def test_a_header_name_that_repeats_something_drops_the_answer() -> None:
    assert kept(b"sorry", [f"x-{ID}"]) is None


@given(st.binary(max_size=MOST_OF_AN_EXCERPT))
def test_any_bytes_are_kept_as_a_text_that_the_database_takes(excerpt: bytes) -> None:
    if (found := kept(excerpt)) is not None:
        assert "\0" not in found.body
        assert len(found.body.encode()) <= MOST_OF_A_BODY


def test_names_are_those_of_the_last_head_and_bounded() -> None:
    early = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    assert header_names(early + b"HTTP/1.1 500 No\r\nDate: x\nX-Y : z\r\n folded: no\r\n\r\nbody: 1\r\n") == [
        "date",
        "x-y",
    ]
    many = header_names(b"HTTP/1.1 500 No\r\n" + b"".join(b"X%d%b: 1\r\n" % (n, b"y" * 200) for n in range(80)))
    assert (len(many), max(map(len, many))) == (50, 100)
    assert header_names(b"nonsense") == []


def test_evidence_may_take_a_quarter_of_a_second_at_once_and_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("producers.webhooks.evidence.time.monotonic", lambda: now)
    budget = ReadingBudget()
    budget.spend(0.2)
    assert budget.is_left()
    budget.spend(0.25)
    assert not budget.is_left()
    now += 1.9
    assert not budget.is_left()
    now += 0.2
    assert budget.is_left()
    now += 1000
    assert budget.is_left()
    budget.spend(0.25)
    assert not budget.is_left(), "all of it is spent"
    now += 1000
    assert budget.is_left()
    budget.spend(0.26)
    assert not budget.is_left()


# --- through the dispatcher ---------------------------------------------------------------------------------------


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1", deadline=1, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield sender


async def attempts_of(outbox: Outbox) -> list[delivery_answers.Answer | None]:
    """What is kept of each attempt at the only delivery."""
    ((delivery_id,),) = await outbox.execute("SELECT delivery_id FROM attempts UNION SELECT id FROM delivery_history")
    async with outbox.engine.connect() as connection:
        delivery = await delivery_answers.find(connection, delivery_id)
    assert delivery is not None
    answers: list[delivery_answers.Answer | None] = []
    for attempt in delivery.attempts:
        assert isinstance(attempt, delivery_answers.AnsweredAttempt)
        answers.append(attempt.answer)
    return answers


async def test_of_each_failing_answer_something_is_kept_and_nothing_of_an_accepted_one(
    engine: AsyncEngine, sender: Sender, receiver: Receiver
) -> None:
    outbox = Outbox(engine)
    receiver.answer(
        "/m",
        Answer(500, {"X-Shop": "7"}, b"out of order: " + CARD.encode()),
        Answer(302, {"Location": "/x"}),
        Answer(cut="silently"),
        Answer(200, {"X-Shop": "7"}, b"thanks"),
    )
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    dispatcher = Dispatcher(engine, sender)
    for _ in range(4):
        assert await dispatcher.run_once() == 1
        await outbox.make_due()
    first, second, *others = await attempts_of(outbox)
    assert first is not None
    assert second is not None
    assert first.body == "out of order: " + "*" * 16
    assert "x-shop" in first.header_names
    assert "location" in second.header_names
    assert others == [None, None]
    assert await outbox.history() == [(1, "DELIVERED", 4)]


async def test_an_answer_that_echoes_the_webhook_leaves_nothing_in_any_table(
    engine: AsyncEngine, sender: Sender
) -> None:
    outbox = Outbox(engine)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\n\r\n" + await reader.read(4096))
        await writer.drain()

    async with raw.server(echo) as url:
        await outbox.add_endpoint("m", url)
        await outbox.tell("m", await outbox.add_wallet())
        assert await Dispatcher(engine, sender).run_once() == 1
    assert await outbox.attempts() == [(1, "status_refused", 500)]
    assert await outbox.execute("SELECT * FROM attempt_evidence") == []


async def test_a_body_that_is_broken_off_by_the_deadline_is_kept_as_far_as_it_came(
    engine: AsyncEngine, sender: Sender
) -> None:
    outbox = Outbox(engine)
    head = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def stalls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"5\r\nfirst\r\n6\r\n secon")
        await writer.drain()
        await asyncio.Event().wait()

    async with raw.server(stalls) as url:
        await outbox.add_endpoint("m", url)
        await outbox.tell("m", await outbox.add_wallet())
        assert await Dispatcher(engine, sender).run_once() == 1
    assert await attempts_of(outbox) == [delivery_answers.Answer(("transfer-encoding",), "first secon")]


async def test_an_endless_body_costs_no_more_than_its_excerpt(sender: Sender) -> None:
    head = b"HTTP/1.1 500 No\r\n\r\n"
    async with raw.server(raw.repeats(head, b"x" * 1000)) as url:
        answer = await sender.post(url, {"webhook-id": "evt_1"}, b"{}", endpoint="m")
    assert answer.failing == FailingAnswer([], b"x" * MOST_OF_AN_EXCERPT)
    assert answer.seconds < sender.deadline


async def test_the_answer_before_leaves_nothing_on_a_connection_that_is_kept(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(500, {"X-Old": "1"}, b"old"), Answer(404, {}, b""))
    first, second = [await sender.post(receiver.url("/m"), {}, b"{}", endpoint="m") for _ in range(2)]
    assert first.failing is not None
    assert second.failing is not None
    assert (first.failing.excerpt, second.failing.excerpt) == (b"old", b"")
    assert "x-old" not in second.failing.header_names


async def test_a_late_result_keeps_no_evidence(engine: AsyncEngine, sender: Sender, receiver: Receiver) -> None:
    outbox = Outbox(engine)
    receiver.answer("/m", Answer(500, {}, b"no", delay=0.3))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    attempting = asyncio.create_task(Dispatcher(engine, sender).run_once())
    await receiver.arrived(1)
    await outbox.execute("UPDATE deliveries SET attempt = attempt + 1")
    await attempting
    assert await outbox.attempts() == []
    assert await outbox.execute("SELECT * FROM attempt_evidence") == []
