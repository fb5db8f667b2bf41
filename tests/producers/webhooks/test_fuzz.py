"""No URL, no name and no answer makes a post raise: made up by the thousand, all of them on loopback.

REPOINT_TEST_FUZZ says how many; the number of the seed is in the name of the test that fails.
"""

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from domain.delivery.outcome import Outcome
from producers.egress import Egress, check_url, is_in, is_permitted, parse_networks, unmap
from producers.names import Addresses, Names
from producers.webhooks.sender import PostResult, Sender
from schemas.url import read_url

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])
SEEDS = 4
POSTS = int(os.environ.get("REPOINT_TEST_FUZZ", "2000")) // SEEDS
AT_A_TIME = 64
REFUSED = "expected a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"

SCHEMES = (
    ["http://"] * 12 + ["https://"] * 4 + ["HTTP://", "ftp://", "http:", "//", "", "http:///", " http://", "http://\t"]
)
LABELS = [
    "shop", "a", "xn--zz", "xn--bcher-kva", "xn--", "a" * 63, "a" * 64, "b\u00fccher", "-", "_", "", ".", "1",
    "0x7f", "127",
    "\u2460", "\u3002", "%41", "\x00", "\ud800", "\u200d", "ß", "xn--99999999999", "XN--A", "*",
]  # fmt: skip
HOSTS = [
    "127.0.0.1", "127.0.0.2", "[::1]", "localhost", "127.1", "2130706433", "0x7f.1", "0", "10.0.0.1", "169.254.169.254",
    "[::ffff:127.0.0.1]", "[fe80::1%25lo]", f"[2606:4700:4700::1111%{'a' * 64}]", "[::", "::1", "[v1.x]", "[]", "[:]",
    "user@127.0.0.1", "user:password@127.0.0.1", "@", ":@127.0.0.1", "127.0.0.1\\@127.0.0.2", "[::1]a", "256.1.1.1",
]  # fmt: skip
PATHS = [
    "", "/", "/a", "?", "?a=%2F", "/%", "/%zz", "/../..", "//", "/\\", "#", "/#a", "/ ", "/\r\nx: y", "/\x00",
    "/\u00e9", "/\ud83d",
    "/" + "a" * 3000, "/{}", "/\x7f", "/;a?b;c", "/%0d%0aX:%20y", "/\u2028",
]  # fmt: skip

STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.0 204", b"HTTP/1.1 503 Busy", b"HTTP/1.1 429 ", b"HTTP/1.1 410 Gone",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching", b"HTTP/1.1 999 Odd", b"HTTP/1.1 000 Odd", b"HTTP/1.1 2000 OK",
    b"HTTP/2 200", b"HTTP/9.9 200 OK", b"ICY 200 OK", b"", b"\x16\x03\x01", b"HTTP/1.1 20", b"HTTP/1.1\t200\tOK",
    b"\r\n",
]  # fmt: skip
HEADERS = [
    b"Content-Length: 2", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Retry-After: 120", b"Retry-After: 1763716454", b"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT",
    b"Retry-After: \xff",
    b"Retry-After: " + b"9" * 5000, b"Retry-After: Sun, 99 Nov 1994 08:49:37 GMT", b"X-N : a", b": a", b"no colon",
    b" folded",
    b"X: \x00", b"\xff\xfe: a", b"Content-Encoding: gzip", b"X: " + b"x" * 70_000, b"Trailer: x", b"Set-Cookie: a=b",
]  # fmt: skip
BODIES = [
    b"",
    b"ok",
    b"2\r\nok\r\n0\r\n\r\n",
    b"zz\r\n",
    b"x" * 20_000,
    b"HTTP/1.1 410 Gone\r\n\r\n",
    b"\x00" * 10,
    b"0\r\nX: y\r\n\r\n",
]
ENDS = [b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n", b""]


def a_url(dice: random.Random, port: int) -> str:
    """Six of ten can be used, so that names and answers have their turn."""
    if dice.random() < 0.6:
        host = dice.choice(["127.0.0.1", "[::1]", f"shop-{dice.randrange(500)}.example"])
        target = "/" + "".join(chr(dice.choice(range(0x24, 0x7F))) for _ in range(dice.randint(0, 20)))
        return f"{dice.choice(['http', 'http', 'http', 'https'])}://{host}:{port}{target}"
    host = dice.choice(HOSTS) if dice.random() < 0.6 else ".".join(dice.choices(LABELS, k=dice.randint(1, 4)))
    at = dice.choice([f":{port}"] * 12 + ["", ":0", ":1", ":65536", ":-1", ":port", ":", "::", ":\u0661", f":{port}:1"])
    url = dice.choice(SCHEMES) + host + at + dice.choice(PATHS)
    if dice.random() < 0.2:
        where = dice.randrange(len(url) + 1)
        url = (
            url[:where]
            + dice.choice(["\x00", "\n", "@", "[", "]", ":", "#", "%", "\u212a", "\udcff", " "])
            + url[where:]
        )
    return url


def an_answer(dice: random.Random) -> bytes:
    if dice.random() < 0.15:
        return dice.randbytes(dice.randint(0, 200))
    lines = [dice.choice(STATUS_LINES), *dice.choices(HEADERS, k=dice.randint(0, 4)), b""]
    answer = b"".join(line + dice.choice(ENDS) for line in lines) + dice.choice(BODIES)
    return answer[: dice.randrange(len(answer) + 1)] if dice.random() < 0.2 else answer


def an_address(text: str) -> Addresses:
    six = ":" in text
    name = (text, 0, 0, 0) if six else (text, 0)
    return [(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", name)]


def looked_up(host: str) -> Addresses:
    """What a name server makes of a name: always the same, and never an address beyond this machine."""
    dice = random.Random(host)
    fate = dice.random()
    if fate < 0.1:
        raise socket.gaierror(dice.choice([socket.EAI_NONAME, socket.EAI_AGAIN]), "no")
    if fate < 0.15:
        raise UnicodeError("label too long")
    if fate < 0.2:
        return []
    if fate < 0.3:
        texts = ["10.0.0.1", "fe80::1%lo", "169.254.169.254", "::ffff:0:127.0.0.1", "::", "0.0.0.0", "64:ff9b::7f00:1"]  # noqa: S104
        return [address for text in dice.sample(texts, dice.randint(1, 4)) for address in an_address(text)]
    return [address for text in ["127.0.0.1"] * dice.randint(1, 9) for address in an_address(text)]


@asynccontextmanager
async def answering(dice: random.Random) -> AsyncIterator[int]:
    """The port of a server that answers anything to everything; some of it twice, some of it never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                fate = dice.random()
                if fate < 0.01:
                    await reader.read()  # no answer before the deadline
                elif fate < 0.05:
                    writer.transport.abort()
                    return
                writer.write(an_answer(dice))
                if fate < 0.5:
                    break
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def leaves_this_machine(url: str) -> bool:
    """Whether a request would go out to an address that is not ours to load."""
    try:
        address = read_url(url).address
    except ValueError:
        return False
    return address is not None and is_permitted(str(address), ()) and not is_in(unmap(str(address)), LOOPBACK)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_makes_a_post_raise(seed: int) -> None:
    dice = random.Random(seed)
    outcomes: Counter[Outcome] = Counter()
    names = Names(looked_up, within=5)
    async with (
        answering(dice) as port,
        Sender(version="1", deadline=1, allow=LOOPBACK, look_up=looked_up) as sender,
    ):

        async def attempt(url: str) -> None:
            answer = await sender.post(url, {"webhook-id": "evt_1"}, b"{}", endpoint=dice.choice("abc"))
            assert isinstance(answer, PostResult), ascii(url)
            outcomes[answer.outcome] += 1
            expected = await check_url(url, Egress(LOOPBACK), names)
            as_imported = expected is None or expected.startswith((REFUSED, "expected https:"))
            assert as_imported == (answer.outcome is not Outcome.URL_UNUSABLE), ascii(url)

        urls = [url for url in (a_url(dice, port) for _ in range(POSTS)) if not leaves_this_machine(url)]
        for begin in range(0, len(urls), AT_A_TIME):
            await asyncio.gather(*map(attempt, urls[begin : begin + AT_A_TIME]))
    assert sum(outcomes.values()) == len(urls) > POSTS * 0.9
    assert len(outcomes) > 9, "of nearly every kind"
