"""Whatever an endpoint does, an attempt ends within its deadline, in bounded memory, and has a name."""

import asyncio
import resource
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.delivery import Outcome
from producers.connections import MOST_OF_A_BODY
from producers.egress import networks
from producers.sender import Answer, Sender
from tests.parts.receiver import Answer as Told
from tests.parts.receiver import Receiver, gzip_bomb, redirect, unavailable
from tests.producers import raw

LOOPBACK = networks(["127.0.0.0/8", "::1/128"])
DEADLINE = 1.0
# What a shared machine may add to a deadline.
PATIENCE = 5.0


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1.2.3", deadline=DEADLINE, allow=LOOPBACK) as sender:
        yield sender


async def post(sender: Sender, url: str) -> Answer:
    begun = time.monotonic()
    answer = await sender.post(url, {"webhook-id": "evt_1"}, b'{"a": 1}')
    assert time.monotonic() - begun < DEADLINE + PATIENCE
    return answer


async def test_a_post_carries_the_bytes_and_nothing_that_was_not_asked_for(sender: Sender, receiver: Receiver) -> None:
    answer = await post(sender, receiver.url("/hooks"))
    assert (answer.outcome, answer.status_code, answer.retry_after) == (Outcome.ACCEPTED, 200, None)
    (request,) = receiver.requests
    assert (request.method, request.body) == ("POST", b'{"a": 1}')
    assert request.headers["user-agent"] == "Repoint/1.2.3"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (Told(204), Outcome.ACCEPTED),
        (Told(202, body=b"thanks"), Outcome.ACCEPTED),
        (Told(400), Outcome.STATUS_REFUSED),
        (Told(404), Outcome.STATUS_REFUSED),
        (Told(410), Outcome.GONE),
        (Told(429), Outcome.TOO_MANY_REQUESTS),
        (Told(500), Outcome.STATUS_REFUSED),
        (unavailable(), Outcome.UNAVAILABLE),
        (redirect("/elsewhere"), Outcome.REDIRECT_REFUSED),
        (redirect("/elsewhere", 308), Outcome.REDIRECT_REFUSED),
        (Told(cut="silently"), Outcome.CONNECTION_CLOSED),
        (Told(cut="mid-status"), Outcome.CONNECTION_CLOSED),
        (Told(delay=60), Outcome.RESPONSE_TIMEOUT),
    ],
)
async def test_what_is_answered_has_a_name(sender: Sender, receiver: Receiver, told: Told, outcome: Outcome) -> None:
    receiver.answer("/hooks", told)
    assert (await post(sender, receiver.url("/hooks"))).outcome is outcome
    assert len(receiver.requests) == 1, "nothing is followed, nothing is tried again"


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 0, 3600),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), -7200, -3600),
        ("9" * 400, 10**8, 10**9),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(
    sender: Sender, receiver: Receiver, asked: str, least: int, most: int
) -> None:
    receiver.answer("/hooks", unavailable(asked))
    after = (await post(sender, receiver.url("/hooks"))).retry_after
    assert after is not None
    assert timedelta(seconds=least) <= after <= timedelta(seconds=most)


@pytest.mark.parametrize(
    "asked",
    [
        "", "soon", "-5", "1.5", "٣", "Fri, 99 Foo 2026", "Mon, 01 Jan 10000 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 -99999999999999999999", "1 Jan 2026 99999999999999999999:0",
    ],
)  # fmt: skip
async def test_a_retry_after_that_is_neither_is_ignored(sender: Sender, asked: str) -> None:
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()
    async with raw.server(raw.says(head)) as url:
        answer = await post(sender, url)
    assert (answer.outcome, answer.retry_after) == (Outcome.UNAVAILABLE, None)


async def test_a_body_that_drips_does_not_outlast_the_deadline_nor_undo_the_status(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/hooks", Told(200, drip=0.05))
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.ACCEPTED
    receiver.answer("/hooks", Told(500, drip=0.05))
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.STATUS_REFUSED


@pytest.mark.parametrize(
    "parts",
    [(b"H", b"T", b"T"), (b"HTTP/1.1 200 OK\r\n", b"X", b"-"), (b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"Y", b"-")],
    ids=["nothing", "status", "headers"],
)
async def test_headers_that_drip_do_not_outlast_the_deadline(sender: Sender, parts: tuple[bytes, ...]) -> None:
    async with raw.server(raw.says(*parts, pause=0.7)) as url:
        assert (await post(sender, url)).outcome is Outcome.RESPONSE_TIMEOUT


@pytest.mark.parametrize(
    "tail",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"\r\n",
    ],
)
async def test_a_body_error_after_a_2xx_is_still_success(sender: Sender, tail: bytes) -> None:
    async with raw.server(raw.says(b"HTTP/1.1 200 OK\r\n" + tail)) as url:
        assert (await post(sender, url)).outcome is Outcome.ACCEPTED


async def test_a_body_that_turns_into_nonsense_is_still_success(sender: Sender) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with raw.server(raw.says(head, b"no chunk\r\n", pause=0.2)) as url:
        assert (await post(sender, url)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "bytes_",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 64],
)
async def test_what_is_not_http_is_unreadable(sender: Sender, bytes_: bytes) -> None:
    async with raw.server(raw.says(bytes_)) as url:
        assert (await post(sender, url)).outcome in {Outcome.RESPONSE_UNREADABLE, Outcome.CONNECTION_CLOSED}


