"""Every part of a process gets the settings that are its own, from each place that makes one."""

import ast
import asyncio
import inspect
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from consumers import batch, thin, upkeep
from consumers.worker import Worker
from domain.reconciliation import JobName
from loops.progress import Stalled
from ops import drop_folder, edge, run, work_folders
from ops.commands import dead_letters
from ops.drop_folder import Watch
from ops.open_file import opened
from ops.retention import retention
from ops.run import Parts, Role, assembled
from ops.settings import Settings
from ops.terminal import Failed
from ops.vendor_addresses import vendor_client
from producers.vendors.client import VendorAddress
from reconciliation.catalog import Kept
from schemas.feeds import FEEDS
from schemas.fingerprint import Fingerprints, Key
from store.dead_letters import DeadLetterRow
from wallets import unfinished
from wallets.change import Retention

ROOT = Path(__file__).parents[2]

NETWORK = ip_network("10.1.0.0/16")
DIGIT_IDS = frozenset({"visa-tms", "customer"})
AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def settings() -> Settings:
    """Every setting that a part gets, with a value that is no default."""
    return Settings.model_validate(
        {
            "kafka_bootstrap_servers": "kafka:9093",
            "kafka_topic": "updates",
            "kafka_thin_topic": "thin",
            "kafka_group": "group",
            "kafka_session_timeout": "7s",
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": "us",
            "kafka_sasl_password": "secret of Kafka",
            "consumer_lanes": 3,
            "batch_size": 11,
            "batch_wait": "70ms",
            "fingerprint_key": f"v2:{'22' * 32}",
            "fingerprint_key_former": f"v1:{'11' * 32}",
            "secrets_key": f"v3:{'33' * 32}",
            "feed_secrets": '{"vau": ["new secret of 24 chars..", "old secret of 24 chars.."]}',
            "feed_fetch": '{"adyen": {"url": "https://adyen.example/v1", "bearer": "ours", "allow": ["10.2.0.0/16"]}}',
            "parked_for": "5h",
            "knowledge_for": "90d",
            "history_for": "60d",
            "reconcile_every": "links=2h",
            "events_for": "61d",
            "inbox_for": "62d",
            "dead_letters_for": "63d",
            "audit_for": "64d",
            "customer_identifiers": "metadata.who",
            "digit_ids": "visa-tms,customer",
            "egress_allow": "10.1.0.0/16",
            "retry_schedule": "1s,2s",
            "delivery_timeout": "11s",
            "delivery_connections": 13,
            "delivery_lease": "31s",
            "drain_timeout": "17s",
            "api_port": 0,
        }
    )


SECURITY = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "us",
    "sasl_plain_password": "secret of Kafka",
}
RETENTION = Retention(known=timedelta(days=90), unknown=timedelta(hours=5))


@pytest.fixture
def engine() -> AsyncEngine:
    """Never connected: nobody listens there."""
    return create_async_engine("postgresql+asyncpg://127.0.0.1:1/x", execution_options={"repoint_pooled": False})


def assert_reads(worker: Worker, *, topic: str, group: str, lanes: int) -> None:
    assert worker._bootstrap_servers == "kafka:9093"
    assert (worker._topic, worker._group, worker._lanes) == (topic, group, lanes)
    assert (worker._batch_size, worker._batch_wait) == (11, 0.07)
    assert (worker._drain_within, worker._session_timeout) == (17, 7)
    assert worker._security == SECURITY
    assert worker._intake._retention == RETENTION
    assert worker._intake._digit_ids == DIGIT_IDS


def test_what_each_role_does_and_needs() -> None:
    """Whether it consumes, delivers, reconciles and listens; whether it needs a broker and a database."""
    shown = {
        role.value: (
            *(role.consumes, role.delivers, role.reconciles, role.listens),
            *(role.needs_broker, role.needs_database),
        )
        for role in Role
    }
    assert shown == {
        "all": (True, True, True, True, True, True),
        "consume": (True, False, False, False, True, True),
        "deliver": (False, True, False, False, False, True),
        "reconcile": (False, False, True, False, False, True),
        "api": (False, False, False, True, True, False),
    }


def test_the_worker_of_updates(settings: Settings, engine: AsyncEngine) -> None:
    due: list[Any] = []
    worker = run._worker(settings, engine, "kafka:9093", on_due=due.append, on_replaced=due.append)
    assert_reads(worker, topic="updates", group="group", lanes=3)
    assert not worker._optional
    take_in: Any = worker._intake._take_in_whole
    assert (take_in.func, take_in.keywords) == (
        batch.take_in,
        {"identifiers": {"enterpriseId", "hsid", "metadata.who"}},
    )
    worker._intake._on_due({"m-1"})
    worker._intake._on_replaced({"vau": 2})
    assert due == [{"m-1"}, {"vau": 2}]


