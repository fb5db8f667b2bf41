"""`POST /v1/feeds/{format}`: what vendors post goes onto the topic, and is theirs no more once Kafka has it.

    202   everything in the body is acknowledged; records that no update can be made of are, as dead letters. Records
          of a kind that updates no payment method (`Feed.irrelevant`) are counted, and not kept
    400   the body broke off
    401   not proved to come from the vendor; WWW-Authenticate and the text say how it is proved
    404   no such feed, or none that a secret is set for: nobody learns which
    408   the body did not come in time
    413   more than 1 MB, 100,000 values of JSON, 20,000 lines of a table, or 5,000 records or parts of records; nothing
          of it is kept
    415   not what this vendor sends
    422   no record of the body can be used; what was wrong, by name. It is kept as dead letters all the same
    503   Kafka did not take it in time: post it again. What it took already will be recognised

Refusals are problem details. An answer never repeats what was posted. Nothing is fetched here: a thin event goes onto a
topic, too.
"""

import re
import time
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram

from api import authentication, body
from api.authentication import Posted
from api.body import MOST_RECORDS, Denied, Row, Rows
from api.connection import request_id
from api.problem import problem
from loops.giving_way import TimeSlice
from schemas import intake, mistakes
from schemas.feeds.feed import Edge, Feed, Irrelevant
from schemas.feeds.reading import parts
from schemas.feeds.record import Record, Refused
from schemas.intake import TopicMessage
from schemas.mistakes import RefusedPart

log = structlog.get_logger()

REQUESTS = Counter("repoint_feed_requests_total", "Requests to feeds, by feed and status", ["feed", "status"])
RECORDS = Counter("repoint_feed_records_total", "Records that vendors posted, by feed and outcome", ["feed", "outcome"])
REQUEST_SECONDS = Histogram("repoint_feed_request_seconds", "Time of a request to a feed, Kafka's answer included")

Send: TypeAlias = Callable[[Sequence[TopicMessage]], Awaitable[bool]]
"""Puts messages on their topics; whether every one of them was acknowledged by every in-sync replica."""

_RETRY_AFTER_SECONDS = 30
# Of a body that is refused for as many reasons the rest says nothing new.
_MOST_REASONS = 20
_REFUSED = 400


@dataclass(slots=True)
class _BodyResult:
    """What became of a body's records."""

    messages: list[TopicMessage] = field(default_factory=list)
    accepted: int = 0
    irrelevant: Count[str] = field(default_factory=Count)
    refused: Count[str] = field(default_factory=Count)

    @property
    def records(self) -> int:
        return self.accepted + self.irrelevant.total() + self.refused.total()

    def told(self) -> dict[str, Any]:
        irrelevant = {"irrelevant": self.irrelevant.total()} if self.irrelevant else {}
        told = {"accepted": self.accepted, "refused": self.refused.total(), "reasons": _shown(self.refused)}
        return told | irrelevant


class _FeedResponse(NamedTuple):
    """The status, the text of a refusal, and what else is answered."""

    status: int
    detail: str | None = None
    members: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}


class _RecordParts(NamedTuple):
    """A record and its parts; or why it has none."""

    row: Row
    parts: Sequence[Record]
    refusal: str | None = None

    def written(self) -> bytes:
        """As it is kept."""
        return self.row.body or mistakes.encode(self.row.record or {})


