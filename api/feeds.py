"""`POST /v1/feeds/{format}`: what vendors post goes onto the topic, and is theirs no more once Kafka has it.

    202   everything in the body is acknowledged; records that no update can be made of are, as dead letters
    400   the body broke off
    401   not proved to come from the vendor
    404   no such feed, or none that a secret is set for: nobody learns which
    408   the body did not come in time
    413   more than 1 MB, or more than 5,000 records or parts of records; nothing of it is kept
    415   not what this vendor sends
    422   no record of the body can be used; what was wrong, by name. It is kept as dead letters all the same
    503   Kafka did not take it in time: post it again. What it took already will be recognised

An answer never repeats what was posted. Nothing is fetched here: a thin event goes onto a topic, too.
"""

import asyncio
import re
import time
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias
from urllib.parse import parse_qsl

import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram

from api import authentication
from api.authentication import Posted
from schemas import intake, mistakes
from schemas.feeds.feed import Edge, Feed, Record, Refused, parsed, parts
from schemas.intake import LONGEST, Message
from schemas.mistakes import Part

log = structlog.get_logger()

REQUESTS = Counter("repoint_feed_requests_total", "Requests to feeds, by feed and status", ["feed", "status"])
RECORDS = Counter("repoint_feed_records_total", "Records that vendors posted, by feed and outcome", ["feed", "outcome"])
REQUEST_SECONDS = Histogram("repoint_feed_request_seconds", "Time of a request to a feed, Kafka's answer included")

Send: TypeAlias = Callable[[Sequence[Message]], Awaitable[bool]]
"""Puts messages on their topics; whether every one of them was acknowledged by every in-sync replica."""

# The longest body of a vendor's is a summary of some hundred cards.
LONGEST_BODY = LONGEST
# Vendors wait 10 to 20 s for the whole; who sends slower than this is none.
_BODY_SECONDS = 10
# Ten times the cards of such a summary. Of 1 MB of `{},` each would be a dead letter.
_MOST_PARTS = 5_000
# While one body is read others are answered in between.
_TURN_SECONDS = 0.01
# Who is connected and has sent no whole header by then is let go. Longer than proxies keep a connection for the next
# request (nginx: 60 s), or they would send it into one that is just being closed.
_IDLE_SECONDS = 75
# Well below the 1,024 files that a process usually may have open: deliveries and the database need theirs.
_MOST_CONNECTIONS = 500
# Two fields are Braintree's.
_MOST_FIELDS = 10
_RETRY_AFTER_SECONDS = 30
# Of a body that is refused for as many reasons the rest says nothing new.
_MOST_REASONS = 20


class _Denied(Exception):
    """What is posted is not taken; `status` is the answer's, the text says what was expected."""

    def __init__(self, status: int, expected: str, letters: Sequence[Message] = ()) -> None:
        super().__init__(expected)
        self.status = status
        self.letters = letters


@dataclass(slots=True)
class _Taken:
    """What became of a body's records."""

    messages: list[Message] = field(default_factory=list)
    accepted: int = 0
    refused: Count[str] = field(default_factory=Count)


class _Cut(NamedTuple):
    """A record and its parts; or why it has none."""

    record: Record
    parts: Sequence[Record]
    refusal: str | None = None


class _Turn:
    """How long one body is read before others have their turn."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _TURN_SECONDS

    async def go_on(self) -> None:
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + _TURN_SECONDS


class Intake:
    """What answers to requests. `secrets` are each feed's; a feed without is none. `edge` is of a request just come."""

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        secrets: Mapping[str, Sequence[str]],
        *,
        edge: Callable[[], Edge],
        send: Send,
    ) -> None:
        self._feeds = {name: feeds[name] for name in secrets}
        self._secrets = secrets
        self._edge = edge
        self._send = send

    async def post(self, request: web.Request) -> web.Response:
        begun = time.monotonic()
        name = request.match_info["format"]
        feed = self._feeds.get(name)
        taken = _Taken()
        status, told = (404, {"error": "no such feed"}) if feed is None else await self._take(feed, request, taken)
        took = time.monotonic() - begun
        # what a stranger asks for is no name of ours
        shown = "unknown" if feed is None else feed.name
        REQUESTS.labels(shown, str(status)).inc()
        REQUEST_SECONDS.observe(took)
        log.info(
            "feed posted",
            feed=shown,
            status=status,
            accepted=taken.accepted,
            refused=taken.refused.total(),
            seconds=round(took, 3),
            why=told.get("error"),
        )
        later = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if status == 503 else {}  # noqa: PLR2004
        return web.json_response(told, status=status, headers=later)

    async def _take(self, feed: Feed, request: web.Request, taken: _Taken) -> tuple[int, dict[str, Any]]:
        """The answer's status and body."""
        told: dict[str, Any]
        try:
            posted = await _read(feed, request)
            self._check(feed, posted)
            await _adapt(feed, _cut(feed, _records(feed, posted)), self._edge(), taken)
        except _Denied as denied:
            told = {"error": str(denied)}
            if not denied.letters:
                return denied.status, told
            taken.refused[str(denied)] += 1
            taken.messages += denied.letters
        else:
            told = {"accepted": taken.accepted, "refused": taken.refused.total(), "reasons": _shown(taken.refused)}
        if not await self._send(taken.messages):
            return 503, {"error": "not taken in time: post it again"}
        RECORDS.labels(feed.name, "accepted").inc(taken.accepted)
        RECORDS.labels(feed.name, "refused").inc(taken.refused.total())
        if taken.refused and not taken.accepted:
            return 422, {"error": "no record can be used"} | told
        return 202, told

    def _check(self, feed: Feed, posted: Posted) -> None:
        if not authentication.proves(feed.name, posted, self._secrets[feed.name], time.time()):
            raise _Denied(401, "expected what proves that the vendor sent it")