def test_the_worker_of_thin_events(settings: Settings, engine: AsyncEngine) -> None:
    """In a group of its own, with one lane; its topic may be missing."""
    worker = run._thin_worker(settings, engine, "kafka:9093")
    assert_reads(worker, topic="thin", group="group-thin", lanes=1)
    assert worker._optional
    assert worker._intake._take_in_whole is thin.take_in


async def test_the_fetcher_and_its_vendors(settings: Settings, engine: AsyncEngine) -> None:
    vendors = vendor_client(settings)
    assert vendors._addresses == {
        "adyen": VendorAddress("https://adyen.example/v1", "Bearer ours", (ip_network("10.2.0.0/16"),))
    }
    assert vendors._allow == (NETWORK,)
    publisher = run._publisher(settings, "kafka:9093")
    fetcher = run._fetcher(settings, engine, vendors, publisher)
    assert fetcher._vendors is vendors
    assert fetcher._send == publisher.send
    assert fetcher._drain_within == 17
    assert fetcher._digit_ids == DIGIT_IDS
    made = fetcher._edge(AT)
    assert (made.at, made.digit_ids) == (AT, DIGIT_IDS)
    assert made.fingerprints == edge.fingerprints(settings)


async def test_without_addresses_no_vendor_is_asked(settings: Settings) -> None:
    assert vendor_client(settings).feeds == {"adyen"}
    assert vendor_client(settings.model_copy(update={"feed_fetch": None})).feeds == frozenset()


def test_the_publisher(settings: Settings) -> None:
    publisher = run._publisher(settings, "kafka:9093")
    assert (publisher._topic, publisher._thin_topic) == ("updates", "thin")
    assert publisher._producer._arguments["bootstrap_servers"] == "kafka:9093"
    assert publisher._producer._arguments.items() >= SECURITY.items()


async def test_the_listener(settings: Settings) -> None:
    publisher = run._publisher(settings, "kafka:9093")
    async with run._listener(settings, publisher) as listener:
        assert (listener._host, listener._drain_within) == ("127.0.0.1", 17)
        (route,) = listener._runner.app.router.routes()
        intake = route.handler.__self__  # type: ignore[attr-defined]  # a bound method
    assert intake._secrets == {"vau": ["new secret of 24 chars..", "old secret of 24 chars.."]}
    assert intake._send == publisher.send
    assert intake._rows is edge.rows
    made = intake._edge()
    assert made.digit_ids == DIGIT_IDS
    assert made.fingerprints == edge.fingerprints(settings)
    assert abs(datetime.now(UTC) - made.at) < timedelta(seconds=10)


async def test_the_dispatcher_and_its_sender(settings: Settings, engine: AsyncEngine) -> None:
    sender = run._sender(settings)
    assert (sender.deadline, sender._egress.allow) == (11, (NETWORK,))
    topics = run._topics(settings, "kafka:9093")
    assert topics._deadline == 11
    assert topics._producer._arguments.items() >= {**SECURITY, "bootstrap_servers": "kafka:9093", "acks": "all"}.items()
    dispatcher = run._dispatcher(settings, engine, sender, {"kafka": topics})
    assert dispatcher._poster._destinations == {"kafka": topics}
    assert dispatcher._recorder._schedule == (timedelta(seconds=1), timedelta(seconds=2))
    assert (dispatcher._poster._sender, dispatcher._poster._connections) == (sender, 13)
    assert dispatcher._backlog._connections == 13
    assert dispatcher._claimer._lease == dispatcher._recorder._lease == timedelta(seconds=31)
    assert dispatcher._poster._patience == (31 - 11) / 2
    assert dispatcher._drain_within == 17
    assert repr(dispatcher._poster._keys) == "Keys(['v3', '0'])"


async def test_what_is_kept_for_how_long(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, engine: AsyncEngine
) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    async def note(*arguments: Any, **named: Any) -> None:
        calls.append((arguments, named))

    monkeypatch.setattr(upkeep, "run", note)
    monkeypatch.setattr(unfinished, "run", note)
    stopping, on_due = asyncio.Event(), print
    await run._keep_up(settings, engine, stopping)
    await run._finish_updates(settings, engine, on_due, stopping)
    assert calls == [
        (
            (engine, upkeep.Keep(timedelta(hours=5), *map(timedelta, (60, 61, 62, 63, 64)))),
            {"stopping": stopping},
        ),
        ((engine, RETENTION), {"stopping": stopping, "on_due": on_due}),
    ]


def test_the_keys_for_fingerprints(settings: Settings) -> None:
    assert edge.fingerprints(settings) == Fingerprints(Key("v2", b"\x22" * 32), Key("v1", b"\x11" * 32))
    single = settings.model_copy(update={"fingerprint_key_former": None})
    assert edge.fingerprints(single) == Fingerprints(Key("v2", b"\x22" * 32), None)
    assert edge.fingerprints(settings.model_copy(update={"fingerprint_key": None})) is None


