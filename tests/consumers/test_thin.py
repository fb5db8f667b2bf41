"""A batch of thin events: which of them become fetches, which become dead letters, and which are only counted."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from consumers import thin
from consumers.batch import BatchPoint, BatchResult
from consumers.letters import LONGEST_BYTES, Message
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.feed import Fetch
from schemas.thin import written
from tests.consumers.harness import RETENTION, Harness

AT = datetime(2026, 11, 20, tzinfo=UTC)
TOKEN = "4111111111111111"


def event(feed: str = "adyen", *, path: str = "methods/1", of: str = "1", file_at: datetime | None = None) -> bytes:
    return written(feed, Fetch(path, {"token": of}, file_at=file_at), AT)


async def take_in(
    harness: Harness, messages: Sequence[Message], *, digit_ids: DigitIds = NO_DIGIT_IDS, incarnation: int = 0
) -> BatchResult:
    return await thin.take_in(harness.engine, messages, RETENTION, digit_ids=digit_ids, incarnation=incarnation)


async def fetched(harness: Harness) -> list[tuple[str, int]]:
    """The feed and the offset of each fetch."""
    rows = await harness.rows("SELECT feed, kafka_offset FROM fetches ORDER BY kafka_offset")
    return [tuple(row) for row in rows]


async def test_every_message_of_a_batch_is_a_fetch_or_a_dead_letter_or_counted_as_empty(harness: Harness) -> None:
    contents = [None, b"{", event("adyen"), bytes(LONGEST_BYTES + 1), None, event("visa-tms", of="2")]
    result = await take_in(harness, [harness.message(content) for content in contents])
    assert (result.unreadable, result.empty, result.outcomes.total()) == (2, 2, 0)
    assert await fetched(harness) == [("adyen", 2), ("visa-tms", 5)]
    letters = await harness.dead_letters()
    assert [letter.offset for letter in letters] == [1, 3]
    assert letters[1].reason.startswith("message: expected at most")
    assert [tuple(row) for row in await harness.rows("SELECT partition, empty, empty_to FROM topic_partitions")] == [
        (0, 2, 5)
    ]


async def test_what_is_kept_of_a_topic_made_anew_belongs_to_that_incarnation(harness: Harness) -> None:
    await take_in(harness, [harness.message(None), harness.message(b"{")], incarnation=3)
    assert [row.incarnation for row in await harness.rows("SELECT incarnation FROM topic_partitions")] == [3]
    assert [row.incarnation for row in await harness.rows("SELECT incarnation FROM dead_letters")] == [3]


async def test_a_message_of_just_the_longest_size_is_read(harness: Harness) -> None:
    longest = event().ljust(LONGEST_BYTES)
    result = await take_in(harness, [harness.message(longest)])
    assert (result.unreadable, await fetched(harness)) == (0, [("adyen", 0)])


@pytest.mark.parametrize(
    ("feed", "file_at", "is_kept"),
    [
        ("adyen", None, True),
        ("braintree", AT, True),
        ("braintree", None, False),
        ("vau", None, False),
        ("no-feed", None, False),
        ("no-feed", AT, False),
    ],
    ids=["answered", "a file", "a file without its time", "never asked", "unknown", "a file of an unknown one"],
)
async def test_a_feed_is_asked_about_its_events_or_about_a_file(
    harness: Harness,
    feed: str,
    file_at: datetime | None,
    is_kept: bool,  # noqa: FBT001
) -> None:
    await take_in(harness, [harness.message(event(feed, file_at=file_at))])
    assert bool(await fetched(harness)) == is_kept
    assert [letter.reason for letter in await harness.dead_letters()] == (
        [] if is_kept else ["feed: expected one whose events are asked about"]
    )


async def test_digits_are_a_card_number_unless_the_settings_call_them_ids(harness: Harness) -> None:
    event_of_digits = event("visa-tms", path=f"tms/v1/paymentinstruments/{TOKEN}", of=TOKEN)
    await take_in(harness, [harness.message(event_of_digits)])
    assert await fetched(harness) == []
    (letter,) = await harness.dead_letters()
    assert TOKEN.encode() not in letter.body
    await take_in(harness, [harness.message(event_of_digits)], digit_ids=frozenset({"visa-tms"}))
    assert await fetched(harness) == [("visa-tms", 1)]


async def test_ids_stay_in_the_dead_letter_of_an_event_that_is_refused_for_another_reason(harness: Harness) -> None:
    refused = json.dumps({"feed": "vau", "path": TOKEN, "record": {"token": TOKEN}, "at": AT.isoformat()}).encode()
    await take_in(harness, [harness.message(refused)], digit_ids=frozenset({"vau"}))
    (letter,) = await harness.dead_letters()
    assert letter.body == refused


async def test_the_points_of_a_batch_lie_before_and_behind_its_commit(harness: Harness) -> None:
    points: list[BatchPoint] = []
    message = harness.message(event())
    await thin.take_in(harness.engine, [message], RETENTION, on_point=points.append)
    assert points == ["took in", "committed"]
