"""Card numbers in every form, wherever they can stand: none is left on the topic, in a table, a file or a log."""

import asyncio
import base64
import json
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.feeds import FEEDS
from testbed.kafka import Broker
from tests.acceptance.program import Ended, Program
from tests.acceptance.test_feeds import KEY, everything
from tests.api.posting import make_topic
from tests.parts.card_numbers import in_json
from tests.parts.thorough import sampled
from tests.parts.until import until
from tests.producers import canaries

AT_ONCE = 2


class Sent(NamedTuple):
    """A message; `header` is the value of one header and the name of another."""

    body: str
    key: str | None
    header: str | None


async def test_no_number_is_left_anywhere(
    tmp_path: Path, engine: AsyncEngine, database_url: str, kafka: str, topic: str
) -> None:
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        FINGERPRINT_KEY=KEY,
        HTTP_PORT="0",
    )
    feeds = sampled([feed for feed in FEEDS.values() if feed.fetched is None], 8)
    written = {feed.name: canaries.file(feed) for feed in feeds}
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
        assert canaries.is_in(content[: len(content) // 10].decode(errors="replace"))
    told: dict[str, str] = {}
    room = asyncio.Semaphore(AT_ONCE)

    async def ingest(name: str) -> None:
        async with room:
            ended = await program("ingest", "--format", name, name)
        told[name] = ended.out + ended.err

    async with asyncio.TaskGroup() as group:
        for name in written:
            group.create_task(ingest(name))
    messages = await everything(kafka, topic)
    assert len(messages) > 1000

    async def taken_in() -> bool:
        async with engine.connect() as connection:
            count = "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM dead_letters)"
            return bool(await connection.scalar(text(count)) == len(messages))

    async with program.going("run", "--role", "consume") as worker:
        await until(taken_in, within=500)
        assert await worker.stop() == 0
    told["run"] = "".join(worker.lines)
    told["letters"] = (await program("dead-letters", "list", "--json")).well().out
    told |= {
        f"on the topic, {at}": f"{each.key!r} {(each.value or b'').decode()} {each.headers}"
        for at, each in enumerate(messages)
    }
    told |= {str(file): file.read_text() for file in tmp_path.rglob("*") if file.is_file() and file.name not in written}
    told |= await tables(engine)
    assert [where for where, shown in told.items() if canaries.is_in(shown)] == []


PLACES = (
    "id", "vendor", "type", "reason", "occurredAt", "old.token", "old.fingerprint", "old.formerFingerprint",
    "old.methodType", "new.token", "new.fingerprint", "new.last4", "new.brand", "new.expiryMonth", "new.expiryYear",
    "new.par", "new.name", "new.nameOnCard", "new.nameOnAccount", "new.zipCode", "new.accountType", "new.bankName",
    "new.manufacturerCard", "customer.enterpriseId", "customer.hsid", "customer.metadata.patientId", "extra",
    "new.extra",
)  # fmt: skip


async def test_no_number_is_left_of_messages_wallets_merchants_and_names(
    tmp_path: Path, engine: AsyncEngine, database_url: str, broker: Broker, topic: str
) -> None:
    """In every form: in each field of an update, in its key and headers, in a CloudEvent, a thin event, and files."""
    kafka, thin_topic = broker.servers, await make_topic(broker.servers, real=broker.real)
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        KAFKA_THIN_TOPIC=thin_topic,
        HTTP_PORT="0",
    )
    merchant = {"id": "m-1", "name": "Shop", "endpoints": []}
    program.write("merchants.jsonl", merchant)
    program.write("wallets.jsonl", wallet(1))
    (await program("merchants", "import", "merchants.jsonl")).well()
    (await program("wallets", "import", "wallets.jsonl")).well()
    planted = program.write("planted-wallets.jsonl", *map(in_json, wallets()))
    told = {"wallets": shown(await program("wallets", "import", "--skip-invalid", planted))}
    for number, form in enumerate(sampled(canaries.TEXTS[::10], 5)):
        file = program.write(f"merchants-{number}", {**merchant, "name": form})
        told[f"merchants {number}"] = shown(await program("merchants", "import", file))
    names = [form for form in canaries.TEXTS if len(form.encode()) < 200 and not set(form) & set("/\0\n\r")]
    for name in sampled(names[::4], 8):
        program.write(name, json.dumps(update()).replace("SUSPENDED", "NONE"), "{")
        told[f"a name, {name!r}"] = shown(await program("ingest", "--format", "canonical", "--dry-run", name))
        told[f"a name, {name!r}, again"] = shown(await program("ingest", "--format", "canonical", name))
    before = len(await everything(kafka, topic))
    sent = await send(kafka, topic, messages())
    thin = await send(kafka, thin_topic, [Sent(thin_event(form), form, form) for form in canaries.TEXTS])

    async def taken_in() -> bool:
        async with engine.connect() as connection:
            count = "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM dead_letters)"
            return bool(await connection.scalar(text(count)) == before + sent + thin)

    async with program.going("run", "--role", "consume", BATCH_SIZE="100") as worker:
        await until(taken_in, within=300)
        assert await worker.stop() == 0
    told["run"] = "".join(worker.lines)
    told["letters"] = (await program("dead-letters", "list", "--json")).well().out
    told["export"] = (await program("wallets", "export")).well().out
    beside = enumerate(tmp_path.rglob("*.refused"))
    told |= {f"refused lines, {number}": file.read_text(errors="replace") for number, file in beside}
    told |= await tables(engine)
    assert [where for where, shown in told.items() if canaries.is_in(shown)] == []


def shown(ended: Ended) -> str:
    return ended.out + ended.err


def update() -> dict[str, Any]:
    return {
        "id": "u-1",
        "vendor": "vau",
        "type": "SUSPENDED",
        "occurredAt": "2026-11-20T09:14:13Z",
        "old": {"token": "tok_1"},
        "new": {"token": "tok_2"},
        "customer": {"enterpriseId": "e-1", "metadata": {}},
    }


def in_place(path: str, value: object) -> dict[str, Any]:
    message = update()
    *above, last = path.split(".")
    inner = message
    for name in above:
        inner = inner[name]
    inner[last] = value
    return message


def messages() -> list[Sent]:
    bodies = [in_place(path, form) for path in PLACES for form in sampled([*canaries.FORMS.values()], 8)]
    bodies += [in_place("customer.metadata", {form: "x"}) for form in canaries.TEXTS]
    for form in canaries.FORMS.values():
        event = {"specversion": "1.0", "id": form, "data": update()}
        bodies += [event, {**event, "id": "e", "subject": form}]
        inner = in_json(in_place("new.nameOnCard", form)).encode()
        bodies.append({"specversion": "1.0", "data_base64": base64.b64encode(inner).decode()})
    alone = [
        Sent(in_json({**body, "id": body.get("id") or f"u-{at}"}, ensure_ascii=bool(at % 2)), None, None)
        for at, body in enumerate(bodies)
    ]
    beside = [Sent(json.dumps({**update(), "id": f"k-{at}"}), form, form) for at, form in enumerate(canaries.TEXTS)]
    return [*alone, *beside, *(Sent(form, form, form) for form in canaries.TEXTS)]


def thin_event(form: str) -> str:
    event = {"feed": "adyen", "path": "a", "record": {"token": form}, "at": "2026-11-20T09:14:13Z"}
    return json.dumps(event, ensure_ascii=False)


async def send(kafka: str, topic: str, messages: Sequence[Sent]) -> int:
    async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=20) as producer:
        for message in messages:
            key = None if message.key is None else message.key.encode()
            headers = [] if message.header is None else [("trace", message.header.encode()), (message.header, b"x")]
            await producer.send(topic, message.body.encode(errors="surrogatepass"), key, headers=headers)
        await producer.flush()
    return len(messages)