async def _read(feed: Feed, request: web.Request) -> Posted:
    expected = authentication.content_type(feed.name)
    is_json = request.content_type.endswith("+json") and expected.endswith("/json")
    if request.content_type != expected and not is_json:
        raise _Denied(415, f"expected {expected}")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise _Denied(415, "expected no Content-Encoding")
    if (request.content_length or 0) > LONGEST_BODY:
        raise _Denied(413, f"expected {LONGEST_BODY:,} bytes at most")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise _Denied(413, f"expected {LONGEST_BODY:,} bytes at most")
    except (ConnectionError, web.RequestPayloadError):
        raise _Denied(400, "expected the whole body, framed as its headers say") from None
    except TimeoutError:
        raise _Denied(408, f"expected the whole body within {_BODY_SECONDS} s") from None
    form = {} if expected.endswith("/json") else _form(bytes(body))
    return Posted(request.headers, request.query, form, bytes(body))


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form; none of what is no form, and then nothing proves who sent it."""
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def _records(feed: Feed, posted: Posted) -> list[Record]:
    if posted.form:
        return [{name: value for name, value in posted.form.items() if name != "bt_signature"}]
    if problem := mistakes.packed(posted.body):
        raise _unusable(feed, b"", f"body: {problem}")
    try:
        found = parsed(posted.body)
    except ValueError:
        raise _unusable(feed, posted.body, "body: expected JSON") from None
    records = found if isinstance(found, list) else [found]
    if not records or not all(isinstance(record, dict) for record in records):
        raise _unusable(feed, posted.body, "body: expected a JSON object, or an array of them")
    return records


def _unusable(feed: Feed, body: bytes, reason: str) -> _Denied:
    return _Denied(422, reason, [intake.refused(feed, body, reason)])


def _cut(feed: Feed, records: Sequence[Record]) -> list[_Cut]:
    found, count = [], 0
    for record in records:
        try:
            each = _Cut(record, parts(feed, record))
        except Refused as reason:
            each = _Cut(record, (), str(reason))
        found.append(each)
        count += len(each.parts) or 1
        if count > _MOST_PARTS:
            raise _Denied(413, f"expected {_MOST_PARTS:,} records at most, or parts of records")
    return found


async def _adapt(feed: Feed, cut: Sequence[_Cut], edge: Edge, taken: _Taken) -> None:
    """Every part of every record, each on its own: one that is refused does not take the others along."""
    turn = _Turn()
    for each in cut:
        refused = [] if each.refusal is None else [Part(1, each.record, each.refusal)]
        for number, part in enumerate(each.parts, 1):
            try:
                # what is behind another in a body is the later of the two, where neither has a date
                messages = intake.take(feed, part, replace(edge, row=taken.accepted + taken.refused.total()))
            except Refused as refusal:
                reason = mistakes.explained(feed, each.record, str(refusal))
                refused.append(Part(number, part, reason))
                taken.refused[reason] += 1
            else:
                taken.messages += messages
                taken.accepted += 1
            await turn.go_on()
        if each.refusal is not None:
            taken.refused[each.refusal] += 1
        whole = mistakes.written(each.record) if refused else b""
        for body, reason in mistakes.letters(whole, refused, len(each.parts)):
            taken.messages.append(intake.refused(feed, body, reason))
            await turn.go_on()


# A code that is in no table is said, to people who look at dead letters.
_SAID = re.compile(r": \S+ is in no table of this feed$")


def _shown(reasons: Mapping[str, int]) -> dict[str, int]:
    """The names of what was wrong, without anything that was posted, and how often it was."""
    shown: Count[str] = Count()
    for reason, times in reasons.items():
        shown[_SAID.sub(": expected a code of this feed", reason)] += times
    return dict(shown.most_common(_MOST_REASONS))


class _Full(asyncio.Protocol):
    """Whom there is no room for is hung up on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Listener:
    """Listens on `host` and `port` while it is open. Requests under way when it closes have `drain_within` seconds.

    Entering it raises OSError where the port cannot be had.
    """

    def __init__(self, intake: Intake, host: str, port: int, *, drain_within: float) -> None:
        application = web.Application()
        application.add_routes([web.post("/v1/feeds/{format}", self._post)])
        # A signature is of the bytes as they came; and what is packed may be a thousand times larger.
        self._runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=1.0,
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
        )
        self._intake = intake
        self._host, self._wanted = host, port
        self._drain_within = drain_within
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connected, self._host, self._wanted)
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def _connected(self) -> asyncio.BaseProtocol:
        """What speaks with somebody who has just connected."""
        server = self._runner.server
        assert server is not None
        return _Full() if len(server.connections) >= _MOST_CONNECTIONS else server()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._runner.cleanup()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then nobody new is let in, and what is under way is answered."""
        await stopping.wait()
        self._closing = True
        self._server.close()
        # aiohttp's own shutdown reads no more of the bodies that are on their way
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_within):
                await self._idle.wait()
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        self._under_way += 1
        self._idle.clear()
        try:
            response = await self._intake.post(request)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if self._closing:
            response.force_close()
        return response
