"""Deliveries reach real endpoints from a real database, in order, whatever happens in between."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from domain.delivery.outcome import Outcome
from producers.egress import parse_networks
from producers.webhooks import claimer, poster
from producers.webhooks.dispatcher import Dispatcher, DispatchPoint
from producers.webhooks.recorder import LATE
from producers.webhooks.sender import PostResult, Sender
from schemas.sealing import BUILT_IN, Key, Keys
from schemas.signature import event_id, secret
from store import deliveries, endpoints, finished_deliveries
from store.engine import connect
from tests.parts.receiver import Answer, Receiver, redirect, unavailable
from tests.producers.webhooks.conftest import AT_ONCE
from tests.store.outbox import SECRET, Outbox, Row

LOOPBACK = parse_networks(["127.0.0.0/8"])
WITHIN = 30.0


class Killed(BaseException):
    """Ends a dispatcher where it stands."""


@asynccontextmanager
async def running(dispatcher: Dispatcher) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    task = asyncio.create_task(dispatcher.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        async with asyncio.timeout(WITHIN):
            await task


def prove(dispatcher: Dispatcher, *endpoint_ids: str) -> None:
    """Each of the endpoints has answered often."""
    for id_ in endpoint_ids:
        for _ in range(40):
            dispatcher._backlog.note_answer(id_, Outcome.ACCEPTED, 0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():  # noqa: ASYNC110 - of some conditions nobody tells
            await asyncio.sleep(0.01)


async def until_done(outbox: Outbox) -> None:
    async with asyncio.timeout(WITHIN):
        while await outbox.live():  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.02)


async def test_an_idle_one_that_is_kicked_looks_at_once(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    monkeypatch.setattr(claimer, "_LOOK_SECONDS", (3600, 3600))
    monkeypatch.setattr(claimer, "_SWEEP_SECONDS", 3600)
    await outbox.add_endpoint("m", receiver.url("/m"))
    async with running(dispatcher):
        for count in (1, 2):
            await until(lambda: dispatcher.ready() is None and not dispatcher._claimer._wake.is_set())
            await outbox.tell("m", await outbox.add_wallet())
            dispatcher.wake()
            await receiver.arrived(count, "/m", within=WITHIN)
            await until_done(outbox)


async def test_an_event_arrives_once_signed_over_the_stored_bytes(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    (told,) = await outbox.tell("m", await outbox.add_wallet())
    assert await dispatcher.run_once() == 1
    assert await dispatcher.run_once() == 0
    (request,) = receiver.requests
    ((body,),) = await outbox.execute("SELECT body FROM events")
    assert request.body == body
    assert request.headers["webhook-id"] == event_id(told)
    Webhook(SECRET).verify(request.body, dict(request.headers))
    assert await outbox.live() == []
    assert await outbox.history() == [(1, "DELIVERED", 1)]
    assert await outbox.attempts() == [(1, "ACCEPTED", 200)]


async def test_while_a_secret_rotates_both_verify(outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver) -> None:
    secrets = [secret(b"n" * 32), secret(b"o" * 32)]
    await outbox.add_endpoint("m", receiver.url("/m"), secrets)
    await outbox.tell("m", await outbox.add_wallet())
    await dispatcher.run_once()
    (request,) = receiver.requests
    for each in secrets:
        Webhook(each).verify(request.body, dict(request.headers))


async def test_every_attempt_has_the_same_id_and_bytes_and_a_signature_that_verifies(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.answer("/m", unavailable(), redirect("/elsewhere"), Answer(cut="silently"), Answer(200))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    for _ in range(4):
        assert await dispatcher.run_once() == 1
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    for request in receiver.requests:
        Webhook(SECRET).verify(request.body, dict(request.headers))
    assert await outbox.history() == [(1, "DELIVERED", 4)]
    assert await outbox.attempts() == [
        (1, "unavailable", 503),
        (2, "redirect_refused", 302),
        (3, "connection_closed", None),
        (4, "ACCEPTED", 200),
    ]


async def test_after_the_last_retry_it_is_dead_and_a_replay_sends_the_same_again(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(500))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    while await dispatcher.run_once():
        pass
    assert await outbox.history() == [(1, "DEAD", len(AT_ONCE) + 1)]
    receiver.answer("/m", Answer(200))
    ((dead,),) = await outbox.execute("SELECT id FROM delivery_history")
    async with outbox.engine.begin() as connection:
        assert await finished_deliveries.replay(connection, [dead]) == 1
    assert await dispatcher.run_once() == 1
    assert [status for _, status, _ in await outbox.history()] == ["DEAD", "DELIVERED"]
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1


async def test_a_wallets_events_go_to_an_endpoint_one_after_another(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    """The second waits for the first to be delivered, also over a failure; another wallet's does not."""
    first, second = await outbox.add_wallet(), await outbox.add_wallet()
    receiver.answer("/m", unavailable(), Answer(200))
    await outbox.add_endpoint("m", receiver.url("/m"))
    told = await outbox.tell("m", first, 3)
    async with running(dispatcher):
        await receiver.arrived(1)
        other = await outbox.tell("m", second)
        await until_done(outbox)
    ids = [
        request.headers["webhook-id"]
        for request in receiver.requests
        if request.headers["webhook-id"] != event_id(other[0])
    ]
    assert ids == [event_id(told[0]), *map(event_id, told)]


