"""Whatever an endpoint does, an attempt ends within its deadline, in bounded memory, and has a name."""

import asyncio
import resource
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.delivery.outcome import Outcome
from producers.egress import parse_networks
from producers.names import Addresses, NameUnknown, ResolverUnavailable, system_look_up
from producers.webhooks.connections import MOST_OF_A_BODY, Connection, Connections
from producers.webhooks.sender import PostResult, Sender
from tests.parts import certificates
from tests.parts.receiver import Answer, Receiver, gzip_bomb, redirect, unavailable
from tests.producers import raw

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])
DEADLINE = 1.0
# What a shared machine may add to a deadline.
PATIENCE = 5.0


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1.2.3", deadline=DEADLINE, allow=LOOPBACK) as sender:
        yield sender


async def post(sender: Sender, url: str) -> PostResult:
    begun = time.monotonic()
    answer = await sender.post(url, {"webhook-id": "evt_1"}, b'{"a": 1}', endpoint="m")
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


def targets() -> list[str]:
    """Paths and queries as merchants have them, and every printable character in each place."""
    as_seen = [
        "/x?sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=aB%2FcD%2BeF%3D",
        "/a%3A%2F%2Fb", "/a%40b%2Cc", "/%27", "/%e2", "/%E2%82%ac", "/%", "/%zz", "/%00", "/%0d%0aX:%20y", "/%2e%2e/x",
        "/a/../b", "/a/./b", "/./", "/..", "//", "///a//b", "/a;b=c", "/a?", "/?", "/?a", "/?a=b?c=d", "/?a=b&&c",
        "/?url=https://elsewhere.example/?x=y", "/a+b?c+d=e+f", "/~user", "/%7Euser", "/A/b/C",
    ]  # fmt: skip
    printable = [chr(code) for code in range(0x21, 0x7F) if chr(code) != "#"]
    in_each_place = [form.format(character) for character in printable for form in ("/a{}b", "/?a{}b", "/{}")]
    percent = [f"/%{code:02x}?%{code:02X}" for code in range(256)]
    return as_seen + in_each_place + percent


@asynccontextmanager
async def first_lines() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server on plain TCP, and the first line of every request that it got."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.append(line)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b'{"a": 1}'))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", lines


async def test_path_and_query_arrive_byte_for_byte() -> None:
    patient = Sender(version="1.2.3", deadline=60, allow=LOOPBACK)  # five hundred connections, on a busy machine
    async with patient, first_lines() as (address, lines):
        for target in targets():
            assert (await post(patient, address + target)).outcome is Outcome.ACCEPTED
        assert lines == [f"POST {target} HTTP/1.1\r\n".encode() for target in targets()]
        assert len(lines) > 500


async def test_a_url_without_a_path_is_asked_for_the_root(sender: Sender) -> None:
    async with first_lines() as (address, lines):
        for rest in ("", "?", "?a=%2F"):
            await post(sender, address + rest)
    assert lines == [b"POST / HTTP/1.1\r\n", b"POST /? HTTP/1.1\r\n", b"POST /?a=%2F HTTP/1.1\r\n"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(204), Outcome.ACCEPTED),
        (Answer(202, body=b"thanks"), Outcome.ACCEPTED),
        (Answer(400), Outcome.STATUS_REFUSED),
        (Answer(404), Outcome.STATUS_REFUSED),
        (Answer(410), Outcome.GONE),
        (Answer(429), Outcome.TOO_MANY_REQUESTS),
        (Answer(500), Outcome.STATUS_REFUSED),
        (unavailable(), Outcome.UNAVAILABLE),
        (redirect("/elsewhere"), Outcome.REDIRECT_REFUSED),
        (redirect("/elsewhere", 308), Outcome.REDIRECT_REFUSED),
        (Answer(cut="silently"), Outcome.CONNECTION_CLOSED),
        (Answer(cut="mid-status"), Outcome.CONNECTION_CLOSED),
        (Answer(delay=60), Outcome.RESPONSE_TIMEOUT),
    ],
)
async def test_what_is_answered_has_a_name(
    sender: Sender, receiver: Receiver, answer: Answer, outcome: Outcome
) -> None:
    receiver.answer("/hooks", answer)
    assert (await post(sender, receiver.url("/hooks"))).outcome is outcome
    assert len(receiver.requests) == 1, "nothing is followed, nothing is tried again"


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("00120", 120, 120),
        ("999999999", 999_999_999, 999_999_999),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 0, 3600),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), -7200, -3600),
        ((datetime.now(UTC) + timedelta(hours=1)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 0, 3600),
        ((datetime.now(UTC) + timedelta(hours=1)).strftime("%a %b %d %H:%M:%S %Y"), 0, 3600),
    ],
    ids=[
        "seconds",
        "none",
        "zeros before",
        "30 years",
        "a date to come",
        "a date gone by",
        "RFC 850",
        "asctime",
    ],  # the same in every process of a run
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
        "", "soon", "-5", "1.5", "٣", "Fri, 99 Foo 2026", "Mon, 01 Jan 10000 00:00:00 GMT", "120, 120", "120s", "0x10",
        "Mon, 01 Jan 2026 00:00:00 -99999999999999999999", "1 Jan 2026 99999999999999999999:0", "2026-11-20T09:14:13Z",
        "1763716454", "1763716454000", "1763716454.5", "9" * 400, "9" * 9000,
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
    receiver.answer("/hooks", Answer(200, drip=0.05))
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.ACCEPTED
    receiver.answer("/hooks", Answer(500, drip=0.05))
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.STATUS_REFUSED


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ((b"H", b"T", b"T"), Outcome.RESPONSE_TIMEOUT),
        ((b"HTTP/1.1 20", b"0 O", b"K"), Outcome.RESPONSE_TIMEOUT),
        ((b"HTTP/1.1 200 OK\r\n", b"X", b"-"), Outcome.ACCEPTED),
        ((b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"Y", b"-"), Outcome.ACCEPTED),
        ((b"HTTP/1.1 500 Oops\r\n", b"X", b"-"), Outcome.STATUS_REFUSED),
    ],
    ids=["nothing", "half a status line", "a status line", "headers", "a status line that refuses"],
)
async def test_what_drips_does_not_outlast_the_deadline_and_a_status_line_counts(
    sender: Sender, parts: tuple[bytes, ...], outcome: Outcome
) -> None:
    async with raw.server(raw.says(*parts, pause=0.7)) as url:
        assert (await post(sender, url)).outcome is outcome


