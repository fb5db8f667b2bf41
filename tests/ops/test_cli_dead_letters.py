"""What a person can do with messages that nobody could read."""

import json
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.canonical import UNREADABLE_HEADER, parse
from store import dead_letters
from store.dead_letters import DeadLetter, MaskedHeaders
from testbed.kafka import Broker
from tests.acceptance.lines import replaced
from tests.acceptance.program import Program
from tests.parts.small_batches import limit_batches

READABLE = json.dumps(replaced(1)).encode()
MASKED = json.dumps(replaced(2, new="****************")).encode()
BROKEN = b'{"id": "half a'


@pytest.fixture
async def program(tmp_path: Path, engine: AsyncEngine, database_url: str, kafka: str, topic: str) -> Program:
    """With three letters: 1 became readable, 2 held a card number, 3 is half a message."""
    async with engine.begin() as connection:
        await dead_letters.keep(
            connection,
            [
                DeadLetter(topic, 0, offset, blake2b(body, digest_size=16).digest(), reason, "vau:tok_1", body)
                for offset, (body, reason) in enumerate(
                    [
                        (READABLE, "type: unknown"),
                        (MASKED, "$.new.token: expected no card number"),
                        (BROKEN, "message: JSON"),
                    ]
                )
            ],
        )
    return Program(tmp_path, DATABASE_URL=database_url, KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC=topic)


async def status(program: Program) -> list[str]:
    return [one["status"] for one in (await program("dead-letters", "list", "--status", "any", "--json")).json()]


