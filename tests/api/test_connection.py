"""Who sends what cannot be read is told what was expected, and none of it is repeated: a secret may be in any line."""

import asyncio
import io
import json
import logging
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from aiohttp import web

from api.feeds import FeedIntake
from api.listener import Listener
from ops import edge, logs, telemetry
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.intake import TopicMessage
from tests.api import test_authentication as vendors

SECRET = "s3cret-of-the-vendor-0123"
HEAD = "Host: x\r\nContent-Type: application/json\r\n"
BEARER = f"Authorization: Bearer {SECRET}\r\n"
POST = "POST /v1/feeds/vgs"
URL = f"/v1/feeds/apple-pay?token={SECRET}"
TWO = "Content-Length: 2\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


def request(line: str, headers: str, body: str = "{}") -> bytes:
    return f"{line}\r\n{headers}\r\n{body}".encode("latin-1")


MALFORMED = {
    "a blank before the colon": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization : Bearer {SECRET}\r\n{TWO}"),
    "a tab in a name": request(f"{POST} HTTP/1.1", f"{HEAD}Authori\tzation: Bearer {SECRET}\r\n{TWO}"),
    "NUL in a value": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Bearer {SECRET}\0\r\n{TWO}"),
    "CR in a value": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Bearer\r{SECRET}\r\n{TWO}"),
    "a control in a value": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Bearer {SECRET}\x01\r\n{TWO}"),
    "a folded header": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Bearer\r\n {SECRET}\r\n{TWO}"),
    "no colon": request(f"{POST} HTTP/1.1", f"{HEAD}Bearer {SECRET}\r\n{TWO}"),
    "no name": request(f"{POST} HTTP/1.1", f"{HEAD}: Bearer {SECRET}\r\n{TWO}"),
    "LF alone": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}{TWO}").replace(b"\r", b""),
    "another version": request(f"POST {URL} HTTP/9.9", HEAD + BEARER),
    "no version": request(f"POST {URL}", HEAD + BEARER),
    "the version in small letters": request(f"POST {URL} http/1.1", HEAD + BEARER),
    "two blanks": request(f"POST  {URL} HTTP/1.1", HEAD + BEARER),
    "a blank in the URL": request(f"POST {URL} x HTTP/1.1", HEAD + BEARER),
    "a blank before the token": request(f"POST /v1/feeds/apple-pay?token= {SECRET} HTTP/1.1", HEAD + BEARER),
    "a letter beyond ASCII in the URL": request(f"POST {URL}\xff HTTP/1.1", HEAD + BEARER),
    "a control in the URL": request(f"POST {URL}\x01 HTTP/1.1", HEAD + BEARER),
    "NUL in the URL": request(f"POST {URL}\0 HTTP/1.1", HEAD + BEARER),
    "a method that is none": request(f"P@ST {URL} HTTP/1.1", HEAD + BEARER),
    "the method in small letters": request(f"post {URL} HTTP/1.1", HEAD + BEARER),
    "a long method": request(f"{'X' * 300} {URL} HTTP/1.1", HEAD + BEARER),
    "half an IPv6 address": request(f"POST http://[::1{URL} HTTP/1.1", HEAD + BEARER),
    "a port that is none": request(f"POST http://x:99999{URL} HTTP/1.1", HEAD + BEARER),
    "a user in the URL": request(f"POST http://u:{SECRET}@x:port{URL} HTTP/1.1", HEAD + BEARER),
    "a tunnel": request(f"CONNECT {SECRET}:99999999 HTTP/1.1", HEAD + BEARER),
    "a star": request(f"POST *?token={SECRET} HTTP/1.1", HEAD + BEARER),
    "no slash": request(f"POST v1/feeds?token={SECRET} HTTP/1.1", HEAD + BEARER),
    "two slashes": request(f"POST //[::{URL} HTTP/1.1", HEAD + BEARER),
    "a length in words": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Content-Length: two\r\n"),
    "a length below zero": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Content-Length: -2\r\n"),
    "two lengths": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}{TWO}Content-Length: 3\r\n"),
    "a length of forty digits": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Content-Length: {'9' * 40}\r\n"),
    "a length that is the secret": request(f"{POST} HTTP/1.1", f"{HEAD}Content-Length: {SECRET}\r\n"),
    "an encoding that is the secret": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Transfer-Encoding: {SECRET}\r\n"),
    "framed twice": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}{CHUNKED}{TWO}"),
    "a chunk's size that is none": request(f"{POST} HTTP/1.1", HEAD + BEARER + CHUNKED, f"zz\r\n{SECRET}\r\n0\r\n\r\n"),
    "NUL after a chunk's size": request(
        f"{POST} HTTP/1.1", HEAD + BEARER + CHUNKED, f"2;{SECRET}\0\r\n{{}}\r\n0\r\n\r\n"
    ),
    "a chunk without an end": request(f"{POST} HTTP/1.1", HEAD + BEARER + CHUNKED, f"2\r\n{{}}{SECRET}"),
    "a trailer that is none": request(
        f"{POST} HTTP/1.1", HEAD + BEARER + CHUNKED, f"2\r\n{{}}\r\n0\r\nX : Bearer {SECRET}\r\n\r\n"
    ),
    "a long header": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Bearer {SECRET * 400}\r\n"),
    "a long line": request(f"POST {URL}{'x' * 9000} HTTP/1.1", HEAD + BEARER),
    "many headers": request(f"{POST} HTTP/1.1", HEAD + BEARER + "".join(f"X-{n}: {SECRET}\r\n" for n in range(200))),
    "another expectation": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Expect: {SECRET}\r\n{TWO}"),
    "an expectation in bytes": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Expect: \xff{SECRET}\r\n{TWO}"),
    "another expectation of no route": request(
        f"POST /nowhere?token={SECRET} HTTP/1.1", f"{HEAD}{BEARER}Expect: {SECRET}\r\n{TWO}"
    ),
    "an upgrade": request(
        f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Connection: upgrade\r\nUpgrade: websocket\r\n{TWO}", "{}" + SECRET * 3
    ),
    "HTTP/2": f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SECRET}".encode(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET.encode() * 10,
    "more than was announced": request(f"{POST} HTTP/1.1", HEAD + BEARER + TWO, f"{{}}junk {SECRET}\r\n\r\n"),
    "a type's parameter": request(
        f"{POST} HTTP/1.1", f'Host: x\r\nContent-Type: application/json; {SECRET}="\r\n{BEARER}{TWO}'
    ),
    "a type in bytes": request(f"{POST} HTTP/1.1", f"Host: x\r\nContent-Type: \xff{SECRET}\r\n{BEARER}{TWO}"),
    "a type that is the secret": request(f"{POST} HTTP/1.1", f"Host: x\r\nContent-Type: {SECRET}/x\r\n{BEARER}{TWO}"),
    "a charset that is the secret": request(
        f"{POST} HTTP/1.1", f"Host: x\r\nContent-Type: text/csv; charset={SECRET}\r\n{BEARER}{TWO}"
    ),
    "no such route": request(f"POST /v1/feeds/apple-pay/x?token={SECRET} HTTP/1.1", HEAD + BEARER + TWO),
    "a feed that is the secret": request(f"POST /v1/feeds/{SECRET} HTTP/1.1", HEAD + BEARER + TWO),
    "another method": request(f"PUT {URL} HTTP/1.1", HEAD + BEARER + TWO),
    "a body that is the secret": request(
        f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Content-Length: {len(SECRET)}\r\n", SECRET
    ),
    "packed as the secret": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Content-Encoding: {SECRET}\r\n{TWO}"),
    "half a host": request(f"{POST} HTTP/1.1", f"Host: [{SECRET}\r\nContent-Type: application/json\r\n{BEARER}{TWO}"),
    "a cookie": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Cookie: {SECRET}=\x7f;;;\r\n{TWO}"),
    "a range": request(f"{POST} HTTP/1.1", f"{HEAD}{BEARER}Range: bytes={SECRET}\r\n{TWO}"),
    "many fields": request(f"POST {URL}&{'a&' * 3000} HTTP/1.1", HEAD + TWO),
    "no UTF-8 in the query": request(f"POST {URL}%ff%fe HTTP/1.1", HEAD + TWO),
    "half a character in the query": request(f"POST {URL}%ed%a0%80 HTTP/1.1", HEAD + TWO),
    "escapes that are none": request(f"POST {URL}%zz%f HTTP/1.1", HEAD + TWO),
    "somebody else's credentials": request(f"{POST} HTTP/1.1", f"{HEAD}Authorization: Digest {SECRET}\r\n{TWO}"),
}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, libraries' own lines at DEBUG too; the process logs as before afterwards."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    stream = io.StringIO()
    logs.configure(form="json", level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)