def wallet(number: int, **changed: object) -> dict[str, Any]:
    method = {
        "id": str(UUID(int=number)),
        "type": "CARD",
        "status": "ACTIVE",
        "credentials": [{"vendor": "vau", "token": f"tok_{number}"}],
        "details": {"last4": "1111"},
    }
    line = {"id": str(UUID(int=10**6 + number)), "customer": {"enterpriseId": f"e-{number}"}, "merchants": ["m-1"]}
    return {**line, "paymentMethods": [method | changed]}


def wallets() -> Iterator[object]:
    for number, form in enumerate(canaries.FORMS.values(), 2):
        for place in ({"nickname": form}, {"details": {"nameOnCard": form}}, {"fingerprint": form}, {"par": form}):
            yield wallet(number, **place)
        yield wallet(number, credentials=[{"vendor": "vau", "token": form}])
        yield {**wallet(number), "customer": {"hsid": form, "metadata": {"patientId": form}}}
        yield {**wallet(number), form: 1}
        yield form


# More than goes in within the second after which the first checkpoint is written.
MANY = 150_000


@pytest.mark.parametrize(
    ("name", "watched"),
    [("canonical", False), ("nacha", False), ("stripe", False), ("vau", False), ("vau", True)],
    ids=["canonical", "nacha", "stripe", "vau", "vau in a folder"],
)
async def test_no_number_is_left_on_the_disk_by_who_is_killed_half_way(
    tmp_path: Path, kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, *, name: str, watched: bool
) -> None:
    """The vendor's own file has them, and nothing else: no checkpoint, half of one, refused line or temporary file."""
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (folder := tmp_path / "in").mkdir()
    work = folder.with_name("in.repoint") / "in-hand" if watched else folder
    content = canaries.file(FEEDS["stripe" if name == "canonical" else name])
    (folder / "feed").write_bytes(content * (MANY // content.count(b"\n")))
    program = Program(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC=topic, FINGERPRINT_KEY=KEY)
    checkpoint = work / ".feed.checkpoint"

    async def half_way() -> bool:
        return checkpoint.exists() and read(checkpoint)["offset"] > 0

    what = ("--watch", "in") if watched else ("in/feed",)
    # its first lines are planted ones, so the file would be held back
    async with program.going("ingest", "--force", "--format", name, *what) as ingest:
        await until(half_way, within=60)
        assert await ingest.stop(signal.SIGKILL) == -signal.SIGKILL
    begun = read(checkpoint)
    assert begun["offset"] < (work / "feed").stat().st_size
    assert begun["reasons"]
    assert begun["refused_size"] > 0
    shown = {str(file): different(file) for file in tmp_path.rglob("*") if file.is_file() and file != work / "feed"}
    assert {str(checkpoint), str(work / "feed.refused")} <= shown.keys()
    shown["stderr"] = "".join(ingest.lines)
    assert [where for where, told in shown.items() if canaries.is_in(told)] == []


def read(checkpoint: Path) -> Any:
    return json.loads(checkpoint.read_text())


def different(file: Path) -> str:
    """What is in it, the same lines of other numbers once."""
    return "\n".join({re.sub(r'^{"line": \d+', "", line) for line in file.read_text().split("\n")})


# As `row_to_json` writes bytes.
_IN_HEXADECIMAL = re.compile(r"\\\\x((?:[0-9a-f]{2})+)")


async def tables(engine: AsyncEngine) -> dict[str, str]:
    """All there is in the database, row by row."""
    found: dict[str, str] = {}
    async with engine.connect() as connection:
        names = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for name in names.all():
            rows = await connection.scalars(text(f'SELECT row_to_json(one)::text FROM "{name}" one'))  # noqa: S608
            for at, row in enumerate(rows.all()):
                found[f"{name}, row {at}"] = _IN_HEXADECIMAL.sub(_characters, row)
    assert {"dead_letters, row 0", "inbox, row 0"} <= found.keys()
    return found


def _characters(written: re.Match[str]) -> str:
    return bytes.fromhex(written[1]).decode(errors="replace")