async def on_topic(kafka: str, topic: str) -> list[Any]:
    """All messages that the topic has at this moment."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        consumer.subscribe([topic])
        got: list[Any] = []
        while more := await consumer.getmany(timeout_ms=2000):
            got += [one for each in more.values() for one in each]
        return got


async def test_letters_are_listed_and_shown(program: Program) -> None:
    listed = (await program("dead-letters", "list", "--json")).json()
    assert [(one["id"], one["offset"], one["status"]) for one in listed] == [
        (1, 0, "OPEN"),
        (2, 1, "OPEN"),
        (3, 2, "OPEN"),
    ]
    assert [
        one["id"] for one in (await program("dead-letters", "list", "--after", "1", "--limit", "1", "--json")).json()
    ] == [2]
    shown = (await program("dead-letters", "show", "3", "--json")).json()
    assert (shown["reason"], shown["body"]) == ("message: JSON", BROKEN.decode())
    assert BROKEN.decode() in (await program("dead-letters", "show", "3")).well().out
    unknown = await program("dead-letters", "show", "4")
    assert (unknown.code, unknown.err) == (1, "repoint: there is no dead letter 4\n")


async def test_a_letter_that_became_readable_is_put_on_the_topic_again(
    program: Program, kafka: str, topic: str
) -> None:
    assert "would replay 1" in (await program("dead-letters", "replay", "1", "--dry-run")).well().out
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]
    # named twice, it is sent once
    assert (await program("dead-letters", "replay", "1", "1")).well().out == "replayed 1\n"
    assert await status(program) == ["REPLAYED", "OPEN", "OPEN"]
    [message] = await on_topic(kafka, topic)
    assert (message.key, message.value, message.headers) == (b"vau:tok_1", READABLE, ())
    again = await program("dead-letters", "replay", "1")
    assert again.code == 1
    assert "was replayed before" in again.err


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("1", "2"), "dead letter 2 held a card number"),
        (("3",), "dead letter 3 would not be readable"),
        (("9",), "no dead letter 9"),
    ],
)
async def test_what_would_only_come_back_is_not_replayed(
    program: Program, kafka: str, topic: str, ids: tuple[str, ...], said: str
) -> None:
    ended = await program("dead-letters", "replay", *ids)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]
    assert await on_topic(kafka, topic) == []


async def test_a_mended_letter_is_sent_in_place_of_the_kept_one(program: Program, kafka: str, topic: str) -> None:
    mended = program.write("mended.json", replaced(2, new="tok_2_new"))
    assert (await program("dead-letters", "replay", "2", "3", "--body", mended)).code == 2
    (await program("dead-letters", "replay", "2", "--body", mended)).well()
    [message] = await on_topic(kafka, topic)
    # without the line end that the file has
    assert (message.key, message.value) == (b"vau:tok_2", json.dumps(replaced(2, new="tok_2_new")).encode())
    assert await status(program) == ["OPEN", "REPLAYED", "OPEN"]


async def keep(engine: AsyncEngine, topic: str, body: bytes, headers: MaskedHeaders) -> str:
    """One more letter; its number."""
    async with engine.begin() as connection:
        digest = blake2b(body, digest_size=16).digest()
        await dead_letters.keep(connection, [DeadLetter(topic, 1, 0, digest, "why", None, body, headers)])
    return "4"


async def test_a_binary_cloud_event_is_sent_again_with_its_headers(
    program: Program, engine: AsyncEngine, kafka: str, topic: str
) -> None:
    """Its id and its time stand nowhere else."""
    body = json.dumps({name: value for name, value in replaced(4).items() if name not in {"id", "occurredAt"}}).encode()
    headers = [
        ("ce_id", "vau-4"),
        ("ce_time", "2026-11-20T09:14:13.512Z"),
        ("ce_größe", None),
        ("content-type", "x\ty"),
    ]
    letter = await keep(engine, topic, body, headers)
    shown = await program("dead-letters", "show", letter, "--json")
    assert shown.json()["headers"] == [list(one) for one in headers]
    lines = (await program("dead-letters", "show", letter)).well().out.splitlines()
    assert {"header     ce_id: vau-4", "header     content-type: x\\x09y"} <= set(lines)
    (await program("dead-letters", "replay", letter)).well()
    [message] = await on_topic(kafka, topic)
    assert (message.key, message.value) == (b"vau:tok_4", body)
    assert message.headers == tuple((name, None if value is None else value.encode()) for name, value in headers)
    assert parse(message.value, message.headers).update.stamp.update_id == "vau-4"


async def test_each_byte_of_a_body_that_is_no_text_is_shown(program: Program, engine: AsyncEngine, topic: str) -> None:
    letter = await keep(engine, topic, b'{"a": "\xff\x80"}\nb', [])
    assert (await program("dead-letters", "show", letter)).well().out.endswith('\n\n{"a": "\\xff\\x80"}\nb\n')
    shown = (await program("dead-letters", "show", letter, "--json")).json()
    assert shown["body"] == '{"a": "\\xff\\x80"}\nb'


@pytest.mark.parametrize(
    ("masked", "left"),
    [
        ([("ce_id", "vau-1"), ("ce_source", "card ****************")], [("ce_id", b"vau-1")]),
        ([(UNREADABLE_HEADER, "$.a: expected no card number"), ("x", "y")], [("x", b"y")]),
    ],
)
async def test_a_letter_that_was_masked_in_its_headers_goes_out_without_them_and_mended(
    program: Program, engine: AsyncEngine, kafka: str, masked: MaskedHeaders, left: object
) -> None:
    topic = program.settings["KAFKA_TOPIC"]
    letter = await keep(engine, topic, READABLE + b" ", masked)
    ended = await program("dead-letters", "replay", letter)
    assert (ended.code, "held a card number" in ended.err) == (1, True)
    stars = program.write("stars.json", replaced(2, new="****************"))
    ended = await program("dead-letters", "replay", letter, "--body", stars)
    assert (ended.code, "held a card number" in ended.err) == (1, True)
    (await program("dead-letters", "replay", letter, "--body", program.write("mended.json", replaced(2)))).well()
    [message] = await on_topic(kafka, topic)
    assert list(message.headers) == left


async def test_without_a_broker_a_letter_stays_open(program: Program) -> None:
    ended = await program("dead-letters", "replay", "1", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (ended.code, ended.err) == (1, "repoint: no broker at 127.0.0.1:1 (REPOINT_KAFKA_BOOTSTRAP_SERVERS)\n")
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]


async def test_a_letter_that_the_broker_does_not_take_stays_open(
    program: Program, engine: AsyncEngine, broker: Broker, topic: str
) -> None:
    letter = await keep(engine, topic, json.dumps(replaced(5) | {"note": secrets.token_urlsafe(5_000)}).encode(), [])
    await limit_batches(broker, topic, 1_000)
    ended = await program("dead-letters", "replay", letter)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "repoint: the broker did not take 1 of 1 dead letter: too long for it; none was closed\n"
    assert await status(program) == ["OPEN"] * 4


async def test_letters_are_discarded_by_range_reason_and_time(program: Program) -> None:
    arguments = ("dead-letters", "discard", "2-900", "--reason", "expected", "--before", "2199-01-01")
    assert (await program(*arguments, "--dry-run")).well().out == "would discard 1 dead letter\n"
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]
    assert (await program(*arguments)).well().out == "discarded 1 dead letter\n"
    assert await status(program) == ["OPEN", "DISCARDED", "OPEN"]
    for other in (("--reason", "of another kind"), ("--before", "2000-01-01")):
        for named in (("3",), ("1-3",), ()):
            ended = await program("dead-letters", "discard", *named, *other)
            assert ended.well().out == "discarded 0 dead letters\n"
    assert await status(program) == ["OPEN", "DISCARDED", "OPEN"]
    for nothing in ((), ("4-1",), ("1-",), ("--before", "yesterday")):
        ended = await program("dead-letters", "discard", *nothing)
        assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("reason", ["", " "])
async def test_no_reason_is_not_every_reason(program: Program, reason: str) -> None:
    """What `--reason "$REASON"` is where the variable is not set."""
    ended = await program("dead-letters", "discard", "--reason", reason)
    assert (ended.code, "--reason: expected a text" in ended.err) == (2, True)
    assert len((await program("dead-letters", "list", "--json")).json()) == 3


async def test_letters_are_discarded_all_or_none(program: Program) -> None:
    (await program("dead-letters", "discard", "2", "3", "--dry-run")).well()
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]
    assert (await program("dead-letters", "discard", "2", "9")).code == 1
    assert await status(program) == ["OPEN", "OPEN", "OPEN"]
    assert (await program("dead-letters", "discard", "2", "3", "2")).well().out == "discarded 2, 3\n"
    assert await status(program) == ["OPEN", "DISCARDED", "DISCARDED"]
    again = await program("dead-letters", "discard", "1", "2")
    assert (again.code, again.err) == (1, "repoint: 2: expected a dead letter that is open; nothing was changed\n")
    assert await status(program) == ["OPEN", "DISCARDED", "DISCARDED"]
    assert [one["id"] for one in (await program("dead-letters", "list", "--json")).json()] == [1]


async def test_selected_letters_are_replayed_and_those_that_cannot_be_stay_open(
    program: Program, kafka: str, topic: str
) -> None:
    replay = ("dead-letters", "replay", "--topic", topic, "--since", "2026-01-01")
    would = (await program(*replay, "--dry-run")).well().out
    assert would == "would replay 1 dead letter, 2 stay open: they cannot be replayed as they are\n"
    assert await status(program) == ["OPEN"] * 3
    assert (await program(*replay)).well().out == would.replace("would replay", "replayed")
    assert await status(program) == ["REPLAYED", "OPEN", "OPEN"]
    (message,) = await on_topic(kafka, topic)
    assert message.value == READABLE
    assert (await program(*replay)).well().out.startswith("replayed 0 dead letters, 2 stay open")
    (act,) = (await program("audit", "list", "--json")).json()
    assert (act["action"], act["after"]) == ("dead letters replayed", {"count": 1, "from": 1, "to": 1})


async def test_letters_of_one_reason_are_replayed(program: Program) -> None:
    assert (await program("dead-letters", "replay", "--reason", "unknown")).well().out == "replayed 1 dead letter\n"
    assert await status(program) == ["REPLAYED", "OPEN", "OPEN"]


@pytest.mark.parametrize(
    "words", [(), ("1", "--reason", "r"), ("--reason", "r", "--body", "README"), ("--reason", " ")]
)
async def test_a_replay_is_of_ids_or_of_a_selection(program: Program, words: tuple[str, ...]) -> None:
    program.write("README", "x")
    assert (await program("dead-letters", "replay", *words)).code == 2
    assert await status(program) == ["OPEN"] * 3


async def test_letters_are_discarded_by_topic_and_since(program: Program, topic: str) -> None:
    assert (await program("dead-letters", "discard", "--topic", "other")).well().out == "discarded 0 dead letters\n"
    discard = ("dead-letters", "discard", "--topic", topic, "--since", "2026-01-01")
    assert (await program(*discard, "--dry-run")).well().out == "would discard 3 dead letters\n"
    assert (await program(*discard)).well().out == "discarded 3 dead letters\n"
    assert await status(program) == ["DISCARDED"] * 3
