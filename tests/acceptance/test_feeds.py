"""A vendor's file goes in: onto the topic, on from where it was interrupted, out of a folder that is watched."""

import asyncio
import json
import signal
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from domain.pan import contains_pan
from tests.acceptance.program import Ended, Program
from tests.parts.until import until

NAMES = (
    "oldCardholderAccountNumber,oldExpirationDate,newCardholderAccountNumber,newExpirationDate,serviceIdentifier,"
    "previouslySentFlag"
)
KEY = f"v1:{'ab' * 32}"


def number(of: int) -> str:
    """A test card number of its own for each, with its check digit."""
    digits = f"4000{of:011d}"
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(digits)]
    return digits + str(-sum(each // 10 + each % 10 for each in doubled) % 10)


def row(of: int, code: str = "A") -> str:
    return f"{number(of)},2612,{number(of + 10**9)},2911,{code},N"


@pytest.fixture
def program(tmp_path: Path, kafka: str, topic: str) -> Program:
    return Program(
        tmp_path,
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        FINGERPRINT_KEY=KEY,
    )


async def everything(kafka: str, topic: str) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    """What is on the topic now."""
    found: list[ConsumerRecord[bytes | None, bytes | None]] = []
    async with (
        AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer,
        asyncio.timeout(60),
    ):
        ends = await consumer.end_offsets(consumer.assignment())
        while sum(ends.values()) > len(found):
            found += [one for each in (await consumer.getmany(timeout_ms=500)).values() for one in each]
    return found


async def there(file: Path) -> bool:
    return file.exists()


async def ingest(program: Program, *arguments: str) -> Ended:
    return await program("ingest", "--format", "vau", *arguments)


async def test_a_file_is_summed_up_and_what_is_refused_stands_beside_it(
    program: Program, kafka: str, topic: str
) -> None:
    (program.directory / "feed.csv").write_text("\n".join([NAMES, row(1), row(2, "R"), row(1), "x", row(3)]) + "\n")
    ended = (await ingest(program, "feed.csv")).well()
    assert ended.out.splitlines() == [
        "feed.csv: 3 of 5 lines accepted, 3 updates sent",
        "  1 refused: serviceIdentifier: R is in no table of this feed",
        "  1 refused: line: expected 6 columns, not 1",
    ]
    refused = [json.loads(line) for line in (program.directory / "feed.csv.refused").read_text().splitlines()]
    assert [each["line"] for each in refused] == [3, 5]
    messages = await everything(kafka, topic)
    assert len(messages) == 5
    told = [json.loads(each.value or b"") for each in messages if not each.headers]
    assert len({(each["id"], each["occurredAt"]) for each in told}) == 3
    assert [file.name for file in program.directory.iterdir() if file.name.startswith(".")] == []


async def test_no_number_is_left_anywhere(program: Program, kafka: str, topic: str) -> None:
    mistyped = row(5).replace(number(5), number(5)[:-1] + "x")
    rows = [NAMES, row(1), row(2, number(9)), mistyped, f"{row(4)},{number(4)}", f'"{row(7)}', row(8, "R")]
    (program.directory / "feed.csv").write_text("\n".join(rows) + "\n")
    ended = await ingest(program, "feed.csv")
    beside = (program.directory / "feed.csv.refused").read_text()
    messages = await everything(kafka, topic)
    told = [ended.out, ended.err, beside]
    told += [f"{each.key!r} {(each.value or b'').decode()} {each.headers}" for each in messages]
    for each in told:
        assert not contains_pan(each)
        for of in (1, 2, 4, 5, 7, 8, 9):
            assert number(of)[:-1] not in each
    assert len(messages) == 6


async def test_a_file_that_was_interrupted_goes_on_where_it_was(program: Program, kafka: str, topic: str) -> None:
    """Killed half-way: all of it is there in the end, and little of it twice."""
    count = 120_000
    file = program.directory / "feed.csv"
    file.write_text("\n".join([NAMES, *(row(of, "R" if of % 1000 == 0 else "A") for of in range(count))]) + "\n")
    checkpoint = program.directory / ".feed.csv.checkpoint"
    async with program.going("ingest", "--format", "vau", "feed.csv") as first:
        await until(partial(there, checkpoint))
        await first.stop(signal.SIGKILL)
    done = json.loads(checkpoint.read_text())["lines"]
    assert 0 < done < count
    ended = (await ingest(program, "feed.csv")).well()
    assert f"going on after line {done:,}, where it was interrupted" in ended.err
    assert ended.out.splitlines()[0] == "feed.csv: 119,880 of 120,000 lines accepted, 119,880 updates sent"
    assert not checkpoint.exists()
    refused = [json.loads(line)["line"] for line in (program.directory / "feed.csv.refused").read_text().splitlines()]
    assert refused == [of + 2 for of in range(0, count, 1000)]
    messages = await everything(kafka, topic)
    assert len({each.value for each in messages if not each.headers}) == 119_880
    assert len(messages) < count + count - done


async def test_a_folder_is_watched(program: Program, kafka: str, topic: str) -> None:
    folder = program.directory / "in"
    folder.mkdir()
    work = program.directory / "in.repoint"
    async with program.going("ingest", "--format", "vau", "--watch", "in", "--keep-processed", "1h") as watching:
        await watching.says("watching in")
        (folder / "one.csv").write_text(f"{NAMES}\n{row(1)}\n{row(2, 'R')}\n")
        (folder / "two.csv").write_text("nothing that is known\n")
        (folder / "three.csv.part").write_text(f"{NAMES}\n")
        await until(partial(there, (work / "processed" / "one.csv")))
        assert (work / "processed" / "one.csv.refused").exists()
        await until(partial(there, (work / "failed" / "two.csv")))
        assert await watching.stop() == 0
    assert (folder / "three.csv.part").exists()
    assert len(await everything(kafka, topic)) == 3


async def test_which_feed_a_file_is_of_can_be_asked(program: Program) -> None:
    (program.directory / "feed.csv").write_text(f"{NAMES}\n{row(1)}\n")
    (program.directory / "other.csv").write_text("a,b\n1,2\n")
    ended = await program("ingest", "--detect", "feed.csv", "other.csv")
    assert (ended.code, ended.out) == (1, "feed.csv: vau\nother.csv: no feed that is known\n")