def test_a_watched_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "file.csv").touch()
    os.utime(tmp_path / "file.csv", (AT.timestamp(), AT.timestamp()))
    traces = {"021000020000001": {"token": "acct-1"}}
    with work_folders.opened(tmp_path / "in", None) as folders, opened(tmp_path / "file.csv") as file:
        made = drop_folder._edge(Watch(folders, FEEDS["vau"], settings, "kafka:9093", traces), file)
    assert (made.at, made.traces, made.digit_ids) == (AT, traces, DIGIT_IDS)
    assert made.fingerprints == edge.fingerprints(settings)


async def test_reconciliation(settings: Settings, engine: AsyncEngine) -> None:
    async with assembled(settings, Role.RECONCILE, engine, "") as parts:
        reconciling: Any = parts.jobs["reconciliation"].__self__  # type: ignore[attr-defined]  # a bound method
    assert reconciling._kept == Kept(RETENTION, history=timedelta(days=60))
    assert reconciling._every == {JobName.LINKS: timedelta(hours=2)}


def test_how_long_an_import_keeps_what_is_known(settings: Settings) -> None:
    assert retention(settings) == RETENTION


# Digits that pass for a card number: an id of Visa's where its settings say so.
DIGITS = "4539578763621486"
UPDATE = {
    "id": "1",
    "vendor": "visa-tms",
    "type": "CLOSED",
    "occurredAt": "2026-11-20T00:00:00Z",
    "old": {"token": DIGITS},
}
THIN_EVENT = {
    "feed": "visa-tms",
    "path": f"tms/v1/paymentinstruments/{DIGITS}",
    "record": {"token": DIGITS},
    "at": "2026-11-20T00:00:00Z",
}


@pytest.mark.parametrize(("topic", "body", "is_thin"), [("updates", UPDATE, False), ("thin", THIN_EVENT, True)])
def test_a_dead_letter_that_is_replayed(settings: Settings, topic: str, body: object, *, is_thin: bool) -> None:
    letter = DeadLetterRow(1, topic, 0, 0, "reason", None, AT, "OPEN")
    written = json.dumps(body).encode()
    line = dead_letters._line(letter, [("name", "value")], written, None, settings)
    (message,) = line.messages
    assert (message.value, message.headers, message.thin) == (written, [("name", b"value")], is_thin)
    with pytest.raises(Failed, match=r"would not be readable now either: .*no card number"):
        dead_letters._line(letter, [], written, None, settings.model_copy(update={"digit_ids": frozenset()}))


@pytest.mark.parametrize(
    ("role", "jobs", "ready", "watched"),
    [
        (Role.API, ["feeds"], ["feeds"], []),
        (Role.DELIVER, ["dispatcher", "notices", "replays"], ["dispatcher"], ["dispatcher"]),
        (
            Role.CONSUME,
            [
                *("consumer", "delivery gauges", "fetcher", "held updates", "notices", "thin events"),
                *("unfinished updates", "upkeep", "vendor watch"),
            ],
            ["consumer", "thin events"],
            ["consumer", "fetcher", "held updates", "thin events"],
        ),
        (Role.RECONCILE, ["reconciliation"], [], []),
        (
            Role.ALL,
            [
                "consumer",
                "delivery gauges",
                "dispatcher",
                "feeds",
                "fetcher",
                "held updates",
                "notices",
                "reconciliation",
                "replays",
                "thin events",
                "unfinished updates",
                "upkeep",
                "vendor watch",
            ],
            ["consumer", "dispatcher", "feeds", "thin events"],
            ["consumer", "dispatcher", "fetcher", "held updates", "thin events"],
        ),
    ],
)
async def test_the_parts_of_a_role(
    settings: Settings, engine: AsyncEngine, role: Role, *, jobs: list[str], ready: list[str], watched: list[str]
) -> None:
    """A part that is not watched may hang for ever, and one that is not asked whether it is ready never says so."""
    async with assembled(settings, role, engine, "kafka:9093") as parts:
        assert sorted(parts.jobs) == sorted([*jobs, "summary", "watchdog"])
        assert sorted(parts.ready) == ready
        owners = {id(job.__self__): name for name, job in parts.jobs.items() if hasattr(job, "__self__")}
        asked = [ask.__self__ for ask in parts.stalled]  # type: ignore[attr-defined]  # bound methods
        assert sorted(owners[id(owner)] for owner in asked) == watched