async def test_a_line_goes_out_without_another_claim_or_look(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    """Recording a delivery claims the next of its line."""
    monkeypatch.setattr(claimer, "_LOOK_SECONDS", (3600, 3600))
    monkeypatch.setattr(claimer, "_SWEEP_SECONDS", 3600)
    await outbox.add_endpoint("m", receiver.url("/m"))
    events = await outbox.tell("m", await outbox.add_wallet(), 5)
    async with running(dispatcher):
        await receiver.arrived(5, "/m", within=WITHIN)
        await until_done(outbox)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [*map(event_id, events)]
    assert [attempts for _, _, attempts in await outbox.history()] == [1] * 5


async def test_many_lines_go_out_whole_and_in_order_without_another_look(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """More lines than an endpoint's window has room for: their next deliveries take turns with the other lines."""
    monkeypatch.setattr(claimer, "_LOOK_SECONDS", (3600, 3600))
    monkeypatch.setattr(claimer, "_SWEEP_SECONDS", 3600)
    await outbox.add_endpoint("m", receiver.url("/m"))
    wallets = [await outbox.add_wallet() for _ in range(30)]
    events = {wallet: [*map(event_id, await outbox.tell("m", wallet, 3))] for wallet in wallets}
    async with running(Dispatcher(engine, sender, connections=4)):
        await receiver.arrived(90, "/m", within=WITHIN)
        await until_done(outbox)
    arrived = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(arrived) == 90
    for ids in events.values():
        assert sorted(ids, key=arrived.index) == ids


async def test_410_disables_the_endpoint_and_loses_nothing(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    wallet = await outbox.add_wallet()
    receiver.answer("/m", Answer(410))
    await outbox.add_endpoint("m", receiver.url("/m"))
    told = await outbox.tell("m", wallet, 2)
    assert await dispatcher.run_once() == 1
    assert await outbox.live() == [Row("m", wallet, 1, "PARKED", "head", 1), Row("m", wallet, 2, "PARKED", "waits", 0)]
    async with outbox.engine.begin() as connection:
        (gone,) = await endpoints.read(connection)
    assert (gone.status, gone.disabled_reason) == ("DISABLED", "answered 410 Gone")
    later = await outbox.tell("m", wallet)
    assert await dispatcher.run_once() == 0

    receiver.answer("/m", Answer(200))
    async with outbox.engine.begin() as connection:
        await endpoints.enable(connection, ["m"])
    while await dispatcher.run_once():
        pass
    assert [request.headers["webhook-id"] for request in receiver.requests[1:]] == [*map(event_id, told + later)]
    assert [status for _, status, _ in await outbox.history()] == ["DELIVERED"] * 3


@pytest.mark.parametrize(
    ("answer", "state"),
    [(PostResult(Outcome.GONE, 0.1, 410), ("DISABLED", False)),
     (PostResult(Outcome.UNAVAILABLE, 0.1, 503, timedelta(hours=1)), ("ENABLED", True))],
)  # fmt: skip
async def test_what_an_endpoint_asks_for_while_other_results_are_recorded_is_recorded_with_the_next(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, answer: PostResult, state: tuple[str, bool]
) -> None:
    await outbox.add_endpoint("late")
    await outbox.tell("late", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        late = await deliveries.claim(connection, {"late": 1}, {}, lease=timedelta(hours=1))
    dispatcher._backlog.add_outstanding("late")

    def answered(_at: DispatchPoint) -> None:
        while late:
            dispatcher._recorder.add(late.pop(), 0.0, answer)

    dispatcher._recorder._on_point = answered
    receiver.answer("/gone", Answer(410))
    receiver.answer("/busy", unavailable("3600"))
    for name in ("gone", "busy"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        await outbox.tell(name, await outbox.add_wallet())
    await dispatcher.run_once()
    assert late == []
    await dispatcher.run_once()
    async with outbox.engine.begin() as connection:
        (asking,) = await endpoints.read(connection, ["late"])
    assert (asking.status, asking.held_until is not None) == state


@pytest.mark.parametrize("answer", [unavailable("3600"), Answer(429, {"Retry-After": "3600"})])
async def test_retry_after_holds_back_the_endpoint_and_no_other(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, answer: Answer
) -> None:
    receiver.answer("/busy", answer)
    for name in ("busy", "free"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        await outbox.tell(name, await outbox.add_wallet())
    assert await dispatcher.run_once() == 2
    for name in ("busy", "free"):
        await outbox.tell(name, await outbox.add_wallet())
    assert await dispatcher.run_once() == 1
    assert len(receiver.at("/busy")) == 1
    assert len(receiver.at("/free")) == 2
    receiver.answer("/busy", Answer(200))
    await outbox.make_due()
    assert await dispatcher.run_once() == 2


async def test_once_an_endpoint_asked_to_wait_nothing_more_that_was_claimed_is_sent(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", unavailable("3600"))
    await outbox.add_endpoint("m", receiver.url("/m"))
    for _ in range(20):
        await outbox.tell("m", await outbox.add_wallet())
    async with running(Dispatcher(engine, sender, connections=2)):
        await receiver.arrived(1)
    assert len(receiver.requests) <= 2, "as many as there are connections"
    assert sum(row.attempt for row in await outbox.live()) == len(receiver.requests), "what was not sent does not count"


@pytest.mark.parametrize(
    "answer", [PostResult(Outcome.GONE, 0.1, 410), PostResult(Outcome.UNAVAILABLE, 0.1, 503, timedelta(hours=1))]
)
async def test_what_is_claimed_before_the_wish_of_its_endpoint_is_recorded_is_given_back_and_not_posted(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, answer: PostResult
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        (answered,) = await deliveries.claim(connection, {"m": 1}, {}, lease=timedelta(hours=1))
    dispatcher._backlog.add_outstanding("m")
    dispatcher._recorder.add(answered, 0.0, answer)
    await dispatcher.run_once()
    assert receiver.requests == []
    assert sorted(row.attempt for row in await outbox.live()) == [0, 1], "what was not sent does not count"


@pytest.mark.parametrize(
    ("url", "secrets", "outcome"),
    [
        ("http://127.0.0.1:9/", ["whsec_c2hvcnQ="], "unsignable"),
        ("http://10.0.0.1/", [SECRET], "egress_denied"),
        ("nowhere", [SECRET], "url_unusable"),
    ],
)
async def test_an_endpoint_that_cannot_be_sent_to_hurts_only_itself(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, *, url: str, secrets: Sequence[str], outcome: str
) -> None:
    await outbox.add_endpoint("broken", url, secrets)
    await outbox.add_endpoint("m", receiver.url("/m"))
    for name in ("broken", "m"):
        await outbox.tell(name, await outbox.add_wallet())
    assert await dispatcher.run_once() == 2
    assert sorted(await outbox.attempts()) == sorted([(1, "ACCEPTED", 200), (1, outcome, None)])


async def test_a_secret_that_cannot_be_decrypted_fails_no_delivery_and_is_named_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    for name in ("lost", "m"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        for _ in range(3):
            await outbox.tell(name, await outbox.add_wallet())
    theirs = Keys([Key("v9", bytes(32))]).seal(SECRET, "secret", "lost")
    await outbox.execute("UPDATE endpoints SET sealed_secrets = :theirs WHERE id = 'lost'", theirs=[theirs])
    dispatcher = Dispatcher(engine, sender, schedule=AT_ONCE)
    with capture_logs() as logs:
        async with running(dispatcher):
            await receiver.arrived(3, "/m", within=WITHIN)
            await asyncio.sleep(1)  # two looks at what is due
        assert await dispatcher.run_once() == 0
    assert [line for line in logs if line.get("endpoint") == "lost"] == [
        {
            "event": "the secret of an endpoint cannot be decrypted",
            "log_level": "error",
            "endpoint": "lost",
            "why": "there is no key of version v9",
        }
    ]
    assert receiver.at("/lost") == []
    assert [(row.endpoint_id, row.status, row.attempt) for row in await outbox.live()] == [("lost", "PENDING", 0)] * 3
    with_key = Dispatcher(engine, sender, keys=Keys([BUILT_IN, Key("v9", bytes(32))]))
    assert await with_key.run_once() == 3

    # by the end of the minute it is looked at again
    monkeypatch.setattr(poster, "_SET_ASIDE_SECONDS", 0)
    await outbox.tell("lost", await outbox.add_wallet())
    for _ in range(2):
        dispatcher = Dispatcher(engine, sender)
        with capture_logs() as logs:
            for _ in range(2):
                assert await dispatcher.run_once() == 0
                await asyncio.sleep(0)
        assert [line["why"] for line in logs] == ["there is no key of version v9"] * 2


async def test_endpoints_that_hang_do_not_keep_others_waiting(
    engine: AsyncEngine, outbox: Outbox, receiver: Receiver
) -> None:
    """A backlog for three that hang, longer due than what a healthy one gets; it is served before any of them is."""
    for name in ("a", "b", "c"):
        receiver.answer(f"/{name}", Answer(200, delay=60))
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        for _ in range(40):
            await outbox.tell(name, await outbox.add_wallet())
    await outbox.add_endpoint("quick", receiver.url("/quick"))
    sender = Sender(version="1", deadline=2, allow=LOOPBACK)
    async with sender, running(Dispatcher(engine, sender, connections=20)):
        await until(lambda: len(receiver.requests) >= 20)
        for _ in range(100):
            await outbox.tell("quick", await outbox.add_wallet())
        await receiver.arrived(100, "/quick")
        hung = len(receiver.requests) - len(receiver.at("/quick"))
    assert hung < 60, "half of the connections at most, a few times over"


async def test_an_attempt_that_is_overdue_narrows_the_window_of_its_endpoint(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """The first attempt hangs, and is not answered yet: a tenth of 20 connections is claimed after it."""
    monkeypatch.setattr(poster, "SLUGGISH", 0.1)
    receiver.answer("/m", Answer(200, delay=60))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    dispatcher = Dispatcher(engine, sender, connections=20, drain_within=0)
    async with running(dispatcher):
        await receiver.arrived(1, "/m")
        await until(lambda: dispatcher._backlog._window("m") == 2)
        for _ in range(5):
            await outbox.tell("m", await outbox.add_wallet())
        dispatcher.wake(["m"])
        await receiver.arrived(2, "/m")
        await until(lambda: not dispatcher._claimer._wake.is_set())
        assert len(receiver.requests) == 2


async def test_new_endpoints_together_get_half_of_the_connections_in_one_claim(
    engine: AsyncEngine, outbox: Outbox, sender: Sender
) -> None:
    """Ten of 20 connections, one each. Those ten failed quickly: they are probed, and hold up no other.

    The two new endpoints that are left get a tenth of the connections each.
    """
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for number in range(12):
            await outbox.add_endpoint(f"m{number}", f"http://127.0.0.1:{nobody.getsockname()[1]}/")
            for _ in range(3):
                await outbox.tell(f"m{number}", await outbox.add_wallet())
        dispatcher = Dispatcher(engine, sender, schedule=AT_ONCE, connections=20)
        assert await dispatcher.run_once() == 10
        await outbox.make_due()
        assert await dispatcher.run_once() == 14


async def test_an_endpoint_that_is_quick_again_is_probed_before_it_gets_half_of_the_connections(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(cut="silently"), Answer(200))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    dispatcher = Dispatcher(engine, sender, schedule=AT_ONCE, connections=20)
    assert await dispatcher.run_once() == 1
    for _ in range(30):
        await outbox.tell("m", await outbox.add_wallet())
    await outbox.make_due()
    assert [await dispatcher.run_once() for _ in range(5)] == [1, 2, 4, 8, 10]


async def test_what_is_under_way_when_it_is_told_to_stop_is_finished_and_the_rest_given_back(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(200, delay=0.5))
    await outbox.add_endpoint("m", receiver.url("/m"))
    for _ in range(10):
        await outbox.tell("m", await outbox.add_wallet())
    async with running(Dispatcher(engine, sender, connections=3)):
        await receiver.arrived(1)
    delivered = len(await outbox.history())
    assert delivered == len(receiver.requests)
    assert [row.attempt for row in await outbox.live()] == [0] * (10 - delivered)
    assert await leased(outbox) == 0


async def test_after_it_is_told_to_stop_it_claims_nothing(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """It puts back what it holds at once, so there would always be room for more."""
    receiver.answer("/m", Answer(200, delay=0.02))
    names = [f"m{number}" for number in range(40)]
    for name in names:
        await outbox.add_endpoint(name, receiver.url("/m"))
        for _ in range(5):
            await outbox.tell(name, await outbox.add_wallet())
    stopping = asyncio.Event()
    claims_after = 0
    claim = deliveries.claim

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal claims_after
        claims_after += stopping.is_set()
        claimed = await claim(*arguments, **named)
        if receiver.requests:
            stopping.set()
        return claimed

    monkeypatch.setattr(deliveries, "claim", counted)
    dispatcher = Dispatcher(engine, sender, connections=2)
    prove(dispatcher, *names)
    async with asyncio.timeout(WITHIN):
        await dispatcher.run(stopping)
    assert claims_after <= 1, "the one that begins before a stop is noticed"
    assert await leased(outbox) == 0
    assert sum(row.attempt for row in await outbox.live()) == 0
    assert len(await outbox.history()) == len(receiver.requests) < 100


async def test_what_a_last_claim_brings_after_everything_is_recorded_is_given_back(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """It is told to stop during a claim, which brings deliveries after the only attempt under way was recorded."""
    for name in ("first", "m"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
    receiver.answer("/first", Answer(200, delay=0.1))
    await outbox.tell("first", await outbox.add_wallet())
    stopping = asyncio.Event()
    claim = deliveries.claim

    async def late(connection: Any, quotas: Any, *arguments: Any, **named: Any) -> Any:
        claimed = await claim(connection, quotas, *arguments, **named)
        if "m" in quotas:
            stopping.set()
            await until_history(outbox, 1)
            await asyncio.sleep(0.05)
        return claimed

    monkeypatch.setattr(deliveries, "claim", late)
    dispatcher = Dispatcher(engine, sender)
    async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
        tasks.create_task(dispatcher.run(stopping))
        await receiver.arrived(1, "/first")
        for _ in range(5):
            await outbox.tell("m", await outbox.add_wallet())
        dispatcher.wake(["m"])
    assert receiver.at("/m") == []
    assert [row.attempt for row in await outbox.live()] == [0] * 5
    assert await leased(outbox) == 0


async def until_history(outbox: Outbox, count: int) -> None:
    while len(await outbox.history()) < count:  # noqa: ASYNC110 - the database has no event to wait for
        await asyncio.sleep(0.01)


async def test_what_is_ready_when_it_is_told_to_stop_is_given_back_and_not_posted(
    engine: AsyncEngine, outbox: Outbox, receiver: Receiver
) -> None:
    """The one under way is finished first. After a drain nothing is leased: others may claim it at once."""
    receiver.answer("/m", Answer(200, delay=3))
    for number in range(6):
        await outbox.add_endpoint(f"m{number}", receiver.url("/m"))
        await outbox.tell(f"m{number}", await outbox.add_wallet())
    async with Sender(version="1", deadline=60, allow=LOOPBACK) as sender:
        dispatcher = Dispatcher(engine, sender, connections=1, lease=timedelta(hours=1), drain_within=60)
        prove(dispatcher, *(f"m{number}" for number in range(6)))
        async with running(dispatcher):
            await receiver.arrived(1)
            await until(lambda: len(dispatcher._poster._ready) == 5)
    assert len(receiver.requests) == 1
    assert [status for _, status, _ in await outbox.history()] == ["DELIVERED"]
    assert [row.attempt for row in await outbox.live()] == [0] * 5
    assert await leased(outbox) == 0


async def test_what_has_waited_for_too_long_in_the_process_is_given_back_and_not_posted(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """Begun later, an attempt would outlast its lease, and another process would make the same one beside it."""
    await outbox.add_endpoint("m", receiver.url("/m"))
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet())
    # a lease as long as an attempt may take leaves no time for waiting
    late = Dispatcher(engine, sender, lease=timedelta(seconds=sender.deadline))
    assert await late.run_once() == 3
    assert receiver.requests == []
    assert [row.attempt for row in await outbox.live()] == [0] * 3
    assert await leased(outbox) == 0
    assert await Dispatcher(engine, sender).run_once() == 3
    assert len(receiver.requests) == 3


async def test_while_too_many_results_wait_for_the_database_nothing_more_is_claimed(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    """After a crash their deliveries are sent again."""
    monkeypatch.setattr("producers.webhooks.recorder._MOST_RESULTS", -1)
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    async with running(dispatcher):
        await asyncio.sleep(0.3)
        assert [row.attempt for row in await outbox.live()] == [0]
        monkeypatch.setattr("producers.webhooks.recorder._MOST_RESULTS", 5000)
        await receiver.arrived(1)


async def test_an_endpoint_that_does_not_answer_has_a_narrower_window_before_its_attempts_end(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    monkeypatch.setattr(poster, "SLUGGISH", 0.05)
    receiver.answer("/m", Answer(200, delay=1))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    prove(dispatcher, "m")
    wide = dispatcher._backlog._window("m")
    async with running(dispatcher):
        await receiver.arrived(1)
        await until(lambda: dispatcher._backlog._window("m") < wide or not dispatcher._backlog.outstanding)
        assert dispatcher._backlog.outstanding == 1


async def leased(outbox: Outbox) -> int:
    ((count,),) = await outbox.execute("SELECT count(leased_until) FROM deliveries")
    return int(count)


async def test_no_transaction_is_open_while_an_endpoint_is_waited_for(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(200, delay=1))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    working = connect(engine.url.render_as_string(hide_password=False))
    dispatcher = Dispatcher(working, sender)
    once = asyncio.create_task(dispatcher.run_once())
    await receiver.arrived(1)
    open_ = await outbox.execute(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND xact_start IS NOT NULL AND backend_type = 'client backend'"
    )
    assert not once.done()
    assert open_ == []
    await once
    await working.dispose()


async def test_many_deliveries_take_few_statements(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    for number in range(10):
        await outbox.add_endpoint(f"m{number}", receiver.url(f"/{number}"))
        for _ in range(20):
            await outbox.tell(f"m{number}", await outbox.add_wallet(), 2)
    statements: list[str] = []
    sqlalchemy_event.listen(engine.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    dispatcher = Dispatcher(engine, sender)
    prove(dispatcher, *(f"m{number}" for number in range(10)))
    attempts = await dispatcher.run_once()
    assert attempts == 200
    assert len(statements) == 7, "a sweep of three, a look, a claim, the results, the next of each line"


async def test_connections_that_the_database_ends_are_made_anew(
    outbox: Outbox, database_url: str, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(200, delay=0.02))
    await outbox.add_endpoint("m", receiver.url("/m"))
    working = connect(database_url)
    async with running(Dispatcher(working, sender, connections=5)):
        for _ in range(5):
            for _ in range(20):
                await outbox.tell("m", await outbox.add_wallet(), 2)
            await outbox.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await outbox.engine.dispose()
        await until_done(outbox)
    await working.dispose()
    assert len(await outbox.history()) == 200
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 200


async def test_a_dispatcher_that_stood_still_past_its_lease_is_refused_and_told(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(200, delay=0.5), Answer(500))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    late = LATE._value.get()
    slow = asyncio.create_task(Dispatcher(engine, sender, schedule=AT_ONCE).run_once())
    await receiver.arrived(1)
    await outbox.make_due()
    assert await Dispatcher(engine, sender, schedule=AT_ONCE).run_once() == 1
    assert await slow == 1
    assert LATE._value.get() == late + 1
    assert await outbox.attempts() == [(2, "status_refused", 500)]


@pytest.mark.parametrize("point", ["claimed", "read", "recorded"])
async def test_a_dispatcher_killed_at_any_point_loses_nothing_and_tells_nothing_else(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver, point: DispatchPoint
) -> None:
    reached = 0

    def kill(at: DispatchPoint) -> None:
        nonlocal reached
        reached += at == point
        if reached >= 3:
            raise Killed

    names = ["m", "n"]
    wallets = [await outbox.add_wallet() for _ in range(4)]
    told: dict[tuple[str, str], list[str]] = {}
    for name in names:
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        for wallet in wallets:
            told[name, wallet] = [*map(event_id, await outbox.tell(name, wallet, 3))]

    with pytest.raises((Killed, BaseExceptionGroup)):
        async with asyncio.timeout(WITHIN):
            await Dispatcher(engine, sender, connections=2, on_point=kill).run(asyncio.Event())
    assert reached >= 3
    await outbox.make_due()
    async with running(Dispatcher(engine, sender)):
        await until_done(outbox)

    assert len(await outbox.history()) == 24
    bodies: dict[str, set[bytes]] = {}
    for request in receiver.requests:
        bodies.setdefault(request.headers["webhook-id"], set()).add(request.body)
    assert sorted(bodies) == sorted(id_ for ids in told.values() for id_ in ids)
    assert all(len(each) == 1 for each in bodies.values())
    for (name, _), ids in told.items():
        arrived = [request.headers["webhook-id"] for request in receiver.at(f"/{name}")]
        firsts = [arrived.index(id_) for id_ in ids]
        assert firsts == sorted(firsts)


async def test_many_dispatchers_share_the_work(
    outbox: Outbox, database_url: str, sender: Sender, receiver: Receiver
) -> None:
    for number in range(5):
        await outbox.add_endpoint(f"m{number}", receiver.url(f"/{number}"))
        for _ in range(20):
            await outbox.tell(f"m{number}", await outbox.add_wallet(), 2)
    engines = [connect(database_url) for _ in range(3)]
    first, second, third = (Dispatcher(each, sender) for each in engines)
    async with running(first), running(second), running(third):
        await until_done(outbox)
    for each in engines:
        await each.dispose()
    assert len(receiver.requests) == 200
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 200


async def test_what_was_parked_although_its_endpoint_is_enabled_is_found_by_the_sweep(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """What a batch that saw the endpoint disabled wrote after it was enabled does not stay behind."""
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE deliveries SET status = 'PARKED'"))
    async with running(Dispatcher(engine, sender)):
        await receiver.arrived(1)
        await until_done(outbox)