class FeedIntake:
    """What answers to requests. `secrets` are each feed's; a feed without is none. `edge` is of a request just come.

    `rows` cuts a table that is posted.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        secrets: Mapping[str, Sequence[str]],
        *,
        edge: Callable[[], Edge],
        send: Send,
        rows: Rows,
    ) -> None:
        self._feeds = {name: feeds[name] for name in secrets}
        self._secrets = secrets
        self._edge = edge
        self._send = send
        self._rows = rows

    async def post(self, request: web.Request) -> web.Response:
        begun = time.monotonic()
        feed = self._feeds.get(request.match_info["format"])
        taken = _BodyResult()
        answer = _FeedResponse(404, "no such feed") if feed is None else await self._take(feed, request, taken)
        took = time.monotonic() - begun
        # what a stranger asks for is no name of ours
        shown = "unknown" if feed is None else feed.name
        REQUESTS.labels(shown, str(answer.status)).inc()
        REQUEST_SECONDS.observe(took)
        log.info(
            "feed posted",
            feed=shown,
            status=answer.status,
            accepted=taken.accepted,
            refused=taken.refused.total(),
            irrelevant=dict(taken.irrelevant),
            seconds=round(took, 3),
            why=answer.detail,
        )
        if answer.status < _REFUSED:
            return web.json_response(dict(answer.members), status=answer.status)
        id_ = request_id(request)
        return problem(answer.status, id_, answer.detail, headers=answer.headers, **answer.members)

    async def _take(self, feed: Feed, request: web.Request, taken: _BodyResult) -> _FeedResponse:
        refusal = None
        try:
            posted = await body.read(feed, request)
            if not authentication.proves(feed.name, posted, self._secrets[feed.name], time.time()):
                return _unproved(feed, posted)
            cut = _cut(feed, await body.rows(feed, posted, self._rows))
            await _adapt(feed, cut, self._edge(), taken)
        except Denied as denied:
            if not denied.letters:
                return _FeedResponse(denied.status, str(denied))
            refusal = str(denied)
            taken.refused[refusal] += 1
            taken.messages += denied.letters
        if not await self._send(taken.messages):
            later = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return _FeedResponse(503, "not taken in time: post it again", headers=later)
        RECORDS.labels(feed.name, "accepted").inc(taken.accepted)
        RECORDS.labels(feed.name, "irrelevant").inc(taken.irrelevant.total())
        RECORDS.labels(feed.name, "refused").inc(taken.refused.total())
        if taken.refused and not taken.accepted and not taken.irrelevant:
            return _FeedResponse(422, refusal or "no record can be used", taken.told())
        return _FeedResponse(202, members=taken.told())


def _unproved(feed: Feed, posted: Posted) -> _FeedResponse:
    expected = authentication.expected(feed.name, posted)
    return _FeedResponse(401, expected, headers={"WWW-Authenticate": authentication.challenge(feed.name)})


def _cut(feed: Feed, rows: Sequence[Row]) -> list[_RecordParts]:
    found, count = [], 0
    for row in rows:
        try:
            each = (
                _RecordParts(row, (), row.problem) if row.record is None else _RecordParts(row, parts(feed, row.record))
            )
        except Refused as reason:
            each = _RecordParts(row, (), str(reason))
        found.append(each)
        count += len(each.parts) or 1
        if count > MOST_RECORDS:
            raise body.too_many()
    return found


async def _adapt(feed: Feed, cut: Sequence[_RecordParts], edge: Edge, taken: _BodyResult) -> None:
    """Every part of every record, each on its own: one that is refused does not take the others along.

    A large part is read on a thread. Each part is judged by its own size: a thread for each of 4,900 tiny records
    takes seven times as long as reading them here, where others have their turn in between.
    """
    time_slice = TimeSlice()
    for each in cut:
        record = each.row.record or {}
        refused = [] if each.refusal is None else [RefusedPart(1, record, each.refusal)]
        for number, part in enumerate(each.parts, 1):
            try:
                # what is behind another in a body is the later of the two, where neither has a date
                messages = await body.aside(body.size(part), intake.take, feed, part, replace(edge, row=taken.records))
            except Refused as refusal:
                reason = mistakes.explain(feed, record, str(refusal))
                refused.append(RefusedPart(number, part, reason))
                taken.refused[reason] += 1
            else:
                if isinstance(messages, Irrelevant):
                    taken.irrelevant[messages.kind] += 1
                else:
                    taken.messages += messages
                    taken.accepted += 1
            await time_slice.pause_when_over()
        if each.refusal is not None:
            taken.refused[each.refusal] += 1
        whole = each.written() if refused else b""
        for written, reason in mistakes.dead_letters(whole, refused, len(each.parts)):
            taken.messages.append(await body.aside(len(written), intake.refused, feed, written, reason))
            await time_slice.pause_when_over()


# A code that is in no table is said, to people who look at dead letters.
_SAID = re.compile(r": \S+ is in no table of this feed$")


def _shown(reasons: Mapping[str, int]) -> dict[str, int]:
    """The names of what was wrong, without anything that was posted, and how often it was."""
    shown: Count[str] = Count()
    for reason, times in reasons.items():
        shown[_SAID.sub(": expected a code of this feed", reason)] += times
    return dict(shown.most_common(_MOST_REASONS))
