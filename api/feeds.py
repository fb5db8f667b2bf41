"""`POST /v1/feeds/{format}`: puts the records that a vendor posts onto the topic, and answers once Kafka has them.

    202   Kafka acknowledged every record of the body; records that no update can be made of are dead letters. Records
          of a kind that updates no payment method (`Feed.irrelevant`) are counted and not stored
    400   the body broke off
    401   nothing proves that the vendor sent it; WWW-Authenticate and the detail say what would
    404   the feed does not exist, or no secret is set for it: the answer does not say which
    408   the body did not arrive in time
    413   more than 1 MB, 100,000 values of JSON, 20,000 lines of a table, or 5,000 records or parts of records; nothing
          of the body is stored
    415   a content type that this vendor does not send
    422   no record of the body can be used; the answer names the reasons. The records are stored as dead letters
    503   Kafka did not acknowledge in time: post it again. The inbox recognises what Kafka has already

Refusals are problem details (RFC 9457). An answer never repeats what was posted. This route asks no vendor: a thin
event goes onto its own topic.
"""

import time
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram

from api import authentication, body
from api.authentication import PostedRequest
from api.body import MOST_RECORDS, Denied, PostedRow, RowReader
from api.connection import request_id
from api.problem import problem
from domain.refusal import Refusal, Refused
from loops.giving_way import TimeSlice
from schemas import intake, mistakes
from schemas.feeds.feed import Edge, Feed, Irrelevant
from schemas.feeds.reading import parts
from schemas.feeds.record import Record
from schemas.intake import TopicMessage
from schemas.mistakes import RefusedPart

log = structlog.get_logger()

REQUESTS = Counter("repoint_feed_requests_total", "Requests to feeds, by feed and status", ["feed", "status"])
RECORDS = Counter("repoint_feed_records_total", "Records that vendors posted, by feed and outcome", ["feed", "outcome"])
REQUEST_SECONDS = Histogram("repoint_feed_request_seconds", "Time of a request to a feed, Kafka's answer included")

Send: TypeAlias = Callable[[Sequence[TopicMessage]], Awaitable[bool]]
"""Puts messages onto their topics. Returns whether every in-sync replica acknowledged every message."""

_RETRY_AFTER_SECONDS = 30
# Reasons in one answer: a body with more of them is wrong as a whole.
_MOST_REASONS = 20
_REFUSED = 400


@dataclass(slots=True)
class _BodyResult:
    """The messages of a body's records, and how many records were accepted, irrelevant and refused."""

    messages: list[TopicMessage] = field(default_factory=list)
    accepted: int = 0
    irrelevant: Count[str] = field(default_factory=Count)
    refused: Count[Refusal] = field(default_factory=Count)

    @property
    def records(self) -> int:
        return self.accepted + self.irrelevant.total() + self.refused.total()

    def members(self) -> dict[str, Any]:
        """The counts as members of the answer."""
        counts = {"accepted": self.accepted, "refused": self.refused.total(), "reasons": _count_reasons(self.refused)}
        return counts | ({"irrelevant": self.irrelevant.total()} if self.irrelevant else {})


class _FeedResponse(NamedTuple):
    """Status, detail of a refusal, members of the JSON body and headers of an answer."""

    status: int
    detail: str | None = None
    members: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}


class _RecordParts(NamedTuple):
    """A record and its parts; without parts, `refusal` says why."""

    row: PostedRow
    parts: Sequence[Record]
    refusal: Refusal | None = None

    def encoded(self) -> bytes:
        """The record's bytes for a dead letter."""
        return self.row.body or mistakes.encode(self.row.record or {})