async def acknowledged(_messages: Sequence[TopicMessage]) -> bool:
    return True


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    intake = FeedIntake(
        FEEDS,
        {"vgs": [SECRET], "apple-pay": [SECRET], "stripe": ["whsec_of_another_vendor"]},
        edge=lambda: Edge(datetime(2026, 11, 20, tzinfo=UTC)),
        send=acknowledged,
        rows=edge.rows,
    )
    async with Listener(intake, "127.0.0.1", 0, drain_within=1) as listener:
        yield listener.port


@dataclass(frozen=True)
class Answer:
    """As it came over the wire: the status, the headers in small letters, and the body."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: str


async def exchange(port: int, *pieces: bytes) -> Answer:
    """What is answered to `pieces`, each sent when the one before it has left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        named = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
        headers = {name.lower(): value for name, _, value in named if name}
        body = await reader.readexactly(int(headers["content-length"]))
        status = int(head.split()[1])
        parsed = json.loads(body) if "json" in headers["content-type"] else body
        return Answer(status, headers, parsed, (head + body).decode("latin-1"))
    finally:
        writer.close()


@pytest.mark.parametrize("at", [0, 90], ids=["in one piece", "in two"])
async def test_no_secret_of_a_request_that_cannot_be_read_gets_into_an_answer_or_the_log(
    logged: io.StringIO, at: int
) -> None:
    assert len(MALFORMED) >= 34
    async with listening() as port, asyncio.timeout(60):
        for name, raw in MALFORMED.items():
            answer = await exchange(port, *filter(None, (raw[:at], raw[at:])))
            assert SECRET[:12] not in answer.raw, name
            assert SECRET[:12] not in logged.getvalue(), name
            assert "aiohttp" not in answer.raw, name
            assert answer.headers["server"] == "repoint", name
            assert answer.headers["x-request-id"], name
            if answer.status >= 400:
                assert answer.headers["content-type"].startswith("application/problem+json"), name
                assert answer.body["status"] == answer.status, name
                assert answer.body["requestId"] == answer.headers["x-request-id"], name
    assert not re.search(r'"level": "(error|critical)"', logged.getvalue())