async def test_the_look_up_of_the_name_counts_towards_the_deadline() -> None:
    """The answer comes before a deadline that began with the request, and 0.9 s after the attempt's own."""

    def look_up(_host: str) -> Addresses:
        time.sleep(1.2)  # a look-up has its own thread
        return system_look_up("127.0.0.1")

    answer_late = raw.says(b"", b"HTTP/1.1 204 No Content\r\n\r\n", pause=2.7)
    async with (
        Sender(version="1", deadline=3, allow=LOOPBACK, look_up=look_up) as sender,
        raw.server(answer_late) as url,
    ):
        answer = await post(sender, url.replace("127.0.0.1", "slow.example"))
    assert answer.outcome is Outcome.RESPONSE_TIMEOUT


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ResolverUnavailable(), Outcome.RESOLVER_UNAVAILABLE), (NameUnknown(), Outcome.DNS_LOOKUP_FAILED)],
    ids=lambda value: type(value).__name__,
)
async def test_an_outage_of_the_resolver_is_not_held_against_the_name(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, error: NameUnknown, outcome: Outcome
) -> None:
    async def fail(_: Connections, _url: object) -> Connection:
        raise error

    monkeypatch.setattr(Connections, "open", fail)
    assert (await post(sender, "http://shop.example/")).outcome is outcome


WRONG_BEHIND_THE_STATUS = [
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    b"Content-Length: two\r\n\r\nok",
    b"Content-Length: -1\r\n\r\nok",
    b"Content-Length: 99999999999999999999999\r\n\r\nok",
    b"Transfer-Encoding: chunked, identity\r\n\r\nok",
    b"Transfer-Encoding: gzip\r\n\r\nok",
    b"X-N : a\r\nContent-Length: 0\r\n\r\n",
    b": a\r\n\r\n",
    b"no colon\r\n\r\n",
    b"X\x00: a\r\n\r\n",
    b"X: \x00\r\n\r\n",
    b"X: a\rY: b\r\n\r\n",
    b" folded: first\r\n\r\n",
    b"\xff\xfe: a\r\n\r\n",
    b"<html>",
    b"X: cut off",
    b"",
]


@pytest.mark.parametrize("rest", WRONG_BEHIND_THE_STATUS)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (b"200 OK", Outcome.ACCEPTED),
        (b"204", Outcome.ACCEPTED),
        (b"299 ", Outcome.ACCEPTED),
        (b"302 Found", Outcome.REDIRECT_REFUSED),
        (b"410 Gone", Outcome.GONE),
        (b"500 Oops", Outcome.STATUS_REFUSED),
    ],
)
async def test_a_status_line_counts_whatever_follows(
    sender: Sender, status: bytes, outcome: Outcome, rest: bytes
) -> None:
    async with raw.server(raw.says(b"HTTP/1.1 " + status + b"\r\n" + rest)) as url:
        answer = await post(sender, url)
    assert (answer.outcome, answer.status_code) == (outcome, int(status[:3]))


async def test_also_behind_another_answer_that_is_not_the_last(sender: Sender) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    async with raw.server(raw.says(early + b"HTTP/1.1 202 Accepted\r\nX-N : a\r\n\r\n")) as url:
        assert (await post(sender, url)).status_code == 202


async def test_a_pause_is_kept_also_where_the_head_is_not_well_formed(sender: Sender) -> None:
    head = b"HTTP/1.1 503 Busy\r\nX-N : a\r\nretry-AFTER:  7 \r\n\r\n"
    async with raw.server(raw.says(head)) as url:
        answer = await post(sender, url)
    assert (answer.outcome, answer.retry_after) == (Outcome.UNAVAILABLE, timedelta(seconds=7))


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
    assert answer.seconds < DEADLINE / 2, f"read on after {MOST_OF_A_BODY} bytes"