class FeedIntake:
    """The handler of the route.

    `secrets` are by feed; a feed without a secret does not exist here. `edge` makes the `Edge` of a request that has
    just arrived. `rows` reads the rows of a posted table.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        secrets: Mapping[str, Sequence[str]],
        *,
        edge: Callable[[], Edge],
        send: Send,
        rows: RowReader,
    ) -> None:
        self._feeds = {name: feeds[name] for name in secrets}
        self._secrets = secrets
        self._edge = edge
        self._send = send
        self._rows = rows

    async def post(self, request: web.Request) -> web.Response:
        started_at = time.monotonic()
        feed = self._feeds.get(request.match_info["format"])
        result = _BodyResult()
        answer = _FeedResponse(404, "no such feed") if feed is None else await self._accept(feed, request, result)
        seconds = time.monotonic() - started_at
        # an unauthenticated path must not become a metric's label
        name = "unknown" if feed is None else feed.name
        REQUESTS.labels(name, str(answer.status)).inc()
        REQUEST_SECONDS.observe(seconds)
        log.info(
            "feed posted",
            feed=name,
            status=answer.status,
            accepted=result.accepted,
            refused=result.refused.total(),
            irrelevant=dict(result.irrelevant),
            seconds=round(seconds, 3),
            why=answer.detail,
        )
        if answer.status < _REFUSED:
            return web.json_response(dict(answer.members), status=answer.status)
        id_ = request_id(request)
        return problem(answer.status, id_, answer.detail, headers=answer.headers, **answer.members)

    async def _accept(self, feed: Feed, request: web.Request, result: _BodyResult) -> _FeedResponse:
        refusal = None
        try:
            posted = await body.read(feed, request)
            if not authentication.proves(feed.name, posted, self._secrets[feed.name], time.time()):
                return _deny_unauthenticated(feed, posted)
            records = _split(feed, await body.rows(feed, posted, self._rows))
            await _adapt(feed, records, self._edge(), result)
        except Denied as denied:
            if denied.refusal is None:
                return _FeedResponse(denied.status, str(denied))
            refusal = str(denied)
            result.refused[denied.refusal] += 1
            result.messages += denied.letters
        if not await self._send(result.messages):
            headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return _FeedResponse(503, "not taken in time: post it again", headers=headers)
        RECORDS.labels(feed.name, "accepted").inc(result.accepted)
        RECORDS.labels(feed.name, "irrelevant").inc(result.irrelevant.total())
        RECORDS.labels(feed.name, "refused").inc(result.refused.total())
        if result.refused and not result.accepted and not result.irrelevant:
            return _FeedResponse(422, refusal or "no record can be used", result.members())
        return _FeedResponse(202, members=result.members())


def _deny_unauthenticated(feed: Feed, posted: PostedRequest) -> _FeedResponse:
    expected = authentication.expected(feed.name, posted)
    return _FeedResponse(401, expected, headers={"WWW-Authenticate": authentication.challenge(feed.name)})


def _split(feed: Feed, rows: Sequence[PostedRow]) -> list[_RecordParts]:
    records, count = [], 0
    for row in rows:
        try:
            record_parts = () if row.record is None else parts(feed, row.record)
            record = _RecordParts(row, record_parts, row.refusal if row.record is None else None)
        except Refused as refused:
            record = _RecordParts(row, (), refused.refusal)
        records.append(record)
        count += len(record.parts) or 1
        if count > MOST_RECORDS:
            raise body.deny_too_many_records()
    return records


async def _adapt(feed: Feed, records: Sequence[_RecordParts], edge: Edge, result: _BodyResult) -> None:
    """Adapt every part of every record into `result`. A refused part does not affect the other parts.

    A part is read on a thread only if the part itself is large. A thread for each of 4,900 tiny records takes seven
    times as long as reading them on the event loop, which gives way to other tasks in between.
    """
    time_slice = TimeSlice()
    for record in records:
        content = record.row.record or {}
        refused = [] if record.refusal is None else [RefusedPart(1, content, record.refusal)]
        for number, part in enumerate(record.parts, 1):
            try:
                # of two records without dates the later one in the body is the newer
                at_row = replace(edge, row=result.records)
                messages = await body.offload(body.estimate_size(part), intake.to_messages, feed, part, at_row)
            except Refused as refused_part:
                refusal = mistakes.explain(feed, content, refused_part.refusal)
                refused.append(RefusedPart(number, part, refusal))
                result.refused[refusal] += 1
            else:
                if isinstance(messages, Irrelevant):
                    result.irrelevant[messages.kind] += 1
                else:
                    result.messages += messages
                    result.accepted += 1
            await time_slice.pause_when_over()
        if record.refusal is not None:
            result.refused[record.refusal] += 1
        whole = record.encoded() if refused else b""
        for letter, refusal in mistakes.dead_letters(whole, refused, len(record.parts)):
            result.messages.append(await body.offload(len(letter), intake.refused, feed, letter, refusal))
            await time_slice.pause_when_over()


def _count_reasons(refusals: Mapping[Refusal, int]) -> dict[str, int]:
    """How often each refusal occurred, most frequent first, without any value that was posted."""
    reasons: Count[str] = Count()
    for refusal, times in refusals.items():
        reasons[str(refusal.without_value())] += times
    return dict(reasons.most_common(_MOST_REASONS))