async def test_nor_does_what_is_served_beside_it(logged: io.StringIO) -> None:
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes={}) as port, asyncio.timeout(60):
        for name, raw in MALFORMED.items():
            answer = await exchange(port, raw)
            assert SECRET[:12] not in answer.raw, name
            assert SECRET[:12] not in logged.getvalue(), name
        unknown = await exchange(port, b"GET /secrets HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (unknown.status, unknown.body["code"], unknown.headers["server"]) == (404, "NOT_FOUND", "repoint")


async def test_no_bytes_make_an_error_of_ours_or_repeat_a_secret(logged: io.StringIO) -> None:
    chance = random.Random(20261120)
    whole = list(MALFORMED.values())
    async with listening() as port, asyncio.timeout(120):
        for _ in range(400):
            raw = bytearray(chance.choice(whole))
            for _ in range(chance.randint(1, 6)):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes(raw))
            writer.write_eof()
            # a changed letter may be in the secret: what is left of it is looked for
            assert SECRET[:12] not in (await reader.read()).decode("latin-1")
            writer.close()
    assert SECRET[:12] not in logged.getvalue()
    assert not re.search(r'"level": "(error|critical)"', logged.getvalue())


async def test_a_defect_of_ours_is_logged_by_its_kind_and_place_alone(
    logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_self: FeedIntake, request: web.Request) -> web.Response:
        raise KeyError(request.headers["Authorization"])

    monkeypatch.setattr(FeedIntake, "post", broken)
    async with listening() as port:
        answer = await exchange(port, request(f"{POST} HTTP/1.1", HEAD + BEARER + TWO))
    assert (answer.status, answer.body["code"]) == (500, "SYSTEM_ERROR")
    assert answer.headers["connection"] == "close"
    [line] = [json.loads(line) for line in logged.getvalue().splitlines() if '"error"' in line and "broken" in line]
    assert (line["event"], line["error"], line["request_id"]) == (
        "request failed",
        "KeyError",
        answer.body["requestId"],
    )
    assert SECRET not in logged.getvalue() + answer.raw


async def test_every_answer_and_log_line_of_a_request_has_its_id(logged: io.StringIO) -> None:
    own = "order-7f3a.2026_11"
    async with listening() as port:
        for given, kept in (
            (own, True),
            ("", False),
            ("seven-7", False),
            ("eight-88", True),
            ("x" * 64, True),
            ("x" * 65, False),
            ("two words", False),
            ("<script>alert(1)", False),
            ("4539578763621486", False),
        ):
            named = f"{HEAD}{BEARER}X-Request-Id: {given}\r\n{TWO}"
            for line in (f"{POST} HTTP/1.1", "POST /nowhere HTTP/1.1", "GET /v1/feeds/vgs HTTP/1.1"):
                logged.truncate(0)
                answer = await exchange(port, request(line, named))
                id_ = answer.headers["x-request-id"]
                assert (id_ == given) is kept
                assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", id_)
                assert answer.body["requestId"] == id_
                lines = [json.loads(each) for each in logged.getvalue().replace("\0", "").splitlines()]
                assert {each.get("request_id") for each in lines if each["logger"].startswith("api.")} == {id_}