async def test_without_secrets_nothing_is_listened_for(settings: Settings, engine: AsyncEngine) -> None:
    quiet = settings.model_copy(update={"feed_secrets": None})
    async with assembled(quiet, Role.ALL, engine, "kafka:9093") as parts:
        assert "feeds" not in {*parts.jobs, *parts.ready}


@pytest.mark.parametrize("role", [Role.DELIVER, Role.CONSUME])
async def test_behind_a_pooler_no_notices_are_sent_or_listened_to(
    settings: Settings, engine: AsyncEngine, role: Role
) -> None:
    pooled = engine.execution_options(repoint_pooled=True)
    async with assembled(settings, role, pooled, "kafka:9093") as parts:
        assert "notices" not in parts.jobs


async def test_new_deliveries_go_to_the_dispatcher_of_the_process_or_are_noticed_to_others(
    settings: Settings, engine: AsyncEngine
) -> None:
    dispatcher = run._dispatcher(settings, engine, run._sender(settings), {})
    parts = Parts()
    assert run._on_due(parts, engine, dispatcher) == dispatcher.wake
    assert parts.jobs == {}
    add: Any = run._on_due(parts, engine, None)
    assert parts.jobs == {"notices": add.__self__.run}
    add({"m-1"})
    assert add.__self__._due == {"m-1"}


async def test_what_is_asked_whether_the_process_is_ready(engine: AsyncEngine) -> None:
    stopping = asyncio.Event()
    parts = Parts(ready={"consumer": lambda: "the broker: not connected yet", "dispatcher": lambda: None})
    probes = run._probes(parts, None, stopping)
    others = {"consumer": "the broker: not connected yet", "dispatcher": None}
    assert {name: await ask() for name, ask in probes.items()} == {"database": None, "stopping": None} | others
    stopping.set()
    assert await probes["stopping"]() == "draining: told to stop"
    assert await run._probes(parts, engine, stopping)["database"]() is not None


async def test_a_part_that_stands_still_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.01)
    later = iter([None, None, "the fetcher has made no progress for 181 s"])
    parts = Parts(stalled=[lambda: None, lambda: next(later)])
    async with asyncio.timeout(30):
        with pytest.raises(Stalled, match=r"^the fetcher has made no progress for 181 s$"):
            await run._watch(parts, asyncio.Event())
        stopping = asyncio.Event()
        stopping.set()
        await run._watch(parts, stopping)


# --- every call in the program ------------------------------------------------------------------------------------

# Parameters that carry a setting. Their defaults are for tests: the program itself always passes a value on.
CARRIERS = {
    "allow",
    "digit_ids",
    "drain_within",
    "fingerprints",
    "identifiers",
    "parked_for",
    "security",
    "session_timeout",
    "thin_topic",
}
# Calls without them, and why.
WITHOUT = {
    "consumers.letters.dead_letter: mask_message without digit_ids": "keys and headers have no fields",
    "consumers.letters._beginning: mask_message without digit_ids": "half a message has no fields",
    "ops.edge._is_canonical: parse without digit_ids": "a format is detected without settings",
    "ops.run._worker: batch.take_in without digit_ids": "the worker passes them",
    "ops.run._held_intake: batch.take_in without digit_ids": "the intake passes them",
}


CALLERS = ("api", "consumers", "ops", "producers", "store", "wallets")
CALLED = (*CALLERS, "schemas")


def calls_without_a_carrier(module: ModuleType) -> Iterator[str]:
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            target, positional, named = call.func, len(call.args), {keyword.arg for keyword in call.keywords}
            if ast.unparse(target) == "partial" and call.args:
                target, positional = call.args[0], positional - 1
            for name in lacking(module, target, positional, named):
                yield f"{module.__name__}.{function.name}: {ast.unparse(target)} without {name}"


def lacking(module: ModuleType, target: ast.expr, positional: int, named: set[str | None]) -> list[str]:
    """The carriers of `target`, a name or a member of one, that a call with these arguments leaves out."""
    try:
        called = resolved(module, target)
        parameters = (
            list(inspect.signature(called).parameters)
            if called.__module__.startswith(CALLED) and called is not Settings
            else []
        )
    except (AttributeError, TypeError, ValueError):
        return []  # a local name, or a function without a signature
    return [] if None in named else [name for name in parameters[positional:] if name in CARRIERS - named]


def resolved(module: ModuleType, name: ast.expr) -> Any:
    if isinstance(name, ast.Name):
        return getattr(module, name.id)
    if isinstance(name, ast.Attribute):
        return getattr(resolved(module, name.value), name.attr)
    raise TypeError


def test_each_call_in_the_program_passes_settings_on() -> None:
    files = sorted(file for package in CALLERS for file in (ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.name != "__init__.py"]
    modules = [sys.modules.get(name) or import_module(name) for name in names if "migrations" not in name]
    assert {line for module in modules for line in calls_without_a_carrier(module)} == {*WITHOUT}
