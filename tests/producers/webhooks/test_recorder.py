"""The recorder by itself: what it keeps of attempts, what it hands on, and what it counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import Outcome
from producers.webhooks import recorder as module
from producers.webhooks.dead_log import DEAD
from producers.webhooks.evidence import Evidence
from producers.webhooks.measures import ATTEMPT_SECONDS
from producers.webhooks.recorder import ATTEMPTS, LATE, Recorder
from producers.webhooks.restraints import DISABLED
from producers.webhooks.sender import PostResult
from store import deliveries
from store.deliveries import ClaimedDelivery
from store.reused_connection import ReusedConnection
from tests.store.outbox import Outbox

ACCEPTED = PostResult(Outcome.ACCEPTED, 0.25, 200)
FAILED = PostResult(Outcome.UNAVAILABLE, 0.25, 503)
LEASE = timedelta(minutes=1)


def asking_for(pause: timedelta) -> PostResult:
    return PostResult(Outcome.UNAVAILABLE, 0.25, 503, pause)


class Recording:
    """A recorder, its backlog, and what it hands on."""

    def __init__(self, connection: ReusedConnection, connections: int = 20) -> None:
        self.backlog = Backlog(connections)
        self.claimed: list[ClaimedDelivery] = []
        self.due: list[Collection[str]] = []
        self.paused: list[bool] = []
        self.once_recorded: Callable[[], None] = lambda: None
        self.connection = connection
        self.recorder = Recorder(
            connection,
            self.backlog,
            schedule=(timedelta(hours=1), timedelta(hours=2)),
            lease=LEASE,
            roll=lambda: 0.5,
            on_claimed=self._take,
            on_due=self.due.append,
            on_paused=lambda: self.paused.append(self.backlog.is_paused("m")),
            on_point=lambda _point: self.once_recorded(),
        )

    def _take(self, claimed: Sequence[ClaimedDelivery], begun: float) -> None:
        assert begun > 0
        self.claimed += claimed

    async def claim(self, **limits: int) -> list[ClaimedDelivery]:
        async with self.connection.begin() as connection:
            claimed = await deliveries.claim(connection, limits, {}, lease=LEASE)
        for delivery in claimed:
            self.backlog.add_outstanding(delivery.endpoint_id)
        return claimed

    async def end(self, claimed: Sequence[ClaimedDelivery], *answers: PostResult) -> None:
        for delivery, answer in zip(claimed, answers, strict=True):
            self.recorder.add(delivery, 1_763_600_000.0, answer)
        await self.recorder.run_once()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[ReusedConnection]:
    async with ReusedConnection(engine) as connection:
        yield connection


@pytest.fixture
async def recording(connection: ReusedConnection, outbox: Outbox) -> Recording:
    await outbox.add_endpoint("m")
    return Recording(connection)


@pytest.mark.parametrize("pauses", [(60, 3600), (3600, 60)])
async def test_of_several_pauses_that_an_endpoint_asks_for_the_longest_is_kept(
    recording: Recording, outbox: Outbox, pauses: tuple[int, int]
) -> None:
    for _ in pauses:
        await outbox.tell("m", await outbox.add_wallet())
    claimed = await recording.claim(m=2)
    await recording.end(claimed, *(asking_for(timedelta(seconds=pause)) for pause in pauses))
    ((seconds,),) = await outbox.execute("SELECT extract(epoch FROM held_until - now()) FROM endpoints")
    assert 3500 < seconds <= 3600


@pytest.mark.parametrize("answer", [asking_for(timedelta(hours=1)), PostResult(Outcome.GONE, 0.25, 410)])
async def test_an_endpoint_is_paused_until_the_database_knows_what_it_asked_for(
    recording: Recording, outbox: Outbox, answer: PostResult
) -> None:
    """What is ready for it is put back before the statements and after them: a claim may come between."""
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await recording.claim(m=1)
    recording.recorder.add(claimed, 0.0, answer)
    assert recording.backlog.is_paused("m")
    await recording.recorder.run_once()
    assert recording.paused == [True, True]
    assert not recording.backlog.is_paused("m")
    await recording.recorder.run_once()
    assert recording.paused == [True, True]


async def test_the_next_of_a_finished_line_is_handed_on_claimed(recording: Recording, outbox: Outbox) -> None:
    first = await outbox.tell("m", await outbox.add_wallet(), 2)
    await recording.end(await recording.claim(m=1), ACCEPTED)
    assert [(claimed.event_id, claimed.attempt) for claimed in recording.claimed] == [(first[1], 1)]
    assert recording.backlog.outstanding == 1
    assert recording.due == []


async def test_of_a_paused_endpoint_and_without_leave_the_next_is_only_made_due(
    recording: Recording, outbox: Outbox
) -> None:
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet(), 2)
    first, second = await recording.claim(m=2)
    recording.backlog.pause("m")
    await recording.end([first], ACCEPTED)
    recording.backlog.resume("m")
    recording.recorder.add(second, 0.0, ACCEPTED)
    await recording.recorder.run_once(claims_next=False)
    assert recording.claimed == []
    assert recording.due == [{"m"}, {"m"}]
    assert await outbox.heads("m") == [2, 2]


async def test_no_more_lines_go_on_than_the_endpoint_has_room_for(connection: ReusedConnection, outbox: Outbox) -> None:
    """Of four connections an endpoint that was quick has two; the third line waits for the next claim."""
    await outbox.add_endpoint("m")
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet(), 2)
    recording = Recording(connection, connections=4)
    await recording.end(await recording.claim(m=3), ACCEPTED, ACCEPTED, ACCEPTED)
    assert len(recording.claimed) == recording.backlog.outstanding == 2
    assert recording.due[-1] == {"m"}
    assert await outbox.heads("m") == [2, 2, 2]


async def test_a_failed_attempt_keeps_its_line(recording: Recording, outbox: Outbox) -> None:
    """It is due again after the delay of its number, and nothing behind it goes out before."""
    await outbox.tell("m", await outbox.add_wallet(), 2)
    await recording.end(await recording.claim(m=1), FAILED)
    assert (recording.claimed, recording.due) == ([], [])
    ((seconds, leased),) = await outbox.execute(
        "SELECT extract(epoch FROM due_at - now()), leased_until FROM deliveries WHERE due_at IS NOT NULL"
    )
    assert 3500 < seconds <= 3600
    assert leased is None


async def test_deliveries_that_were_not_sent_are_put_back(recording: Recording, outbox: Outbox) -> None:
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    sent, unsent = await recording.claim(m=2)
    recording.recorder.put_back(unsent)
    assert not recording.recorder.is_empty()
    await recording.end([sent], ACCEPTED)
    assert recording.recorder.is_empty()
    assert recording.backlog.outstanding == 0
    assert [row.attempt for row in await outbox.live()] == [0]
    assert [claimed.id for claimed in await recording.claim(m=2)] == [unsent.id]


async def test_what_ends_while_others_are_recorded_is_recorded_the_next_time(
    recording: Recording, outbox: Outbox
) -> None:
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet())
    first, second, unsent = await recording.claim(m=3)

    def end_others() -> None:
        recording.once_recorded = lambda: None
        recording.recorder.add(second, 0.0, ACCEPTED)
        recording.recorder.put_back(unsent)

    recording.once_recorded = end_others
    await recording.end([first], ACCEPTED)
    assert not recording.recorder.is_empty()
    await recording.recorder.run_once()
    assert recording.recorder.is_empty()
    assert len(await outbox.live()) == 1
    assert [claimed.id for claimed in await recording.claim(m=3)] == [unsent.id]


async def test_it_is_behind_when_results_and_deliveries_to_put_back_are_too_many_together(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, outbox: Outbox
) -> None:
    monkeypatch.setattr(module, "_MOST_RESULTS", 2)
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet())
    first, second, third = await recording.claim(m=3)
    recording.recorder.add(first, 0.0, ACCEPTED)
    recording.recorder.put_back(second)
    assert not recording.recorder.is_behind()
    recording.recorder.put_back(third)
    assert recording.recorder.is_behind()
    await recording.recorder.run_once()
    assert not recording.recorder.is_behind()


async def test_attempts_are_counted_by_what_came_of_them(recording: Recording, outbox: Outbox) -> None:
    def counts() -> list[float]:
        counters = (ATTEMPTS.labels("ACCEPTED"), ATTEMPTS.labels("gone"), LATE, DISABLED)
        return [*(counter._value.get() for counter in counters), ATTEMPT_SECONDS.sum]

    for _ in range(4):
        await outbox.tell("m", await outbox.add_wallet())
    first, second, third, late = await recording.claim(m=4)
    before = counts()
    gone = PostResult(Outcome.GONE, 0.5, 410)
    await recording.end([first, second, third, late._replace(attempt=7)], ACCEPTED, ACCEPTED, gone, ACCEPTED)
    assert [after - former for after, former in zip(counts(), before, strict=True)] == [3, 1, 1, 1, 1.25]


async def test_a_late_result_is_no_dead_delivery(recording: Recording, outbox: Outbox) -> None:
    """Another dispatcher has the delivery, and may be accepted."""
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    first, late = (claimed._replace(tries=2) for claimed in await recording.claim(m=2))
    before = DEAD._value.get()
    await recording.end([first, late._replace(attempt=7)], FAILED, FAILED)
    assert DEAD._value.get() == before + 1
    assert [status for _, status, _ in await outbox.history()] == ["DEAD"]


async def test_what_is_kept_of_an_answer_has_the_number_and_the_time_of_its_attempt(
    recording: Recording, outbox: Outbox
) -> None:
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    first, second = await recording.claim(m=2)
    recording.recorder.add(first, 1_763_600_000.0, FAILED)
    recording.recorder.add(second, 1_763_600_001.0, FAILED, Evidence(["x-shop"], "no"))
    await recording.recorder.run_once()
    (kept,) = await outbox.execute(
        "SELECT delivery_id, number, extract(epoch FROM attempted_at) AS at, header_names, body FROM attempt_evidence"
    )
    assert tuple(kept) == (second.id, 1, 1_763_600_001, ["x-shop"], "no")


async def test_the_claimer_is_told_when_it_is_time_for_the_next_claim(recording: Recording, outbox: Outbox) -> None:
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    first, second = await recording.claim(m=2)
    recording.recorder.add(first, 0.0, ACCEPTED)
    assert recording.due == [], "no endpoint is known to have deliveries due"
    recording.backlog.add_due(["m"])
    recording.recorder.put_back(second)
    assert recording.due == [()], "an endpoint with due deliveries has none in hand"


async def test_it_waits_for_something_to_record(recording: Recording, outbox: Outbox) -> None:
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    first, second = await recording.claim(m=2)
    recorder = recording.recorder
    causes: list[Callable[[], None]] = [
        recorder.wake,
        lambda: recorder.add(first, 0.0, ACCEPTED),
        lambda: recorder.put_back(second),
    ]
    for cause in causes:
        waiting = asyncio.create_task(recorder.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        cause()
        async with asyncio.timeout(30):
            await waiting
        await recorder.run_once()


async def test_after_a_large_batch_it_waits_a_little_for_the_next_large_batch(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, outbox: Outbox
) -> None:
    monkeypatch.setattr(module, "_MANY", 2)
    monkeypatch.setattr(module, "_GATHER_SECONDS", 3600)
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet())
    first, *others = await recording.claim(m=3)
    await recording.end([first], ACCEPTED)
    recording.recorder.wake()
    async with asyncio.timeout(30):
        await recording.recorder.wait()
    await recording.end(others, ACCEPTED, ACCEPTED)
    recording.recorder.wake()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await recording.recorder.wait()