@pytest.mark.parametrize(
    "bytes_",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
    ],
    ids=["LF alone", "a header on two lines", "a blank behind a chunk's size"],
)
async def test_what_other_clients_read_is_read(sender: Sender, bytes_: bytes) -> None:
    async with raw.server(raw.says(bytes_)) as url:
        assert (await post(sender, url)).outcome is Outcome.ACCEPTED


async def test_an_endless_body_is_cut_off(sender: Sender) -> None:
    async with raw.server(raw.repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)) as url:
        answer = await post(sender, url)
    assert answer.outcome is Outcome.ACCEPTED
    assert answer.took < DEADLINE / 2, f"read on after {MOST_OF_A_BODY} bytes"


async def test_a_gzip_bomb_is_never_unpacked(sender: Sender, receiver: Receiver) -> None:
    receiver.answer("/hooks", gzip_bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.ACCEPTED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 << 10


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 1000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        (b"HTTP/1.1 200 ", b"x" * 1000),
    ],
    ids=["100s", "103s", "headers", "one header", "a reason"],
)
async def test_a_flood_ends_in_time_and_in_little_memory(sender: Sender, first: bytes, again: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with raw.server(raw.repeats(first, again)) as url:
        assert (await post(sender, url)).outcome in {Outcome.RESPONSE_UNREADABLE, Outcome.RESPONSE_TIMEOUT}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


async def test_who_never_answers_times_out_and_who_resets_has_closed(sender: Sender) -> None:
    async with raw.server(raw.stays_silent) as url:
        assert (await post(sender, url)).outcome is Outcome.RESPONSE_TIMEOUT
    async with raw.server(raw.resets) as url:
        assert (await post(sender, url)).outcome is Outcome.CONNECTION_CLOSED


async def test_connections_that_fail_have_names(sender: Sender) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert (await post(sender, f"http://127.0.0.1:{port}/")).outcome is Outcome.CONNECTION_REFUSED
    assert (await post(sender, "http://no-such-name.invalid/")).outcome is Outcome.DNS_LOOKUP_FAILED
    async with raw.server(raw.stays_silent) as url:
        silent = await post(sender, url.replace("http:", "https:"))
    assert silent.outcome is Outcome.CONNECTION_TIMEOUT


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks", "ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:99999/", "http://2130706433/",
        "http://a][@", "http://[]@", "http://localhost\0.example/", "http://local host/",
    ],
)  # fmt: skip
async def test_an_unusable_url_is_a_failure_like_any_other(sender: Sender, url: str) -> None:
    assert (await post(sender, url)).outcome is Outcome.URL_UNUSABLE


async def test_a_certificate_nobody_vouches_for_is_refused(sender: Sender, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no `openssl` here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    making = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", key, "-out", certificate, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await making.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert (await post(sender, url)).outcome is Outcome.TLS_FAILED
        trust = ssl.create_default_context(cafile=str(certificate))
        async with Sender(version="1", deadline=DEADLINE * 5, allow=LOOPBACK, trust=trust) as trusting:
            assert (await post(trusting, url)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0x7f.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127.0.0.1.",
        "0.0.0.0",  # noqa: S104 - it must not be reached
        "[::]",
    ],
)
async def test_nothing_inside_is_ever_reached(receiver: Receiver, host: str) -> None:
    url = receiver.url("/hooks").replace("127.0.0.1", host)
    async with Sender(version="1", deadline=DEADLINE) as guarded:
        answer = await post(guarded, url)
    assert answer.outcome in {Outcome.EGRESS_DENIED, Outcome.URL_UNUSABLE, Outcome.DNS_LOOKUP_FAILED}
    assert receiver.requests == []


async def test_a_redirect_to_the_inside_is_not_followed(sender: Sender, receiver: Receiver) -> None:
    receiver.answer("/hooks", redirect(receiver.url("/inside"), 307))
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.REDIRECT_REFUSED
    assert receiver.at("/inside") == []


async def test_cookies_are_not_kept(sender: Sender, receiver: Receiver) -> None:
    receiver.answer("/hooks", Told(200, {"Set-Cookie": "a=b; Path=/"}))
    for _ in range(2):
        await post(sender, receiver.url("/hooks"))
    assert all("cookie" not in request.headers for request in receiver.requests)


async def test_sent_is_told_when_the_request_is_on_its_way_and_not_yet_answered(receiver: Receiver) -> None:
    receiver.answer("/hooks", Told(200, delay=0.3))
    told: list[float] = []
    async with Sender(version="1", deadline=10, allow=LOOPBACK, sent=lambda: told.append(time.monotonic())) as sender:
        begun = time.monotonic()
        answer = await sender.post(receiver.url("/hooks"), {}, b"{}")
    assert answer.outcome is Outcome.ACCEPTED
    assert len(told) == 1
    assert told[0] < begun + answer.took - 0.2


PIECES = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"101", b" OK", b"\r\n", b"\n", b"\r\n\r\n", b"5", b"-1", b"Content-Length: ",
    b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Connection: keep-alive", b"Upgrade: websocket",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.sampled_from(PIECES), max_size=12))
async def test_any_bytes_at_all_have_a_name(sender: Sender, parts: list[bytes]) -> None:
    async with raw.server(raw.says(b"".join(parts))) as url:
        assert isinstance((await post(sender, url)).outcome, Outcome)