async def test_who_is_not_proved_is_told_how_it_is_done() -> None:
    async with listening() as port:
        bearer = await exchange(port, request(f"{POST} HTTP/1.1", HEAD + TWO))
        assert (bearer.status, bearer.body["code"]) == (401, "NOT_AUTHENTICATED")
        assert bearer.headers["www-authenticate"] == 'Bearer realm="vgs", Basic realm="vgs"'
        assert bearer.body["detail"].startswith("expected the header Authorization: Bearer, or Basic")
        signed = await exchange(port, request("POST /v1/feeds/stripe HTTP/1.1", HEAD + TWO))
        assert signed.headers["www-authenticate"] == 'HMAC-SHA256 realm="stripe", header="Stripe-Signature"'
        assert signed.body["detail"] == (
            "expected the header Stripe-Signature: HMAC-SHA256 of `t` of the header, a dot and the body,"
            " as t=…,v1=…, not older than 5 minutes; the request has no such header"
        )
        stale = "".join(
            f"{n}: {v}\r\n" for n, v in vendors.stripe("whsec_of_another_vendor", b"{}", at=1).headers.items()
        )
        late = await exchange(port, request("POST /v1/feeds/stripe HTTP/1.1", HEAD + stale + TWO))
        assert (late.status, "no such header" in late.body["detail"]) == (401, False)


async def test_what_is_no_route_or_no_method_of_one_is_a_problem_like_any_other() -> None:
    async with listening() as port:
        for line, status, code in (
            ("GET / HTTP/1.1", 404, "NOT_FOUND"),
            ("GET /favicon.ico HTTP/1.1", 404, "NOT_FOUND"),
            ("POST /v1/feeds HTTP/1.1", 404, "NOT_FOUND"),
            ("POST /v1/feeds/nacha HTTP/1.1", 404, "NOT_FOUND"),
            ("GET /v1/feeds/vgs HTTP/1.1", 405, "METHOD_NOT_ALLOWED"),
        ):
            answer = await exchange(port, request(line, HEAD + TWO))
            assert (answer.status, answer.body["status"], answer.body["code"]) == (status, status, code)
            assert answer.body.keys() == {"type", "title", "status", "detail", "code", "requestId"}
            assert answer.headers.get("allow") == ("POST" if status == 405 else None)


async def test_every_request_that_is_under_way_at_the_stop_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that takes longer than another."""
    acknowledging: list[asyncio.Future[bool]] = []
    both = asyncio.Event()

    async def send(_messages: Sequence[TopicMessage]) -> bool:
        acknowledging.append(asyncio.get_running_loop().create_future())
        if len(acknowledging) == 2:
            both.set()
        return await acknowledging[-1]

    intake = FeedIntake(
        FEEDS, {"vgs": [SECRET]}, edge=lambda: Edge(datetime(2026, 11, 20, tzinfo=UTC)), send=send, rows=edge.rows
    )
    stopping = asyncio.Event()
    async with asyncio.timeout(30), Listener(intake, "127.0.0.1", 0, drain_within=30) as listener:
        monkeypatch.setattr(listener._runner, "_shutdown_timeout", 0.01)
        serving = asyncio.create_task(listener.run(stopping))
        posted = request(f"{POST} HTTP/1.1", HEAD + BEARER + TWO)
        posts = [asyncio.create_task(exchange(listener.port, posted)) for _ in range(2)]
        await both.wait()
        stopping.set()
        acknowledging[0].set_result(True)
        [first], _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((serving,), timeout=0.2)
        acknowledging[1].set_result(True)
        answers = [await post for post in posts]
        assert first.result() in answers
        await serving
    # `{}` is no update: kept as a dead letter
    assert [answer.status for answer in answers] == [422, 422]
    assert [answer.headers["connection"] for answer in answers] == ["close", "close"]


async def test_a_request_that_takes_longer_than_the_drain_is_broken_off() -> None:
    asked, stopping = asyncio.Event(), asyncio.Event()

    async def send(_messages: Sequence[TopicMessage]) -> bool:
        asked.set()
        return await asyncio.Event().wait()

    intake = FeedIntake(
        FEEDS, {"vgs": [SECRET]}, edge=lambda: Edge(datetime(2026, 11, 20, tzinfo=UTC)), send=send, rows=edge.rows
    )
    async with asyncio.timeout(60), Listener(intake, "127.0.0.1", 0, drain_within=0.1) as listener:
        serving = asyncio.create_task(listener.run(stopping))
        posting = asyncio.create_task(exchange(listener.port, request(f"{POST} HTTP/1.1", HEAD + BEARER + TWO)))
        await asked.wait()
        stopping.set()
        await serving
        await asyncio.wait((posting,))
    assert isinstance(posting.exception(), asyncio.IncompleteReadError | ConnectionError)