async def test_a_gzip_bomb_is_never_unpacked(sender: Sender, receiver: Receiver) -> None:
    receiver.answer("/hooks", gzip_bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await post(sender, receiver.url("/hooks"))).outcome is Outcome.ACCEPTED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 << 10


FLOODS = [
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n", Outcome.RESPONSE_UNREADABLE),
    (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", Outcome.RESPONSE_UNREADABLE),
    (b"HTTP/1.1 200 ", b"x" * 1000, Outcome.RESPONSE_UNREADABLE),
    (b"HTTP/1.1 500 Oops\r\n", b"X-Header: " + b"x" * 1000 + b"\r\n", Outcome.STATUS_REFUSED),
    (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000, Outcome.ACCEPTED),
]


@pytest.mark.parametrize(
    ("first", "again", "outcome"), FLOODS, ids=["100s", "103s", "a reason", "headers", "one header"]
)
async def test_a_head_without_an_end_is_cut_off_at_its_limit(first: bytes, again: bytes, outcome: Outcome) -> None:
    """By the limit, not by the deadline, which is an hour here; and in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with (
        Sender(version="1", deadline=3600, allow=LOOPBACK) as sender,
        raw.server(raw.repeats(first, again)) as url,
        asyncio.timeout(60),
    ):
        assert (await sender.post(url, {}, b"{}", endpoint="m")).outcome is outcome
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
        "http://a][@", "http://[]@", "http://localhost\0.example/", "http://local host/", "http://127.1/",
        "https://xn--zz.invalid/", f"https://[2606:4700:4700::1111%{'a' * 64}]/", "http://127.0.0.1/\n",
    ],
)  # fmt: skip
async def test_an_unusable_url_is_a_failure_like_any_other(sender: Sender, url: str) -> None:
    assert (await post(sender, url)).outcome is Outcome.URL_UNUSABLE


@pytest.fixture
async def certificate(tmp_path: Path) -> Path:
    return await certificates.make(tmp_path, "IP:127.0.0.1")


async def answers_no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_certificate_nobody_vouches_for_is_refused(sender: Sender, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with await asyncio.start_server(answers_no_content, "127.0.0.1", 0, ssl=context) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert (await post(sender, url)).outcome is Outcome.TLS_FAILED
        trust = ssl.create_default_context(cafile=str(certificate))
        async with Sender(version="1", deadline=DEADLINE * 5, allow=LOOPBACK, trust=trust) as trusting:
            assert (await post(trusting, url)).outcome is Outcome.ACCEPTED


async def test_a_server_of_an_older_tls_alone_is_named_by_it(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which is what this is about
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        await asyncio.start_server(answers_no_content, "127.0.0.1", 0, ssl=context) as listening,
        Sender(version="1", deadline=DEADLINE * 5, allow=LOOPBACK, trust=trust) as sender,
    ):
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert (await post(sender, url)).outcome is Outcome.TLS_FAILED


@pytest.mark.parametrize("goes", ["resets", "closes", "speaks plain HTTP"])
async def test_who_hangs_up_on_the_handshake_has_failed_at_tls(goes: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if goes == "resets":
            writer.transport.abort()
        elif goes == "speaks plain HTTP":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as listening,
        Sender(version="1", deadline=DEADLINE * 5, allow=LOOPBACK) as sender,
    ):
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert (await post(sender, url)).outcome is Outcome.TLS_FAILED


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
    receiver.answer("/hooks", Answer(200, {"Set-Cookie": "a=b; Path=/"}))
    for _ in range(2):
        await post(sender, receiver.url("/hooks"))
    assert all("cookie" not in request.headers for request in receiver.requests)


async def test_sent_is_told_when_the_request_is_on_its_way_and_not_yet_answered(receiver: Receiver) -> None:
    receiver.answer("/hooks", Answer(200, delay=0.3))
    sent_at: list[float] = []
    async with Sender(
        version="1", deadline=10, allow=LOOPBACK, on_sent=lambda: sent_at.append(time.monotonic())
    ) as sender:
        begun = time.monotonic()
        answer = await sender.post(receiver.url("/hooks"), {}, b"{}", endpoint="m")
    assert answer.outcome is Outcome.ACCEPTED
    assert len(sent_at) == 1
    assert sent_at[0] < begun + answer.seconds - 0.2


PIECES = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"101", b" OK", b"\r\n", b"\n", b"\r\n\r\n", b"5", b"-1", b"Content-Length: ",
    b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Connection: keep-alive", b"Upgrade: websocket",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.sampled_from(PIECES), max_size=12))
async def test_any_bytes_at_all_have_a_name(sender: Sender, parts: list[bytes]) -> None:
    async with raw.server(raw.says(b"".join(parts))) as url:
        assert isinstance((await post(sender, url)).outcome, Outcome)
